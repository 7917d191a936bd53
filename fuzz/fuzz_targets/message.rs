//! Messages from friends and strangers: never a panic; what is taken is within its bounds and can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twocan_protocol::wire::{
    CallBody, ChatMessage, ContactMessage, FileReply, FileRequest, Frame, MAX_CANDIDATES, MAX_FILES, MAX_FRAME, MAX_SDP,
    MAX_TEXT, Message,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = Frame::decode(data) {
        match &frame.message {
            Message::Hello(hello) => assert!(hello.name.as_str().chars().count() <= 64),
            Message::Call(call) => match &call.body {
                CallBody::Invite { description, candidates, .. } | CallBody::Offer { description, candidates } => {
                    assert!(description.sdp.as_str().len() <= MAX_SDP);
                    assert!(candidates.as_slice().len() <= MAX_CANDIDATES);
                }
                CallBody::Decline { text, .. } => assert!(text.as_str().chars().count() <= 280),
                _ => {}
            },
            Message::Chat(ChatMessage::Text(text)) => assert!(text.text.as_str().len() <= MAX_TEXT),
            Message::Files(files) => assert!(files.offers.as_slice().len() <= MAX_FILES),
            _ => {}
        }
        if !matches!(frame.message, Message::Unknown(_)) {
            let bytes = frame.encode().expect("what was read can be written");
            assert!(bytes.len() <= MAX_FRAME);
            assert_eq!(Frame::decode(&bytes).expect("and read again"), frame);
        }
    }
    if let Ok(request) = FileRequest::decode(data) {
        let bytes = request.encode().expect("what was read can be written");
        assert_eq!(FileRequest::decode(&bytes).expect("and read again"), request);
    }
    if let Ok(reply) = FileReply::decode(data) {
        reply.encode().expect("what was read can be written");
    }
    if let Ok(message) = ContactMessage::decode(data)
        && !matches!(message, ContactMessage::Unknown(_))
    {
        let bytes = message.encode().expect("what was read can be written");
        assert_eq!(ContactMessage::decode(&bytes).expect("and read again"), message);
    }
});
