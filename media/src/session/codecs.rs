//! The codecs that the node agreed on with the friend's, put into practice; and what is said where there is none.

use super::{Kind, Outgoing, Part, Problem, Session, lock};
use crate::video::codec::PictureCodec;

/// What was agreed. A session starts as if pictures were H.264 in both directions, which every client has, and without
/// redundancy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreed {
    /// Whether the other side takes redundant audio data (RFC 2198).
    pub redundancy: bool,
    /// What to send the camera in; `None`: the friend takes nothing that this build makes.
    pub video: Option<PictureCodec>,
    /// What to send a shared screen in; `None` as above.
    pub screen: Option<PictureCodec>,
    /// Names of the codecs in which pictures come, by kind.
    pub receive: Vec<(Kind, String)>,
}

/// What is told when pictures cannot be sent.
const NOTHING_COMMON: &str =
    "your friend's program takes no pictures that this one can make: the call goes on with the voice";

impl Session {
    /// Encodes and decodes so from now on.
    pub(super) fn agreed(&self, agreed: Agreed) {
        self.voice_out.set_redundancy_taken(agreed.redundancy);
        for (kind, codec) in &agreed.receive {
            match kind {
                Kind::Video => self.picture_in.set_codec(codec),
                Kind::Screen => lock(&self.screens).set_incoming_codec(codec),
                Kind::Audio | Kind::Sound => {}
            }
        }
        let refused = {
            let mut picture = self.picture_out();
            picture.refused = agreed.video.is_none();
            if let Some(codec) = agreed.video {
                picture.codec = codec;
            }
            if let Some(sender) = &picture.sender {
                sender.set_codec(picture.codec.clone());
                sender.set_on(picture.flowing && !picture.refused);
            }
            picture.refused && picture.sender.is_some()
        };
        let screen_refused = lock(&self.screens).agreed(agreed.screen);
        self.tell_refused(refused, Part::VideoIn);
        self.tell_refused(screen_refused, Part::ScreenIn);
    }

    /// Says that pictures are not sent, if it is so.
    pub(super) fn tell_refused(&self, refused: bool, part: Part) {
        if refused {
            (self.out)(Outgoing::Problem(Problem { part, text: NOTHING_COMMON.to_owned(), retrying: false }));
        }
    }
}
