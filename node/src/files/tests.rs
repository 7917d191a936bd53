//! Fetching and serving against each other, over channels in place of a stream.

use std::fs;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};
use twocan_protocol::files::Fetched;
use twocan_protocol::handshake::Purpose;
use twocan_protocol::identity::{Certificate, DeviceKey, RootKey};
use twocan_protocol::wire::{FileReply, Id};

use super::*;
use crate::links::Opened;

fn end(tx: mpsc::Sender<Vec<u8>>, rx: mpsc::Receiver<Vec<u8>>) -> Opened {
    let (root, device) = (RootKey::from_secret(&[1; 32]), DeviceKey::from_secret(&[2; 32]));
    let remote = Certificate::issue(&root, device.public(), 0, 1, 1_900_000_000);
    let ended = oneshot::channel().1;
    Opened { remote, remote_boot: 1, version: 1, purpose: Purpose::File, dialled: true, tx, rx, ended }
}

fn pair() -> (Opened, Opened) {
    let (a, b) = (mpsc::channel(8), mpsc::channel(8));
    (end(a.0, b.1), end(b.0, a.1))
}

/// A folder with a file to be sent and a folder for it.
struct Bench {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Bench {
    fn new(size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..size).map(|n| (n % 253) as u8).collect();
        fs::write(folder.path().join("source"), &bytes).unwrap();
        Self { folder, bytes }
    }

    fn source(&self) -> Source {
        let path = self.folder.path().join("source");
        Source { facts: facts(&path).unwrap(), path }
    }

    fn job(&self) -> Job {
        let source = self.source();
        let hash = hash(&source.path, source.facts).unwrap();
        let folder = self.folder.path().join("in");
        Job { id: Id([7; 16]), name: "../a.txt".to_owned(), size: source.facts.size, hash, folder }
    }

    fn part(&self) -> std::path::PathBuf {
        place::part_path(&self.folder.path().join("in"), "../a.txt", &Id([7; 16]))
    }

    /// One try, in which at most `most` bytes come through. Gives the outcome and from where bytes came.
    async fn fetch(&self, job: Job, source: Source, most: u64) -> (Fetched, Served, Option<u64>) {
        let (here, mut there) = pair();
        let pace = Pace::default();
        let serving = async {
            let Some(request) = read_request(&mut there).await else { return Served::Over };
            serve(there, request, source, &Pace::default(), false, |_| {}).await
        };
        let (mut first, mut stop) = (None, false);
        let fetching = async {
            let (cut, stopped) = oneshot::channel::<()>();
            let mut cut = Some(cut);
            let moved = |done: u64| {
                first.get_or_insert(done);
                if done >= most {
                    drop(cut.take());
                }
            };
            tokio::select! {
                fetched = fetch(job, async { Some(here) }, &pace, false, moved) => fetched,
                _ = stopped => { stop = true; Fetched::Lost }
            }
        };
        let (fetched, served) = tokio::join!(fetching, serving);
        assert!(!stop || fetched == Fetched::Lost);
        (fetched, served, first)
    }

    fn there(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path().join("in"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_whole_under_a_harmless_name() {
    for size in [0, 1, FRAME, 1_000_000] {
        let bench = Bench::new(size);
        let (fetched, served, _) = bench.fetch(bench.job(), bench.source(), u64::MAX).await;
        let Fetched::Done(path) = fetched else { panic!("{fetched:?}") };
        assert_eq!((fs::read(path).unwrap(), served), (bench.bytes.clone(), Served::Over));
        assert_eq!(bench.there(), ["_a.txt"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_broke_goes_on_where_it_was() {
    let bench = Bench::new(1_000_000);
    let (fetched, ..) = bench.fetch(bench.job(), bench.source(), 300_000).await;
    assert_eq!(fetched, Fetched::Lost);
    let there = fs::metadata(bench.part()).unwrap().len();
    assert!(there >= 300_000, "{there}");
    let (fetched, _, first) = bench.fetch(bench.job(), bench.source(), u64::MAX).await;
    assert!(matches!(fetched, Fetched::Done(_)), "{fetched:?}");
    assert_eq!(first, Some(there));
    // What is damaged at its end is fetched anew.
    let bench = Bench::new(1_000_000);
    bench.fetch(bench.job(), bench.source(), 300_000).await;
    let mut part = fs::read(bench.part()).unwrap();
    let last = part.len() - 10;
    part[last] ^= 1;
    fs::write(bench.part(), part).unwrap();
    let (fetched, _, first) = bench.fetch(bench.job(), bench.source(), u64::MAX).await;
    assert!(matches!(fetched, Fetched::Done(_)) && first == Some(0), "{fetched:?} from {first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_file_is_not_kept() {
    let bench = Bench::new(100_000);
    let wrong = Job { hash: [0; 32], ..bench.job() };
    let (fetched, ..) = bench.fetch(wrong, bench.source(), u64::MAX).await;
    assert_eq!((fetched, bench.there().len()), (Fetched::Wrong, 0));
    // The sender's file was changed since it was offered.
    let source = bench.source();
    fs::write(&source.path, b"other").unwrap();
    let (fetched, served, _) = bench.fetch(Job { size: 100_000, ..bench.job() }, source, u64::MAX).await;
    assert_eq!((fetched, served), (Fetched::Closed, Served::Changed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_cannot_send_more_than_was_offered() {
    let bench = Bench::new(1000);
    let (here, mut there) = pair();
    let greedy = async {
        read_request(&mut there).await.unwrap();
        there.tx.send(FileReply::Data { offset: 0 }.encode().unwrap()).await.unwrap();
        let _ = there.tx.send(vec![0; 600]).await;
        let _ = there.tx.send(vec![0; 600]).await;
    };
    let pace = Pace::default();
    let (fetched, ()) = tokio::join!(fetch(bench.job(), async { Some(here) }, &pace, false, |_| {}), greedy);
    assert_eq!((fetched, fs::metadata(bench.part()).unwrap().len()), (Fetched::Lost, 600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_said() {
    let bench = Bench::new(10);
    let job = Job { folder: Path::new("/proc/nothing").to_owned(), ..bench.job() };
    let (here, _there) = pair();
    let fetched = fetch(job, async { Some(here) }, &Pace::default(), false, |_| {}).await;
    assert!(matches!(fetched, Fetched::Disk(_)), "{fetched:?}");
    assert!(facts(Path::new("/")).is_err() && facts(Path::new("/nothing")).is_err());
}
