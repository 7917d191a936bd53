//! The store as a whole, with its files damaged in every way that came to mind.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twocan_protocol::sealed::StoreKey;

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    seen: u64,
}

fn key() -> StoreKey {
    StoreKey::from_secret(&[7; 32])
}

fn open(dir: &Path) -> Opened {
    Vault::open(dir, key()).unwrap()
}

fn person(name: &str) -> Person {
    Person { name: name.to_owned(), seen: 5 }
}

fn friends(vault: Vault) -> (Arc<dyn Store>, Collection<Person>) {
    let store: Arc<dyn Store> = Arc::new(vault);
    (Arc::clone(&store), Collection::new(store, Tree::Friends, 1))
}

fn history(store: &Arc<dyn Store>) -> Collection<u64> {
    Collection::new(Arc::clone(store), Tree::History, 1)
}

/// A store with two friends and two calls.
fn fill(dir: &Path) {
    let opened = open(dir);
    assert_eq!(opened.notices, Vec::<String>::new());
    let (store, friends) = friends(opened.vault);
    friends.put(b"ann", &person("Ann")).unwrap();
    history(&store).put(b"c1", &1).unwrap();
    friends.put(b"ben", &person("Ben")).unwrap();
    history(&store).put(b"c2", &2).unwrap();
}

fn names(friends: &Collection<Person>) -> Vec<String> {
    friends.all().records.into_iter().map(|(_, person)| person.name).collect()
}

#[test]
fn what_was_written_is_there_after_reopening_in_order() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    let opened = open(&dir);
    assert_eq!(opened.notices, Vec::<String>::new());
    let (store, friends) = friends(opened.vault);
    assert_eq!(names(&friends), ["Ann", "Ben"]);
    assert_eq!(friends.get(b"ben").unwrap(), Some(person("Ben")));
    assert_eq!(friends.get(b"eve").unwrap(), None);
    assert_eq!(history(&store).all().records, [(b"c1".to_vec(), 1), (b"c2".to_vec(), 2)]);
    friends.remove(b"ann").unwrap();
    assert_eq!(names(&friends), ["Ben"]);
    assert_eq!(store.trouble(), None);
}

#[test]
fn nothing_that_is_kept_can_be_read_on_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    {
        let (_, friends) = friends(open(&dir).vault);
        friends.put(b"very-recognisable-key", &person("Very Recognisable Name")).unwrap();
    }
    let mut files = vec![dir.clone()];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        read += bytes.len();
        for text in [&b"ecognisable"[..], b"Person", b"seen"] {
            assert!(!bytes.windows(text.len()).any(|part| part == text), "{} tells", path.display());
        }
    }
    assert!(read > 500);
}

#[test]
fn a_destroyed_database_is_replaced_from_the_snapshot_and_the_person_is_told() {
    for damage in ["conf", "db", "all"] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("store");
        fill(&dir);
        match damage {
            "all" => std::fs::remove_dir_all(dir.join("sled")).unwrap(),
            file => std::fs::write(dir.join("sled").join(file), vec![0x5a; 100_000]).unwrap(),
        }
        let opened = open(&dir);
        assert_eq!(opened.notices.len(), 1, "{damage}: {:?}", opened.notices);
        assert!(opened.notices[0].contains("snapshot"), "{damage}: {:?}", opened.notices);
        let (store, friends) = friends(opened.vault);
        assert_eq!(names(&friends), ["Ann", "Ben"], "{damage}");
        assert_eq!(history(&store).all().records, [], "{damage}");
        friends.put(b"cem", &person("Cem")).unwrap();
        drop((store, friends));
        let opened = open(&dir);
        assert_eq!(opened.notices, Vec::<String>::new(), "{damage}");
        assert_eq!(names(&self::friends(opened.vault).1), ["Ann", "Ben", "Cem"], "{damage}");
        let aside = std::fs::read_dir(&dir)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("damaged"));
        // A file that is noise from end to end is new to sled, and used again.
        assert_eq!(aside.count(), usize::from(damage == "conf"), "{damage}: the damaged files are kept");
    }
}

#[test]
fn no_change_of_any_byte_loses_a_friend() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    let db = dir.join("sled/db");
    let good = std::fs::read(&db).unwrap();
    let used = good.iter().rposition(|byte| *byte != 0).unwrap();
    let mut told = 0;
    for n in 0..48 {
        let mut bad = good.clone();
        let at = n * used / 48;
        if n % 4 == 3 {
            bad.truncate(at);
        } else {
            bad[at] ^= 0x11 << (n % 3);
        }
        std::fs::write(&db, &bad).unwrap();
        let opened = open(&dir);
        told += usize::from(!opened.notices.is_empty());
        assert_eq!(names(&friends(opened.vault).1), ["Ann", "Ben"], "byte {at} of {used}");
    }
    assert!(told > 0, "no damage was noticed at all");
}

