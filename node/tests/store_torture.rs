//! The store under kill -9 and on a disk without room: what was acknowledged is there, and the rest is whole or absent.
//! The work is done by this test binary run again as a child.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by failing")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use twocan_node::store::{Collection, Error, Opened, Store, Tree, Vault};
use twocan_protocol::sealed::StoreKey;

/// Where the child works.
const DIR: &str = "TWOCAN_TORTURE_DIR";
const KILLS: u64 = 30;

fn open(dir: &Path) -> Opened {
    Vault::open(dir, StoreKey::from_secret(&[9; 32])).unwrap()
}

/// A record whose length changes from write to write, with its number in front.
type Record = (u64, Vec<u8>);

fn collection(store: &Arc<dyn Store>, tree: Tree) -> Collection<Record> {
    Collection::new(Arc::clone(store), tree, 1)
}

fn record(n: u64) -> Record {
    let length = usize::try_from(n * 7919 % 9000).unwrap();
    (n, vec![u8::try_from(n % 251).unwrap(); length])
}

fn dir() -> std::path::PathBuf {
    std::env::var_os(DIR).expect("run by the tests below only").into()
}

fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{text}").unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "the child of the torture test"]
fn child_that_writes_until_it_is_killed() {
    let store: Arc<dyn Store> = Arc::new(open(&dir()).vault);
    let trees = [Tree::Friends, Tree::History, Tree::Settings].map(|tree| collection(&store, tree));
    let mut n = trees[0].get(b"counter").unwrap().map_or(0, |(n, _)| n);
    loop {
        n += 1;
        let mut batch: Vec<_> = trees.iter().map(|tree| tree.change(b"counter", &record(n)).unwrap()).collect();
        // One more entry each time, and one fewer: the files grow, are rewritten and shrink.
        batch.push(trees[1].change(&n.to_be_bytes(), &record(n)).unwrap());
        batch.push(trees[1].removal(&n.saturating_sub(20).to_be_bytes()));
        store.apply(batch).unwrap();
        tell(&format!("ack {n}"));
    }
}

fn spawn(dir: &Path, test: &str, shell: &str) -> Child {
    let me = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(me)
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("ack ")?.parse().ok()
}

#[test]
fn whatever_was_acknowledged_survives_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    let mut last = 0;
    let mut fallbacks = 0;
    for round in 0..KILLS {
        let mut child = spawn(&dir, "child_that_writes_until_it_is_killed", "");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let before = last;
        let quota = 3 + round * 5 % 23;
        while last < before + quota {
            last = acknowledged(&lines.next().expect("the child died by itself")).unwrap_or(last);
        }
        // Somewhere within the next writes.
        std::thread::sleep(Duration::from_micros(round * 977 % 4000));
        child.kill().unwrap();
        last = lines.filter_map(|line| acknowledged(&line)).last().unwrap_or(last);
        child.wait().unwrap();

        let opened = open(&dir);
        fallbacks += usize::from(!opened.notices.is_empty());
        let store: Arc<dyn Store> = Arc::new(opened.vault);
        let [friends, history, settings] =
            [Tree::Friends, Tree::History, Tree::Settings].map(|tree| collection(&store, tree));
        let kept = friends.get(b"counter").unwrap().expect("the counter is there");
        assert!(kept.0 == last || kept.0 == last + 1, "round {round}: {last} acknowledged, {} kept", kept.0);
        assert_eq!(kept, record(kept.0), "round {round}");
        assert_eq!(settings.get(b"counter").unwrap(), Some(kept.clone()), "round {round}: half a batch");
        if opened.notices.is_empty() {
            assert_eq!(history.get(b"counter").unwrap(), Some(kept.clone()), "round {round}: half a batch");
            assert_eq!(history.get(&kept.0.to_be_bytes()).unwrap(), Some(kept.clone()), "round {round}");
        } else {
            eprintln!("round {round}: {:?}", opened.notices);
        }
        last = kept.0;
    }
    eprintln!("{last} batches, {KILLS} kills, {fallbacks} times opened from the snapshot");
}

#[test]
#[ignore = "the child of the test of a full disk"]
fn child_that_fills_its_disk() {
    let store: Arc<dyn Store> = Arc::new(open(&dir()).vault);
    let [friends, peers] = [Tree::Friends, Tree::Peers].map(|tree| collection(&store, tree));
    friends.put(b"ann", &record(1)).unwrap();
    tell("ack 0");
    let mut n = 0_u64;
    let refused = loop {
        n += 1;
        // Random bytes of some kB; sealed they do not shrink.
        match peers.put(&n.to_be_bytes(), &(n, vec![1; 30_000])) {
            Ok(()) => tell(&format!("ack {n}")),
            Err(error) => break error,
        }
        assert!(n < 400, "the disk is never full");
    };
    assert!(matches!(refused, Error::Disk(_)), "{refused}");
    assert!(store.trouble().is_some());
    // It goes on in memory, and friends are still safe: the snapshot is small.
    assert_eq!(peers.get(&n.to_be_bytes()).unwrap().unwrap().0, n);
    friends.put(b"ben", &record(2)).unwrap();
    assert_eq!(friends.all().records.len(), 2);
    tell("full");
}

#[test]
fn a_full_disk_is_said_and_costs_nothing_that_was_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    // Files of at most 4 MiB; beyond, writing fails with an error instead of a signal.
    let child = spawn(&dir, "child_that_fills_its_disk", "trap '' XFSZ; ulimit -f 8192;");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.lines().any(|line| line == "full"), "{text}");
    let last = text.lines().filter_map(acknowledged).max().unwrap();
    assert!(last > 0);

    let opened = open(&dir);
    let store: Arc<dyn Store> = Arc::new(opened.vault);
    let [friends, peers] = [Tree::Friends, Tree::Peers].map(|tree| collection(&store, tree));
    assert_eq!(friends.all().records.len(), 2, "{:?}", opened.notices);
    if opened.notices.is_empty() {
        for n in 1..=last {
            assert_eq!(peers.get(&n.to_be_bytes()).unwrap().map(|(n, _)| n), Some(n));
        }
    }
    friends.put(b"cem", &record(3)).unwrap();
    assert_eq!(store.trouble(), None);
}
