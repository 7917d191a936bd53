//! Repair of lost video packets: the receiver asks for them (NACK, RFC 4585), the sender sends them again (RFC 4588).
//!
//! Ours instead of the crate's, whose generator asks by a fixed timer and whose responder knows no bounds:
//! - [`Requester`] asks once after a short wait for packets that were merely overtaken, again after a round trip and a
//!   margin, and only as long as the packet is of use;
//! - [`Responder`] keeps what was sent for a second, sends a packet again at most once in a round trip, and spends at
//!   most a share of the path on it, whatever is asked for.
//!
//! What is sent again goes under an SSRC and numbers of its own. Under its old number it would be encrypted a second
//! time with the same nonce but another header (the transport-wide number differs), and two such packets give away the
//! key that authenticates all of them (AES-GCM, RFC 7714, section 8.1 demands a fresh one).

mod numbered;
mod requester;
mod responder;
mod store;

pub(super) use numbered::Numbered;
pub(super) use requester::Requester;
pub(super) use responder::{Repairs, Responder};
pub(super) use store::Store;

/// Sequence numbers as pairs of a number and a bit for each of the 16 after it (RFC 4585, 6.2.1). The list grows.
pub(super) fn pairs(numbers: &[u16]) -> Vec<(u16, u16)> {
    let mut out: Vec<(u16, u16)> = Vec::new();
    for &number in numbers {
        match out.last_mut() {
            Some((first, bits)) if (1..=16).contains(&number.wrapping_sub(*first)) => {
                *bits |= 1 << (number.wrapping_sub(*first) - 1);
            }
            Some((first, _)) if *first == number => {}
            _ => out.push((number, 0)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;

    #[test]
    fn lists_of_numbers_are_packed_as_the_standard_says() {
        let numbers = [65_530, 65_534, 65_535, 2, 10, 11, 200];
        let packed = pairs(&numbers);
        assert_eq!(packed.len(), 3);
        let back: Vec<u16> = packed
            .iter()
            .flat_map(|&(packet_id, lost_packets)| NackPair { packet_id, lost_packets }.packet_list())
            .collect();
        assert_eq!(back, numbers);
    }
}
