//! Counts what two people put on the line, packet by packet, told apart by the first bytes (RFC 7983).

use std::sync::{Arc, Mutex, PoisonError};

use twocan_media::now_ns;

use crate::lab::Lab;
use crate::lab::net::{SiteId, Verdict, Way};
use crate::lab::packet;

/// Payload types of voice: Opus, and Opus with redundancy (RFC 2198).
const VOICE: [u8; 2] = [111, 63];
/// Packets that are remembered: an hour of a call with video.
const MAX_PACKETS: usize = 1 << 20;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// RTP with voice.
    Voice,
    /// RTP with pictures.
    Picture,
    /// RTCP.
    Report,
    /// STUN.
    Stun,
    /// DTLS.
    Dtls,
    /// The link between the nodes, the DHT, and everything else.
    Other,
}

impl Class {
    /// Whether it is of the call's media: everything but [`Class::Other`].
    #[must_use]
    pub fn of_media(self) -> bool {
        self != Self::Other
    }

    fn of(packet: &[u8]) -> Self {
        match packet::udp_payload(packet) {
            Some([0..=3, ..]) => Self::Stun,
            Some([20..=63, ..]) => Self::Dtls,
            Some([128..=191, 192..=223, ..]) => Self::Report,
            Some([128..=191, kind, ..]) if VOICE.contains(&(kind & 0x7f)) => Self::Voice,
            Some([128..=191, ..]) => Self::Picture,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at_ns: u64,
    class: Class,
    bytes: u32,
}

/// What one site sends: counted where its packets enter the uplink, with IP and UDP headers.
#[derive(Clone, Debug, Default)]
pub struct Wire(Arc<Mutex<Vec<Sent>>>);

impl Wire {
    /// Counts what this site sends from now on.
    #[must_use]
    pub fn tap(lab: &Lab, site: SiteId) -> Self {
        let wire = Self::default();
        let into = Arc::clone(&wire.0);
        lab.tamper(
            site,
            Some(Box::new(move |way, packet| {
                if way == Way::Out {
                    let mut sent = into.lock().unwrap_or_else(PoisonError::into_inner);
                    if sent.len() < MAX_PACKETS {
                        let bytes = u32::try_from(packet.len()).unwrap_or(0);
                        sent.push(Sent { at_ns: now_ns(), class: Class::of(packet), bytes });
                    }
                }
                Verdict::Pass
            })),
        );
        wire
    }

    /// Forgets what it counted.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Mean bits per second of the wanted packets between two times.
    #[must_use]
    pub fn rate(&self, from_ns: u64, to_ns: u64, wanted: impl Fn(Class) -> bool) -> f64 {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = sent.iter().filter(|one| (from_ns..to_ns).contains(&one.at_ns) && wanted(one.class));
        let bytes: u64 = inside.map(|one| u64::from(one.bytes)).sum();
        bytes as f64 * 8.0 / (to_ns.saturating_sub(from_ns).max(1) as f64 / 1e9)
    }

    /// The rate of all media in steps of `step_ns`, each over the `window_ns` before it: (time, bits per second).
    #[must_use]
    pub fn rates(&self, from_ns: u64, to_ns: u64, step_ns: u64, window_ns: u64) -> Vec<(u64, f64)> {
        let times = (from_ns..to_ns).step_by(usize::try_from(step_ns).unwrap_or(1).max(1));
        times.map(|at| (at, self.rate(at.saturating_sub(window_ns), at, Class::of_media))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[9] = 17;
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn packets_are_told_apart_by_their_first_bytes() {
        for (payload, class) in [
            (&[0x80, 111][..], Class::Voice),
            (&[0x90, 0x80 | 63], Class::Voice),
            (&[0x80, 0x80 | 102], Class::Picture),
            (&[0x81, 200], Class::Report),
            (&[0x8f, 205], Class::Report),
            (&[0x00, 0x01], Class::Stun),
            (&[22, 254], Class::Dtls),
            (&[0xc0, 0, 0, 0, 1], Class::Other),
            (&[], Class::Other),
        ] {
            assert_eq!(Class::of(&udp(payload)), class, "{payload:?}");
        }
    }
}
