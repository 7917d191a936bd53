//! Media frames and text messages from a local program: never a panic; frames that are taken are written the same.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use twocan_control::{MediaControl, MediaFrame};

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = MediaFrame::decode(Bytes::copy_from_slice(data)) {
        let again = MediaFrame::decode(frame.encode()).expect("what was read can be written");
        assert_eq!(again, frame);
    }
    let _ = serde_json::from_slice::<MediaControl>(data);
});