#[test]
fn a_damaged_snapshot_is_written_anew() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    std::fs::write(dir.join("vault.snapshot"), b"2cansnap rubbish").unwrap();
    let opened = open(&dir);
    assert!(opened.notices[0].contains("snapshot"), "{:?}", opened.notices);
    drop(opened);
    std::fs::remove_dir_all(dir.join("sled")).unwrap();
    assert_eq!(names(&friends(open(&dir).vault).1), ["Ann", "Ben"]);
}

#[test]
fn when_both_are_damaged_nothing_is_touched() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    std::fs::write(dir.join("vault.snapshot"), b"rubbish").unwrap();
    let noise = vec![0x5a; 100_000];
    std::fs::write(dir.join("sled/conf"), &noise).unwrap();
    let database = std::fs::read(dir.join("sled/db")).unwrap();
    let error = Vault::open(&dir, key()).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    assert_eq!(std::fs::read(dir.join("vault.snapshot")).unwrap(), b"rubbish");
    assert_eq!(std::fs::read(dir.join("sled/conf")).unwrap(), noise);
    assert_eq!(std::fs::read(dir.join("sled/db")).unwrap(), database);
}

#[test]
fn another_key_is_told_from_damage() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    let error = Vault::open(&dir, StoreKey::from_secret(&[8; 32])).unwrap_err();
    assert!(matches!(error, Error::WrongKey), "{error}");
    assert_eq!(names(&friends(open(&dir).vault).1), ["Ann", "Ben"]);
}

#[test]
fn older_and_newer_formats_are_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    std::fs::write(dir.join("format"), "2\n").unwrap();
    let newer = Vault::open(&dir, key()).unwrap_err();
    assert!(matches!(newer, Error::Newer { found: 2 }) && newer.to_string().contains("update"), "{newer}");
    std::fs::write(dir.join("format"), "0\n").unwrap();
    assert!(matches!(Vault::open(&dir, key()), Err(Error::Older { found: 0 })));
    std::fs::write(dir.join("format"), "1\n").unwrap();
    assert_eq!(names(&friends(open(&dir).vault).1), ["Ann", "Ben"]);
}

#[test]
fn a_folder_that_is_none_and_a_store_in_use_are_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Vault::open(&file, key()), Err(Error::Io { .. })));
    assert!(matches!(Vault::open(&home.path().join("a/b"), key()), Err(Error::Io { .. })));
    let dir = home.path().join("store");
    let first = open(&dir);
    assert!(matches!(Vault::open(&dir, key()), Err(Error::InUse(_))));
    drop(first);
    open(&dir);
}

#[test]
fn the_log_that_knows_less_than_the_snapshot_is_not_believed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    let old = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        let done = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
        assert!(done.success());
    };
    copy(&dir.join("sled"), old.path());
    {
        let (store, friends) = friends(open(&dir).vault);
        friends.remove(b"ann").unwrap();
        friends.put(b"cem", &person("Cem")).unwrap();
        history(&store).put(b"c3", &3).unwrap();
    }
    std::fs::remove_dir_all(dir.join("sled")).unwrap();
    copy(&old.path().join("sled"), &dir);
    let (store, friends) = friends(open(&dir).vault);
    assert_eq!(names(&friends), ["Ben", "Cem"]);
    // History is not in the snapshot: what the old log knows of it is all there is.
    assert_eq!(history(&store).all().records.len(), 2);
}

#[test]
fn a_failing_log_is_opened_anew_and_brought_up_to_date() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    {
        let vault = open(&dir).vault;
        {
            let mut state = vault.lock();
            state.log = None;
            state.log_trouble = Some("the disk is full".to_owned());
            // Just tried: it is left alone for now.
            state.log_tried = Some(std::time::Instant::now());
        }
        let vault = Arc::new(vault);
        let calls = Collection::<u64>::new(vault.clone(), Tree::History, 1);
        let friends = Collection::<Person>::new(vault.clone(), Tree::Friends, 1);
        assert!(matches!(calls.put(b"c3", &3), Err(Error::Disk(_))));
        assert!(vault.trouble().unwrap().contains("the disk is full"));
        // The snapshot holds all of this change: it is safe.
        friends.remove(b"ann").unwrap();
        assert_eq!(calls.get(b"c3").unwrap(), Some(3));
        vault.lock().log_tried = None;
        calls.put(b"c4", &4).unwrap();
        assert_eq!(vault.trouble(), None);
    }
    let (store, friends) = friends(open(&dir).vault);
    assert_eq!(names(&friends), ["Ben"]);
    assert_eq!(history(&store).all().records.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn records_of_a_newer_version_are_neither_shown_nor_lost() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    {
        let store: Arc<dyn Store> = Arc::new(open(&dir).vault);
        Collection::<(u8, u8)>::new(store, Tree::Friends, 2).put(b"dan", &(1, 2)).unwrap();
    }
    let (store, friends) = friends(open(&dir).vault);
    let all = friends.all();
    assert_eq!((all.records.len(), all.unread), (2, 1));
    assert_eq!(friends.get(b"dan").unwrap(), None);
    assert_eq!(Collection::<(u8, u8)>::new(store, Tree::Friends, 2).get(b"dan").unwrap(), Some((1, 2)));
}

