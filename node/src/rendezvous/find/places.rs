//! Where to look for somebody, and in which order.

use twocan_protocol::rendezvous::{CONTACT_SLOTS, Reader, Schedule, contact_reader, pair_reader, presence_reader};

use super::Target;

/// Contact slots that are looked into in the day before and the day after: these days only count where clocks differ.
const NEIGHBOUR_SLOTS: u8 = 2;

/// One slot in one epoch, to be looked into.
pub struct Place {
    /// Kind of slot: "presence", "pair" or "contact".
    pub via: &'static str,
    /// Its epoch.
    pub epoch: u64,
    /// What opens its records.
    pub reader: Reader,
}

/// The places to look into, likeliest first; those of one group are looked into together. Keys that cannot be are
/// skipped: a friend's bad grant finds nothing.
pub fn places(target: &Target, unix_ms: u64) -> Vec<Vec<Place>> {
    let mut groups: Vec<Vec<Place>> = Vec::new();
    match target {
        Target::Contact(address) => {
            let days = Schedule::contact(&address.root, &address.token).to_read(unix_ms);
            for (turn, day) in days.into_iter().enumerate() {
                let slots = if turn == 0 { CONTACT_SLOTS } else { NEIGHBOUR_SLOTS };
                let readers = (0..slots).filter_map(|index| contact_reader(address, day, index).ok());
                groups.push(readers.map(|reader| Place { via: "contact", epoch: day, reader }).collect());
            }
        }
        Target::Friend { root, friendship, grant } => {
            let pairs = Schedule::pair(root, friendship).to_read(unix_ms);
            let presences = grant.as_ref().map(|grant| (grant, Schedule::presence(grant).to_read(unix_ms)));
            for turn in 0..3 {
                if let Some((grant, epochs)) = &presences {
                    let epoch = epochs[turn];
                    let reader = presence_reader(root, grant, epoch);
                    groups.extend(reader.map(|reader| vec![Place { via: "presence", epoch, reader }]));
                }
                let epoch = pairs[turn];
                let reader = pair_reader(root, friendship, epoch);
                groups.extend(reader.map(|reader| vec![Place { via: "pair", epoch, reader }]));
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::{SeedableRng, rngs::StdRng};
    use twocan_protocol::{
        address::{Address, ContactToken},
        identity::{FriendshipKey, RootKey},
        rendezvous::{PresenceKey, RecordKey},
    };

    use super::{super::super::plan::Slot, *};

    const NOW_MS: u64 = 1_800_000_000_000;

    fn published(slot: &Slot) -> Vec<RecordKey> {
        slot.schedule().to_publish(NOW_MS).map(|epoch| slot.publisher(epoch).key).into()
    }

    fn keys(groups: &[Vec<Place>]) -> Vec<Vec<RecordKey>> {
        groups.iter().map(|group| group.iter().map(|place| place.reader.key).collect()).collect()
    }

    #[test]
    fn readers_look_where_publishers_put_the_likeliest_place_first() {
        let [alice, bob] = [1, 2].map(|n| Arc::new(RootKey::from_secret(&[n; 32])));
        let presence = Arc::new(PresenceKey::generate(1, &mut StdRng::seed_from_u64(1)));
        let friendship = FriendshipKey::of(&bob, &alice.public());
        let target =
            Target::Friend { root: alice.public(), friendship: friendship.clone(), grant: Some(presence.grant()) };
        let looked: Vec<RecordKey> = keys(&places(&target, NOW_MS)).into_iter().flatten().collect();
        let presences = published(&Slot::Presence(presence));
        let pairs = published(&Slot::Pair { root: alice, friendship, friend: bob.public(), since_ms: Some(0) });
        assert_eq!(looked.len(), 6);
        assert_eq!(looked[..2], [presences[0], pairs[0]]);
        assert!(looked.contains(&presences[1]) && looked.contains(&pairs[1]));
    }

    #[test]
    fn all_contact_slots_of_the_day_are_looked_into_at_once_then_some_of_its_neighbours() {
        let alice = Arc::new(RootKey::from_secret(&[1; 32]));
        let token = ContactToken::derived(&alice);
        let looked = keys(&places(&Target::Contact(Address { root: alice.public(), token }), NOW_MS));
        let put: Vec<Vec<RecordKey>> = Slot::contacts(&alice, token, false).map(|slot| published(&slot)).collect();
        assert_eq!(looked.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2, 2]);
        assert_eq!(looked[0], put.iter().map(|slot| slot[0]).collect::<Vec<_>>());
        assert_eq!(looked[2], [put[0][1], put[1][1]]);
    }
}
