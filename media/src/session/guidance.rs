//! What the node says about the path, put into practice: the voice first, then the pictures, which give way by
//! themselves and say why.

use super::{Outgoing, Part, Problem, Session, lock};

/// What a picture needs at least: less than this is as good as nothing for the encoder.
const LEAST: u64 = 10_000;

/// What the path carries, and who may use how much of it: bits per second without headers of the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guidance {
    /// For everything together, headers included.
    pub target_bitrate: u64,
    /// For the voice, redundancy included.
    pub audio_bitrate: u64,
    /// For the camera; 0: the path is too narrow for a picture.
    pub video_bitrate: u64,
    /// For the screen; 0 as above.
    pub screen_bitrate: u64,
    /// Share of my packets that the other side lost over the last two seconds, 0 to 1.
    pub loss: f64,
    /// How many were lost in a row, on average.
    pub loss_burst: f64,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
}

impl Session {
    /// Follows at once: what is encoded at the old rate stands in a queue.
    pub(super) fn guided(&self, guidance: &Guidance) {
        self.voice_out.feedback(guidance.audio_bitrate, guidance.loss, guidance.loss_burst);
        lock(&self.screens).set_bitrate(u32::try_from(guidance.screen_bitrate).unwrap_or(u32::MAX));
        let most = u64::from(self.video_settings.max_bitrate);
        let bitrate = if guidance.video_bitrate < LEAST { 0 } else { guidance.video_bitrate.min(most) as u32 };
        let told = {
            let mut picture = self.picture_out();
            picture.bitrate = Some(bitrate);
            if let Some(sender) = &picture.sender {
                sender.set_bitrate(bitrate);
            }
            let narrow = bitrate == 0 && picture.sender.is_some() && picture.flowing;
            let changed = narrow != picture.narrow && (narrow || bitrate > 0);
            if changed {
                picture.narrow = narrow;
            }
            changed.then_some(narrow)
        };
        match told {
            Some(true) => (self.out)(Outgoing::Problem(Problem {
                part: Part::VideoIn,
                text: "the path is too narrow for a picture: only the voice is sent until it widens".to_owned(),
                retrying: true,
            })),
            Some(false) => (self.out)(Outgoing::Solved(Part::VideoIn)),
            None => {}
        }
    }
}
