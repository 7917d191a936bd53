//! From frames of sound to the packets of a voice: encoder, redundancy by measured loss, and silence that costs little.
//!
//! It is pure: no clock, no thread, no lock. The session feeds it captured sound (`session/voice_out.rs`), the
//! simulation of a call feeds it files ([`crate::measure::voice_path`]).

use super::AudioSettings;
use super::codec::{CodecError, OpusEncoder, VoiceEncoder};
use super::join::join;
use super::packet;
use super::protection::{Known, Plan, Protection};
use super::red::Packer;

/// In announced silence one packet in this time goes out: with it at least six a second flow, which both ends take as
/// the sign of life that a call needs (five a second).
const KEEP_ALIVE_MS: u32 = 160;
/// So many packets announce a silence, in case one is lost.
const ANNOUNCEMENTS: u32 = 2;
/// With less than this for the voice, two frames share a packet: at 64 kbit/s headers would take as much as the voice...
const JOIN_BELOW: u32 = 29_000;
/// ...and with more than this no longer. Joining itself leaves 12 kbit/s more.
const JOIN_UNTIL: u32 = 50_000;
/// A frame waits for the next one this long at most, in samples: 100 ms.
const FRESH: u32 = 4_800;

/// A packet that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoicePacket {
    /// Timestamp of its first sample; older than that of the last frame if it waited for one to share the packet with.
    pub timestamp: u32,
    /// One Opus packet, or redundant audio data that holds it.
    pub payload: Vec<u8>,
    /// Which of the two.
    pub red: bool,
}

/// What was made; counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Frames that need not be sent because they only say "still nothing".
    pub withheld: u64,
    /// Packets that carry copies.
    pub redundant: u64,
}

/// See the module.
pub struct VoiceSender {
    encoder: Box<dyn VoiceEncoder>,
    protection: Protection,
    plan: Plan,
    packer: Packer,
    /// Frames share packets.
    joining: bool,
    /// A frame that waits for the next one.
    held: Option<(u32, Vec<u8>)>,
    keep_alive: u32,
    /// Frames of silence since somebody spoke, and since a packet went out.
    quiet: u32,
    unsent: u32,
    scratch: Vec<u8>,
    counts: SenderCounts,
}

impl std::fmt::Debug for VoiceSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoiceSender").field("plan", &self.plan).field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl VoiceSender {
    /// Begins with the settings' bitrate, and with some redundancy until something is known of the path.
    pub fn new(settings: &AudioSettings) -> Result<Self, CodecError> {
        let encoder = OpusEncoder::new(settings)?;
        let plan = Plan { bitrate: settings.max_bitrate, generations: 0, spacing: 1, expected_loss: 0.0 };
        Ok(Self {
            encoder: Box::new(encoder),
            protection: Protection::new(settings.max_bitrate, settings.frame_ms),
            plan,
            packer: Packer::default(),
            joining: false,
            held: None,
            keep_alive: (KEEP_ALIVE_MS / settings.frame_ms.max(1)).max(1),
            quiet: 0,
            unsent: 0,
            scratch: Vec::new(),
            counts: SenderCounts::default(),
        })
    }

    /// Whether silence is sent as (almost) nothing.
    pub fn set_dtx(&mut self, on: bool) {
        self.encoder.set_dtx(on);
    }

    /// Whether the other side takes redundant audio data.
    pub fn set_redundancy_taken(&mut self, taken: bool) {
        self.protection.set_taken(taken);
        self.apply(self.protection.without_news(self.plan));
    }

    /// How the path is now; returns what will be done about it.
    pub fn feedback(&mut self, now_ms: u64, known: Known) -> Plan {
        let plan = self.protection.plan(now_ms, known);
        self.joining = known.bitrate < if self.joining { JOIN_UNTIL } else { JOIN_BELOW };
        self.apply(plan);
        plan
    }

    fn apply(&mut self, plan: Plan) {
        if plan.bitrate != self.plan.bitrate {
            self.encoder.set_bitrate(plan.bitrate);
        }
        self.encoder.set_expected_loss(plan.expected_loss);
        self.plan = plan;
    }

    /// What is done now.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Counters.
    #[must_use]
    pub fn counts(&self) -> SenderCounts {
        self.counts
    }

    /// Encodes a frame (of the settings' length) whose first sample has this timestamp. None: nothing has to be sent.
    pub fn encode(&mut self, timestamp: u32, frame: &[f32]) -> Result<Option<VoicePacket>, CodecError> {
        self.encoder.encode(frame, &mut self.scratch)?;
        let silent = packet::is_dtx(&self.scratch);
        // Noise that the encoder sends now and then within a silence does not end it.
        self.quiet = if silent || (self.quiet > 0 && packet::is_noise(&self.scratch)) { self.quiet + 1 } else { 0 };
        self.unsent += 1;
        if silent && self.quiet > ANNOUNCEMENTS && self.unsent < self.keep_alive {
            self.counts.withheld += 1;
            return Ok(None);
        }
        self.unsent = 0;
        let frame = (timestamp, std::mem::take(&mut self.scratch));
        let Some((first, packet)) = self.next(frame) else { return Ok(None) };
        let mut payload = Vec::new();
        let red = self.packer.pack(first, &packet, self.plan.generations, self.plan.spacing, &mut payload);
        if red {
            self.counts.redundant += 1;
        } else {
            payload = packet;
        }
        Ok(Some(VoicePacket { timestamp: first, payload, red }))
    }

    /// The packet that goes out when this frame is ready: with the one that waited, or that one alone, or none.
    fn next(&mut self, frame: (u32, Vec<u8>)) -> Option<(u32, Vec<u8>)> {
        // What waited when sending was stopped belongs to nothing that comes now.
        let fresh = |held: &(u32, Vec<u8>)| frame.0.wrapping_sub(held.0) <= FRESH;
        match self.held.take().filter(fresh) {
            Some((first, before)) => match join(&before, &frame.1).filter(|_| follows(first, &before, frame.0)) {
                Some(both) => Some((first, both)),
                None => {
                    self.held = Some(frame);
                    Some((first, before))
                }
            },
            // Silence is announced at once, and is one small packet now and then.
            None if self.joining && self.quiet == 0 => {
                self.held = Some(frame);
                None
            }
            None => Some(frame),
        }
    }
}

