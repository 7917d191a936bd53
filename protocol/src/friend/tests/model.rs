//! Random people in a random world: whatever they do, the books agree in the end.

use proptest::prelude::*;

use super::*;

/// Something that people or the world do.
#[derive(Clone, Debug)]
enum Step {
    Add(usize, usize),
    Accept(usize, usize),
    Decline(usize, usize),
    Block(usize, usize),
    Unblock(usize, usize),
    Remove(usize, usize),
    Availability(usize, usize),
    Hide(usize, usize, bool),
    HideAll(usize, bool),
    Stop(usize),
    Start(usize),
    Cut(usize, usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let two = || (0usize..3, 0usize..3);
    prop_oneof![
        4 => two().prop_map(|(a, b)| Step::Add(a, b)),
        4 => two().prop_map(|(a, b)| Step::Accept(a, b)),
        1 => two().prop_map(|(a, b)| Step::Decline(a, b)),
        1 => two().prop_map(|(a, b)| Step::Block(a, b)),
        1 => two().prop_map(|(a, b)| Step::Unblock(a, b)),
        1 => two().prop_map(|(a, b)| Step::Remove(a, b)),
        1 => (0usize..3, 0usize..3).prop_map(|(n, a)| Step::Availability(n, a)),
        2 => (two(), any::<bool>()).prop_map(|((a, b), hidden)| Step::Hide(a, b, hidden)),
        1 => (0usize..3, any::<bool>()).prop_map(|(n, hidden)| Step::HideAll(n, hidden)),
        2 => (0usize..3).prop_map(Step::Stop),
        3 => (0usize..3).prop_map(Step::Start),
        2 => two().prop_map(|(a, b)| Step::Cut(a, b)),
        4 => (0u64..4000).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_people_do_the_books_agree_in_the_end(steps in proptest::collection::vec(step(), 0..60)) {
        let mut world = World::new::<3>();
        for step in &steps {
            match *step {
                Step::Add(a, b) => world.add(a, b),
                Step::Accept(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Accept { root, name: None }); }
                Step::Decline(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Decline(root)); }
                Step::Block(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Block(root)); }
                Step::Unblock(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Unblock(root)); }
                Step::Remove(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Remove(root)); }
                Step::Availability(n, a) => world.act(n, Input::Availability(Availability::ALL[a])),
                Step::Hide(a, b, hidden) => {
                    let friend = Some(world.nodes[b].root);
                    world.act(a, Input::Hide { friend, hidden });
                }
                Step::HideAll(n, hidden) => world.act(n, Input::Hide { friend: None, hidden }),
                Step::Stop(n) => world.stop(n),
                Step::Start(n) => if !world.nodes[n].running { world.start(n) },
                Step::Cut(a, b) => { world.unlink(a, b); world.settle(); }
                Step::Pass(s) => world.pass(Duration::from_secs(s)),
            }
        }
        for n in 0..3 {
            if !world.nodes[n].running { world.start(n); }
        }
        world.pass(Duration::from_secs(7200));
        for n in 0..3 {
            let node = &world.nodes[n];
            // The store holds exactly what the book holds.
            for view in node.book.friends() {
                prop_assert_eq!(node.friends.get(&view.record.root).map(|r| r.state), Some(view.record.state));
                prop_assert!(!node.book.blocked().any(|root| *root == view.record.root));
            }
            prop_assert_eq!(node.friends.len(), node.book.friends().count());
            prop_assert_eq!(node.requests.len(), node.book.requests().count());
            for other in 0..3 {
                if n == other { continue; }
                let accepted = |a: usize, b: usize| world.view(a, b).is_some_and(|v| v.record.state == FriendState::Accepted);
                // Two who both see a friendship are linked, whatever happened before.
                if accepted(n, other) && accepted(other, n) {
                    prop_assert!(world.links.contains(&pair(n, other)), "{} and {} found each other", n, other);
                }
                // Nobody from whom the addresses are hidden can read the presence slot.
                let held = world.view(other, n).and_then(|view| view.record.grant);
                if node.book.hides(&world.nodes[other].root) {
                    prop_assert!(held.is_none_or(|grant| grant != node.key.grant()), "{other} reads the slot of {n}");
                }
                // Whoever is not a friend here is not linked.
                if world.links.contains(&pair(n, other)) {
                    prop_assert!(accepted(n, other), "{} keeps a link to {}", n, other);
                }
            }
        }
    }
}
