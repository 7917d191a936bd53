//! All entries in memory, sealed as they lie on the disk. Reads come from here, so that they never wait for the disk
//! and go on when it fails; a batch is planned here, bounds included, before anything is changed.

use std::collections::{BTreeMap, HashMap};

use super::entry::{Name, Sealed, Sealer};
use super::{Change, Error, MAX_BATCH, Tree, WhenFull};

/// What a batch comes to: entries to write or (`None`) to remove.
pub(super) type Plan = BTreeMap<(Tree, Name), Option<Sealed>>;

/// The entries of all trees.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    entries: HashMap<(Tree, Name), Sealed>,
    /// The same by age.
    ages: BTreeMap<(Tree, u64), Name>,
    next: u64,
}

impl Mirror {
    pub(super) fn get(&self, tree: Tree, name: &Name) -> Option<&Sealed> {
        self.entries.get(&(tree, *name))
    }

    pub(super) fn len(&self, tree: Tree) -> usize {
        self.ages.range((tree, 0)..=(tree, u64::MAX)).count()
    }

    /// The entries of a tree, oldest first.
    pub(super) fn tree(&self, tree: Tree) -> impl Iterator<Item = (&Name, &Sealed)> {
        let ages = self.ages.range((tree, 0)..=(tree, u64::MAX));
        ages.filter_map(move |((tree, _), name)| Some((name, self.entries.get(&(*tree, *name))?)))
    }

    /// All entries.
    pub(super) fn all(&self) -> impl Iterator<Item = (Tree, &Name, &Sealed)> {
        self.entries.iter().map(|((tree, name), sealed)| (*tree, name, sealed))
    }

    /// Takes over an entry from the disk. One whose order is unknown or taken comes last.
    pub(super) fn load(&mut self, tree: Tree, name: Name, order: Option<u64>, bytes: Box<[u8]>) {
        self.remove(tree, &name);
        let order = order.filter(|order| !self.ages.contains_key(&(tree, *order))).unwrap_or(self.next);
        self.insert(tree, name, Sealed { order, bytes });
    }

    /// What a batch comes to.
    pub(super) fn plan(&self, sealer: &Sealer, changes: &[Change]) -> Result<Plan, Error> {
        if changes.len() > MAX_BATCH {
            return Err(Error::TooLarge("batch"));
        }
        let mut plan = Plan::new();
        let mut next = self.next;
        for change in changes {
            match change {
                Change::Remove(tree, key) => {
                    plan.insert((*tree, sealer.name(*tree, key)), None);
                }
                Change::Put(tree, entry) => {
                    let name = sealer.name(*tree, &entry.key);
                    plan.insert((*tree, name), Some(sealer.seal(*tree, &name, entry, next)?));
                    next += 1;
                }
            }
        }
        for tree in Tree::ALL {
            self.make_room(tree, &mut plan)?;
        }
        // Removals of what is not there come to nothing.
        plan.retain(|place, sealed| sealed.is_some() || self.entries.contains_key(place));
        Ok(plan)
    }

    /// Sees that a tree keeps its limit with the plan carried out.
    fn make_room(&self, tree: Tree, plan: &mut Plan) -> Result<(), Error> {
        let planned = plan.range((tree, [0; 32])..=(tree, [0xff; 32]));
        let (mut added, mut removed) = (0, 0);
        for (place, sealed) in planned {
            match (sealed.is_some(), self.entries.contains_key(place)) {
                (true, false) => added += 1,
                (false, true) => removed += 1,
                _ => {}
            }
        }
        // Counting takes time where there are many.
        if added == 0 {
            return Ok(());
        }
        let over = (self.len(tree) + added).saturating_sub(removed + tree.limit());
        if over == 0 {
            return Ok(());
        }
        if tree.when_full() == WhenFull::Refuse {
            return Err(Error::Full(tree));
        }
        let mut oldest: Vec<Name> = Vec::new();
        oldest.extend(
            self.tree(tree).map(|(name, _)| *name).filter(|name| !plan.contains_key(&(tree, *name))).take(over),
        );
        if oldest.len() < over {
            return Err(Error::TooLarge("batch"));
        }
        plan.extend(oldest.into_iter().map(|name| ((tree, name), None)));
        Ok(())
    }