/// Whether a frame begins where that one ends.
fn follows(first: u32, packet: &[u8], next: u32) -> bool {
    packet::duration(packet).is_ok_and(|samples| next.wrapping_sub(first) as usize == samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::red;
    use crate::audio::synth::{Speech, Synth};

    fn known(loss: f64) -> Known {
        Known { bitrate: 500_000, loss, burst: 1.0 }
    }

    fn sender() -> VoiceSender {
        VoiceSender::new(&AudioSettings::default()).unwrap()
    }

    #[test]
    fn copies_follow_the_loss_if_the_other_side_takes_them() {
        for taken in [true, false] {
            let mut sender = sender();
            sender.set_redundancy_taken(taken);
            let mut speech = Speech::new(3);
            let mut frame = [0.0; 960];
            let mut most = 0;
            for second in 0..10 {
                sender.feedback(second * 1000, known(0.0));
            }
            for i in 0..400_u32 {
                if i == 100 {
                    sender.feedback(10_000 + u64::from(i) * 20, known(0.2));
                }
                speech.fill(&mut frame);
                let Some(packet) = sender.encode(i * 960, &frame).unwrap() else { continue };
                if packet.red {
                    assert!(i >= 100, "no copies without loss");
                    most = most.max(red::read(&packet.payload).unwrap().len() - 1);
                } else {
                    assert!(packet::duration(&packet.payload) == Ok(960));
                }
            }
            assert_eq!(most, if taken { 3 } else { 0 });
        }
    }

    #[test]
    fn on_a_narrow_path_two_frames_share_a_packet_and_none_is_lost() {
        let mut sender = sender();
        let mut speech = Speech::new(3);
        let mut frame = [0.0; 960];
        let (mut next, mut packets, mut decoder) = (0, [0; 3], super::super::codec::OpusDecoder::new().unwrap());
        for i in 0..900_u32 {
            // Narrow, wide, narrow: 300 frames each.
            let bitrate = if i / 300 == 1 { 200_000 } else { 25_000 };
            sender.feedback(u64::from(i) * 20, Known { bitrate, loss: 0.0, burst: 1.0 });
            speech.fill(&mut frame);
            if let Some(packet) = sender.encode(i * 960, &frame).unwrap() {
                let samples = packet::duration(&packet.payload).unwrap() as u32;
                // Timestamps follow each other but for pauses, whose packets are withheld.
                assert!(packet.timestamp >= next && packet.timestamp <= i * 960, "{} {next}", packet.timestamp);
                next = packet.timestamp + samples;
                packets[(i / 300) as usize] += 1;
                super::super::codec::VoiceDecoder::decode(&mut decoder, &packet.payload, &mut Vec::new()).unwrap();
            }
        }
        assert!(packets[0] * 3 < packets[1] * 2 && packets[2] * 3 < packets[1] * 2, "{packets:?}");
    }

    #[test]
    fn silence_costs_a_few_packets_a_second() {
        let mut sender = sender();
        sender.set_redundancy_taken(true);
        sender.feedback(0, known(0.2));
        let mut noise = 1_u32;
        let (mut frame, mut sent, mut bytes, mut longest, mut last) = ([0.0; 960], 0, 0, 0, 0);
        for i in 0..1500_u32 {
            for sample in &mut frame {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *sample = (noise >> 16) as f32 / 65_536.0 * 2e-3 - 1e-3;
            }
            let packet = sender.encode(i * 960, &frame).unwrap();
            // The encoder takes a second to believe in silence.
            if let (Some(packet), 500..) = (packet, i) {
                sent += 1;
                bytes += packet.payload.len();
                longest = longest.max(i - last);
                last = i;
            } else if i < 500 {
                last = i;
            }
        }
        assert!((6 * 20..=11 * 20).contains(&sent), "{sent} packets in 20 s of silence");
        assert!(bytes < 20 * 400, "{bytes} bytes in 20 s of silence");
        assert!(longest <= 8, "{longest} frames without a sign of life");
    }
}
