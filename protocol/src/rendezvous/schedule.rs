//! When slots move. Every kind and owner has a boundary of its own, so that the records of one person do not all
//! change at the full hour, and not all at the same time.

use super::slot::Grant;
use crate::{
    address::ContactToken,
    domain,
    identity::{FriendshipKey, RootPublic},
};

/// Length of a presence or pair epoch in milliseconds.
pub const HOUR_MS: u64 = 3_600_000;
/// Length of a contact epoch in milliseconds.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// The epochs of one slot: number `(unix_ms + phase) / period`. Publishers fill the current and the next one, readers
/// look into the previous, the current and the next, because clocks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    period_ms: u64,
    phase_ms: u64,
}

impl Schedule {
    /// Epochs of a presence slot, from the slot public key in the grant.
    pub fn presence(grant: &Grant) -> Self {
        Self::new(HOUR_MS, domain::PHASE_PRESENCE, &[&grant.slot_public])
    }

    /// Epochs of a pair slot: that of `owner` for this friendship.
    pub fn pair(owner: &RootPublic, friendship: &FriendshipKey) -> Self {
        Self::new(HOUR_MS, domain::PHASE_PAIR, &[friendship.as_bytes(), owner.as_bytes()])
    }

    /// Epochs (days) of a contact slot.
    pub fn contact(root: &RootPublic, token: &ContactToken) -> Self {
        Self::new(DAY_MS, domain::PHASE_CONTACT, &[root.as_bytes(), token.as_bytes()])
    }

    fn new(period_ms: u64, label: &str, parts: &[&[u8]]) -> Self {
        let hash = domain::sha256(label, parts);
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        Self { period_ms, phase_ms: u64::from_be_bytes(first) % period_ms }
    }

    /// Number of the epoch at that time.
    pub const fn epoch_of(&self, unix_ms: u64) -> u64 {
        unix_ms.saturating_add(self.phase_ms) / self.period_ms
    }

    /// When that epoch ends (Unix ms), exclusive.
    pub const fn end_ms(&self, epoch: u64) -> u64 {
        epoch.saturating_add(1).saturating_mul(self.period_ms).saturating_sub(self.phase_ms)
    }

    /// The epochs that a publisher fills: current and next.
    pub const fn to_publish(&self, unix_ms: u64) -> [u64; 2] {
        let now = self.epoch_of(unix_ms);
        [now, now.saturating_add(1)]
    }

    /// The epochs that a reader looks into, likeliest first.
    pub const fn to_read(&self, unix_ms: u64) -> [u64; 3] {
        let now = self.epoch_of(unix_ms);
        [now, now.saturating_sub(1), now.saturating_add(1)]
    }

    /// Length of an epoch (ms).
    pub const fn period_ms(&self) -> u64 {
        self.period_ms
    }

    /// How much earlier than the whole multiple of the period an epoch begins (ms).
    pub const fn phase_ms(&self) -> u64 {
        self.phase_ms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::RootKey;

    proptest! {
        #[test]
        fn an_epoch_ends_where_the_next_begins(secret: [u8; 32], unix_ms in 0..4_102_444_800_000_u64) {
            let root = RootKey::from_secret(&secret);
            let schedule = Schedule::contact(&root.public(), &ContactToken::derived(&root));
            let epoch = schedule.epoch_of(unix_ms);
            let end = schedule.end_ms(epoch);
            prop_assert!(end > unix_ms && end <= unix_ms + DAY_MS);
            prop_assert_eq!(schedule.epoch_of(end - 1), epoch);
            prop_assert_eq!(schedule.epoch_of(end), epoch + 1);
        }
    }

    #[test]
    fn the_two_directions_of_a_pair_move_at_different_times() {
        let [alice, bob] = [1, 2].map(|n| RootKey::from_secret(&[n; 32]));
        let key = FriendshipKey::of(&alice, &bob.public());
        assert_ne!(Schedule::pair(&alice.public(), &key), Schedule::pair(&bob.public(), &key));
    }
}
