//! Two sides of transfers over a link that breaks, with nodes that are killed and streams that stop anywhere.

use std::collections::{BTreeMap, VecDeque};

use rand::{RngExt, SeedableRng};

use super::*;
use crate::identity::RootKey;
use crate::testing::Clock;
use crate::wire::{FileName, FileOffer, List};

const SIZE: u64 = 1000;

fn people() -> [RootPublic; 2] {
    [1, 2].map(|n| RootKey::from_secret(&[n; 32]).public())
}

fn name(n: u8) -> Id {
    Id([n; 16])
}

#[derive(Default)]
struct Side {
    transfers: Transfers,
    disk: BTreeMap<Id, TransferRecord>,
    /// Bytes of parts.
    parts: BTreeMap<Id, u64>,
    fetching: BTreeSet<Id>,
    new: Vec<Id>,
    refused: Vec<Refusal>,
}

struct World {
    now: Instant,
    ms: u64,
    sides: [Side; 2],
    wire: [VecDeque<FilesMessage>; 2],
    up: bool,
    /// What comes is not what was offered.
    wrong: bool,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: Clock::new().now,
            ms: 1_800_000_000_000,
            sides: [Side::default(), Side::default()],
            wire: [VecDeque::new(), VecDeque::new()],
            up: false,
            wrong: false,
        };
        (0..2).for_each(|at| world.limits(at, 0));
        world
    }

    fn limits(&mut self, at: usize, auto: u64) {
        self.input(at, Input::Limits { auto, most: 10 * SIZE, folder: "/auto".to_owned() });
    }

    fn input(&mut self, at: usize, input: Input) {
        let outputs = self.sides[at].transfers.handle(self.now, self.ms, input);
        self.outputs(at, outputs);
    }

    fn outputs(&mut self, at: usize, outputs: Vec<Output>) {
        for output in outputs {
            let side = &mut self.sides[at];
            match output {
                Output::Send(_, message) => {
                    if self.up {
                        self.wire[at].push_back(message);
                    }
                }
                Output::Hash(id, _) => self.input(at, Input::Hashed(id, Ok([7; 32]))),
                Output::Fetch(record) => {
                    assert!(side.fetching.insert(record.id), "fetched twice at a time");
                    assert!(side.fetching.len() <= AT_A_TIME);
                }
                Output::StopFetch(id) => drop(side.fetching.remove(&id)),
                Output::RemovePart(record) => drop(side.parts.remove(&record.id)),
                Output::Store(record) => drop(side.disk.insert(record.id, record)),
                Output::Forgotten(id) => drop(side.disk.remove(&id)),
                Output::New(record) => side.new.push(record.id),
                Output::Refused(refusal) => side.refused.push(refusal),
                Output::Changed(_) | Output::StopServing(_) => {}
            }
        }
    }

    fn offer(&mut self, at: usize, n: u8, size: u64) {
        let (friend, id) = (people()[1 - at], name(n));
        let path = format!("/{n}");
        self.input(at, Input::Offer { friend, id, name: path.clone(), size, path, stamp: 1 });
    }

    fn deliver(&mut self, from: usize) {
        if let Some(message) = self.wire[from].pop_front() {
            self.input(1 - from, Input::Received(people()[from], message));
        }
    }

    fn talk(&mut self) {
        while !self.wire.iter().all(VecDeque::is_empty) {
            (0..2).for_each(|from| self.deliver(from));
        }
    }

    fn connect(&mut self) {
        self.up = true;
        self.wire = [VecDeque::new(), VecDeque::new()];
        (0..2).for_each(|at| self.input(at, Input::LinkUp(people()[1 - at])));
    }

    fn break_link(&mut self) {
        self.up = false;
        self.wire = [VecDeque::new(), VecDeque::new()];
        for at in 0..2 {
            self.input(at, Input::LinkDown(people()[1 - at]));
            for id in std::mem::take(&mut self.sides[at].fetching) {
                self.input(at, Input::Fetched(id, Fetched::Lost));
            }
        }
    }

    fn kill(&mut self, at: usize) {
        self.break_link();
        let side = &mut self.sides[at];
        side.transfers = Transfers::new(side.disk.values().cloned().collect());
        let outputs = side.transfers.begin();
        self.outputs(at, outputs);
        self.limits(at, 0);
    }

    /// Some bytes of each fetch come, if the other side gives them.
    fn move_bytes(&mut self, at: usize, bytes: u64) {
        for id in self.sides[at].fetching.clone() {
            let given = self.sides[1 - at].transfers.may_serve(&people()[at], &id).map(|record| record.size);
            let Some(size) = given else {
                self.sides[at].fetching.remove(&id);
                self.input(at, Input::Fetched(id, Fetched::Closed));
                continue;
            };
            let part = self.sides[at].parts.entry(id).or_default();
            *part = (*part + bytes).min(size);
            let part = *part;
            self.input(at, Input::Moved(id, part));
            if part == size && self.sides[at].fetching.remove(&id) {
                self.sides[at].parts.remove(&id);
                let fetched = if self.wrong { Fetched::Wrong } else { Fetched::Done(format!("/in/{id}")) };
                self.input(at, Input::Fetched(id, fetched));
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            self.talk();
            (0..2).for_each(|at| self.move_bytes(at, 400));
            self.now += Duration::from_secs(5);
            self.ms += 5000;
            for at in 0..2 {
                let outputs = self.sides[at].transfers.handle_timeout(self.now);
                self.outputs(at, outputs);
            }
        }
        self.talk();
    }

    fn stage(&self, at: usize, n: u8) -> Option<Stage> {
        self.sides[at].transfers.get(&name(n)).map(|record| record.stage)
    }

    fn record(&self, at: usize, n: u8) -> TransferRecord {
        self.sides[at].transfers.get(&name(n)).unwrap().clone()
    }
}