    /// Carries a plan out.
    pub(super) fn commit(&mut self, plan: Plan) {
        for ((tree, name), sealed) in plan {
            self.remove(tree, &name);
            if let Some(sealed) = sealed {
                self.insert(tree, name, sealed);
            }
        }
    }

    fn insert(&mut self, tree: Tree, name: Name, sealed: Sealed) {
        self.next = self.next.max(sealed.order.saturating_add(1));
        self.ages.insert((tree, sealed.order), name);
        self.entries.insert((tree, name), sealed);
    }

    fn remove(&mut self, tree: Tree, name: &Name) {
        if let Some(old) = self.entries.remove(&(tree, *name)) {
            self.ages.remove(&(tree, old.order));
        }
    }
}

#[cfg(test)]
mod tests {
    use twocan_protocol::sealed::StoreKey;
    use zeroize::Zeroizing;

    use super::super::Entry;
    use super::*;

    fn put(tree: Tree, key: u32) -> Change {
        let record = Zeroizing::new(key.to_be_bytes().to_vec());
        Change::Put(tree, Entry { key: key.to_be_bytes().to_vec(), version: 1, record })
    }

    fn keys(mirror: &Mirror, sealer: &Sealer, tree: Tree) -> Vec<u32> {
        let open = |(name, sealed): (&Name, &Sealed)| sealer.open(tree, name, &sealed.bytes).unwrap().1;
        mirror.tree(tree).map(open).map(|entry| u32::from_be_bytes(entry.key.try_into().unwrap())).collect()
    }

    #[test]
    fn a_full_tree_refuses_or_forgets_the_oldest() {
        let sealer = Sealer::new(StoreKey::from_secret(&[1; 32]));
        let mut mirror = Mirror::default();
        let limit = u32::try_from(Tree::Requests.limit()).unwrap();
        let plan = mirror.plan(&sealer, &(0..limit).map(|n| put(Tree::Requests, n)).collect::<Vec<_>>()).unwrap();
        mirror.commit(plan);
        assert!(matches!(mirror.plan(&sealer, &[put(Tree::Requests, limit)]), Err(Error::Full(Tree::Requests))));
        // Changing one that is there, or exchanging one, is no growth.
        assert!(mirror.plan(&sealer, &[put(Tree::Requests, 3)]).is_ok());
        let exchange = [Change::Remove(Tree::Requests, 3_u32.to_be_bytes().to_vec()), put(Tree::Requests, limit)];
        assert!(mirror.plan(&sealer, &exchange).is_ok());

        let limit = u32::try_from(Tree::Peers.limit()).unwrap();
        for n in 0..limit + 3 {
            let plan = mirror.plan(&sealer, &[put(Tree::Peers, n)]).unwrap();
            mirror.commit(plan);
        }
        assert_eq!(mirror.len(Tree::Peers), Tree::Peers.limit());
        assert_eq!(keys(&mirror, &sealer, Tree::Peers)[0], 3);
        // Writing an entry again makes it young.
        let plan = mirror.plan(&sealer, &[put(Tree::Peers, 3)]).unwrap();
        mirror.commit(plan);
        let plan = mirror.plan(&sealer, &[put(Tree::Peers, 9999)]).unwrap();
        mirror.commit(plan);
        let left = keys(&mirror, &sealer, Tree::Peers);
        assert_eq!((left[0], left[left.len() - 2], left[left.len() - 1]), (5, 3, 9999));
    }

    #[test]
    fn the_last_change_of_a_key_in_a_batch_counts() {
        let sealer = Sealer::new(StoreKey::from_secret(&[1; 32]));
        let mut mirror = Mirror::default();
        let key = 7_u32.to_be_bytes().to_vec();
        let plan = mirror.plan(&sealer, &[put(Tree::Friends, 7), Change::Remove(Tree::Friends, key.clone())]).unwrap();
        assert!(plan.is_empty());
        let plan = mirror.plan(&sealer, &[Change::Remove(Tree::Friends, key), put(Tree::Friends, 7)]).unwrap();
        mirror.commit(plan);
        assert_eq!(keys(&mirror, &sealer, Tree::Friends), [7]);
    }
}