#[test]
fn an_export_brings_back_what_is_precious_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    fill(&home.path().join("one"));
    let export = open(&home.path().join("one")).vault.export().unwrap();
    let other = open(&home.path().join("two")).vault;
    other.apply(Vault::import(&export).unwrap()).unwrap();
    let (store, friends) = friends(other);
    assert_eq!(names(&friends), ["Ann", "Ben"]);
    assert_eq!(history(&store).all().records, []);
    for junk in [&b""[..], b"\x00", b"\x82\x01", &export[..export.len() - 1]] {
        assert!(Vault::import(junk).is_err());
    }
    let mut smuggled = Vec::new();
    ciborium::into_writer(&(1, vec![("history", b"k".to_vec(), 1, b"r".to_vec())]), &mut smuggled).unwrap();
    assert!(Vault::import(&smuggled).is_err());
    let mut newer = Vec::new();
    ciborium::into_writer(&(2, Vec::<u8>::new()), &mut newer).unwrap();
    assert!(matches!(Vault::import(&newer), Err(Error::Newer { found: 2 })));
}

#[test]
fn history_keeps_the_newest_thousand() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    {
        let store: Arc<dyn Store> = Arc::new(open(&dir).vault);
        let calls = history(&store);
        let batch = |range: std::ops::Range<u64>| range.map(|n| calls.change(&n.to_be_bytes(), &n).unwrap()).collect();
        store.apply(batch(0..900)).unwrap();
        store.apply(batch(900..1200)).unwrap();
    }
    let store: Arc<dyn Store> = Arc::new(open(&dir).vault);
    let kept: Vec<u64> = history(&store).all().records.into_iter().map(|(_, n)| n).collect();
    assert_eq!(kept, (200..1200).collect::<Vec<_>>());
}

#[test]
fn the_frozen_reader_of_format_1_reads_what_is_written() {
    assert_eq!(FORMAT, 1, "a new format needs a migration from 1 and a frozen reader of its own");
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    fill(&dir);
    let (generation, entries) = migrations::v1::read(&dir, &key()).unwrap();
    assert_eq!(generation, 4);
    let kept: Vec<_> = entries.into_iter().map(|((tree, _), (key, version, _))| (tree, key, version)).collect();
    let expected = [(1, b"ann"), (1, b"ben")].map(|(tree, key)| (tree, key.to_vec(), 1));
    assert_eq!(kept[..2], expected);
    assert_eq!(kept[2..], [(5, b"c1"), (5, b"c2")].map(|(tree, key)| (tree, key.to_vec(), 1)));
}

#[tokio::test]
async fn the_keeper_writes_in_order_and_one_bad_batch_harms_only_itself() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    {
        let store: Arc<dyn Store> = Arc::new(open(&dir).vault);
        let keeper = Keeper::start(Arc::clone(&store)).unwrap();
        let calls = history(&store);
        let mut answers = Vec::new();
        for n in 0..50_u64 {
            answers.push(keeper.apply(vec![calls.change(b"last", &n).unwrap()]));
            if n == 25 {
                let large = Entry { key: vec![0; MAX_KEY + 1], version: 1, record: Zeroizing::new(Vec::new()) };
                let bad = keeper.apply(vec![Change::Put(Tree::History, large)]);
                assert!(matches!(bad.await, Err(Error::TooLarge(_))));
            }
        }
        for answer in answers {
            answer.await.unwrap();
        }
        // Nobody waits for this one.
        drop(keeper.apply(vec![calls.change(b"unwatched", &1).unwrap()]));
        drop(keeper);
    }
    let store: Arc<dyn Store> = Arc::new(open(&dir).vault);
    assert_eq!(history(&store).get(b"last").unwrap(), Some(49));
    assert_eq!(history(&store).get(b"unwatched").unwrap(), Some(1));
}