#[test]
fn a_file_is_offered_taken_and_there() {
    let mut world = World::new();
    world.offer(0, 1, SIZE);
    world.connect();
    world.talk();
    assert_eq!((world.stage(1, 1), world.sides[1].new.len()), (Some(Stage::Offered), 1));
    world.settle();
    assert!(world.sides[1].parts.is_empty(), "nothing moves before it is accepted");
    world.input(1, Input::Accept(name(1), "/in".to_owned()));
    world.settle();
    assert_eq!((world.stage(0, 1), world.stage(1, 1)), (Some(Stage::Done), Some(Stage::Done)));
    assert_eq!(world.record(0, 1).done, SIZE);
}

#[test]
fn each_side_can_hold_a_file_and_go_on() {
    let mut world = World::new();
    world.connect();
    world.offer(0, 1, SIZE);
    world.talk();
    world.input(1, Input::Accept(name(1), "/in".to_owned()));
    world.talk();
    world.move_bytes(1, 300);
    for at in [0, 1] {
        world.input(at, Input::Pause(name(1)));
        world.settle();
        assert_eq!(world.sides[1].parts[&name(1)], 300, "held by {at}");
        assert!(world.record(at, 1).paused_here && world.record(1 - at, 1).paused_there);
        world.input(at, Input::Resume(name(1)));
        world.talk();
    }
    world.settle();
    assert_eq!((world.stage(0, 1), world.stage(1, 1)), (Some(Stage::Done), Some(Stage::Done)));
}

#[test]
fn who_is_away_learns_of_a_cancel_or_a_decline_at_the_next_link() {
    for (at, input, stages) in [
        (0, Input::Cancel(name(1)), (Stage::Cancelled, Stage::Cancelled)),
        (1, Input::Cancel(name(1)), (Stage::Cancelled, Stage::Cancelled)),
        (1, Input::Decline(name(1)), (Stage::Declined, Stage::Declined)),
    ] {
        let mut world = World::new();
        world.connect();
        world.offer(0, 1, SIZE);
        world.talk();
        if matches!(input, Input::Cancel(_)) {
            world.input(1, Input::Accept(name(1), "/in".to_owned()));
            world.talk();
            world.move_bytes(1, 300);
        }
        world.break_link();
        world.input(at, input);
        assert!(at == 0 || world.sides[1].parts.is_empty(), "the part stays");
        world.kill(at);
        world.connect();
        world.settle();
        assert_eq!((world.stage(0, 1).unwrap(), world.stage(1, 1).unwrap()), stages);
        assert!(world.sides[1].parts.is_empty());
    }
}

#[test]
fn what_is_too_large_or_too_many_is_declined_and_not_kept() {
    let mut world = World::new();
    world.connect();
    world.offer(0, 1, 10 * SIZE + 1);
    world.talk();
    assert_eq!((world.stage(0, 1), world.stage(1, 1)), (Some(Stage::Declined), None));
    assert!(world.record(0, 1).reason.unwrap().contains("10 kB"));
    for n in 2..30 {
        world.offer(0, n, SIZE);
    }
    world.talk();
    assert_eq!(world.sides[1].transfers.iter().count(), MAX_FILES);
    assert_eq!(world.sides[0].refused.len(), 28 - MAX_FILES);
    // A friend's node that does not keep to it.
    let friend = people()[0];
    for n in 0..2000_u32 {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let offer = FileOffer { id: Id(id), name: FileName::clean("x"), size: 1, hash: [1; 32], paused: false };
        let message = FilesMessage { offers: List::first_of([offer]), ..FilesMessage::default() };
        world.input(1, Input::Received(friend, message));
        for id in world.sides[1].new.split_off(0) {
            world.input(1, Input::Decline(id));
            world.input(1, Input::Forget(id));
        }
    }
    assert!(world.sides[1].transfers.iter().count() <= MAX_FILES);
}

#[test]
fn small_files_are_accepted_without_asking_if_the_person_wants_that() {
    let mut world = World::new();
    world.limits(1, SIZE);
    world.connect();
    world.offer(0, 1, SIZE);
    world.offer(0, 2, SIZE + 1);
    world.settle();
    assert_eq!((world.stage(1, 1), world.stage(1, 2)), (Some(Stage::Done), Some(Stage::Offered)));
}

#[test]
fn a_file_that_comes_wrong_twice_is_given_up() {
    let mut world = World::new();
    world.wrong = true;
    world.connect();
    world.offer(0, 1, SIZE);
    world.talk();
    world.input(1, Input::Accept(name(1), "/in".to_owned()));
    world.settle();
    assert_eq!((world.stage(0, 1), world.stage(1, 1)), (Some(Stage::Failed), Some(Stage::Failed)));
    assert!(world.record(0, 1).reason.unwrap().contains("not the file"));
}

#[test]
fn a_friend_cannot_touch_the_files_of_another() {
    let mut world = World::new();
    world.connect();
    world.offer(0, 1, SIZE);
    world.talk();
    world.input(1, Input::Accept(name(1), "/in".to_owned()));
    world.talk();
    let eve = RootKey::from_secret(&[3; 32]).public();
    let record = world.record(0, 1);
    world.input(1, Input::LinkUp(eve));
    let offer = FileOffer { hash: [8; 32], ..record.offer() };
    let message = FilesMessage {
        offers: List::first_of([offer]),
        answers: List::first_of([record.answer()]),
        ends: List::first_of([record.end()]),
    };
    for at in 0..2 {
        world.input(at, Input::Received(eve, message.clone()));
    }
    assert_eq!((world.stage(0, 1), world.stage(1, 1)), (Some(Stage::Accepted), Some(Stage::Accepted)));
    assert!(world.sides[0].transfers.may_serve(&eve, &name(1)).is_none());
    assert_eq!(world.record(1, 1).hash, [7; 32]);
}

#[test]
fn acts_that_do_not_fit_are_refused() {
    let mut world = World::new();
    world.offer(0, 1, SIZE);
    for input in [Input::Accept(name(1), String::new()), Input::Decline(name(1)), Input::Resume(name(1))] {
        world.input(0, input);
    }
    world.input(0, Input::Forget(name(1)));
    world.input(0, Input::Cancel(name(2)));
    assert_eq!(world.sides[0].refused, [[Refusal::State; 4].as_slice(), &[Refusal::NoFile]].concat());
    world.input(0, Input::Cancel(name(1)));
    world.input(0, Input::Forget(name(1)));
    assert!(world.sides[0].disk.is_empty());
}

#[test]
fn whatever_breaks_both_sides_agree_in_the_end() {
    for seed in 0..200 {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new();
        let mut n = 0;
        for _ in 0..200 {
            let at = rng.random_range(0..2);
            let id = name(rng.random_range(0..=n));
            match rng.random_range(0..100) {
                0..10 if n < 40 => {
                    n += 1;
                    world.offer(at, n, rng.random_range(0..2 * SIZE));
                }
                10..30 => world.input(at, Input::Accept(id, "/in".to_owned())),
                30..33 => world.input(at, Input::Decline(id)),
                33..40 => world.input(at, Input::Pause(id)),
                40..50 => world.input(at, Input::Resume(id)),
                50..52 => world.input(at, Input::Cancel(id)),
                52..70 => world.move_bytes(at, rng.random_range(0..SIZE)),
                70..85 => world.deliver(at),
                85..92 => world.connect(),
                92..95 => world.break_link(),
                95..97 => world.kill(at),
                _ => world.now += Duration::from_secs(rng.random_range(0..60)),
            }
        }
        world.connect();
        for n in 1..=n {
            for at in 0..2 {
                world.input(at, Input::Accept(name(n), "/in".to_owned()));
                world.input(at, Input::Resume(name(n)));
            }
        }
        world.settle();
        for n in 1..=n {
            (0..2).for_each(|at| world.input(at, Input::Accept(name(n), "/in".to_owned())));
        }
        world.settle();
        for n in 1..=n {
            // Both may have ended it while they were apart, each in its own way; and what was too much is kept by one only.
            let both = [world.stage(0, n), world.stage(1, n)];
            let over = both.iter().flatten().all(|stage| stage.is_over());
            let agreed = both[0] == both[1]
                || both.iter().any(|stage| matches!(stage, Some(Stage::Declined | Stage::Cancelled)));
            assert!(over && agreed, "seed {seed}, file {n}: {both:?}");
        }
        assert!(world.sides.iter().all(|side| side.parts.is_empty()), "seed {seed}: a part was left");
    }
}
