//! Fetching: what is there already is hashed, the rest is asked for and written behind it, and a whole file gets its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tokio::time::timeout;
use twocan_protocol::files::Fetched;
use twocan_protocol::wire::{FileRefusal, FileReply, FileRequest, Id};

use super::{PATIENCE, Pace, hash_into, place, tail};
use crate::links::Opened;

/// The other side may be silent for this long between two frames. It may be slow, and the way may have to be mended.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// What to fetch, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) folder: PathBuf,
}

/// A file that is not whole.
struct Part {
    file: File,
    path: PathBuf,
    done: u64,
    digest: Sha256,
}

impl Part {
    /// Opens what is there, or makes it; gives the hash of its end, too.
    fn open(job: &Job) -> io::Result<(Self, [u8; 32])> {
        fs::create_dir_all(&job.folder)?;
        let path = place::part_path(&job.folder, &job.name, &job.id);
        if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other("something else stands in its place"));
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        if file.metadata()?.len() > job.size {
            file.set_len(0)?;
        }
        let mut digest = Sha256::new();
        let done = hash_into(&mut file, &mut digest, job.size)?;
        let tail = tail(&mut file, done)?;
        file.seek(SeekFrom::Start(done))?;
        Ok((Self { file, path, done, digest }, tail))
    }

    fn restart(mut self) -> io::Result<Self> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Self { done: 0, digest: Sha256::new(), ..self })
    }

    fn write(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.file.write_all(bytes)?;
        self.digest.update(bytes);
        self.done += bytes.len() as u64;
        Ok(self)
    }

    fn finish(self, job: &Job) -> io::Result<Fetched> {
        if <[u8; 32]>::from(self.digest.finalize()) != job.hash {
            fs::remove_file(&self.path)?;
            return Ok(Fetched::Wrong);
        }
        self.file.sync_all()?;
        let path = place::settle(&self.path, &job.folder, &job.name)?;
        Ok(Fetched::Done(path.display().to_string()))
    }
}

/// Runs disk work aside.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Fetched> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fetched::Disk(trouble(&error))),
        Err(_) => Err(Fetched::Lost),
    }
}

fn trouble(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::PermissionDenied => "the download folder cannot be written".to_owned(),
        _ => format!("the file cannot be written: {error}"),
    }
}

/// Fetches the rest of a file over a stream that `open` opens; `moved` is told how many bytes are there.
pub(crate) async fn fetch(
    job: Job,
    open: impl Future<Output = Option<Opened>>,
    pace: &Pace,
    relayed: bool,
    mut moved: impl FnMut(u64),
) -> Fetched {
    match attempt(job, open, pace, relayed, &mut moved).await {
        Ok(fetched) | Err(fetched) => fetched,
    }
}

async fn attempt(
    job: Job,
    open: impl Future<Output = Option<Opened>>,
    pace: &Pace,
    relayed: bool,
    moved: &mut impl FnMut(u64),
) -> Result<Fetched, Fetched> {
    let here = job.clone();
    let (mut part, tail) = aside(move || Part::open(&here)).await?;
    if part.done < job.size || job.size == 0 {
        let mut opened = open.await.ok_or(Fetched::Lost)?;
        let request = FileRequest { id: job.id, offset: part.done, tail }.encode().map_err(|_| Fetched::Lost)?;
        opened.tx.send(request).await.map_err(|_| Fetched::Lost)?;
        let reply = timeout(PATIENCE, opened.rx.recv()).await.ok().flatten().ok_or(Fetched::Lost)?;
        match FileReply::decode(&reply) {
            Ok(FileReply::Data { offset }) if offset == part.done => {}
            Ok(FileReply::Data { offset: 0 }) => part = aside(move || part.restart()).await?,
            Ok(FileReply::No(FileRefusal::Busy)) => return Err(Fetched::Lost),
            Ok(FileReply::No(_)) => return Err(Fetched::Closed),
            Ok(FileReply::Data { .. }) | Err(_) => return Err(Fetched::Lost),
        }
        moved(part.done);
        while part.done < job.size {
            let frame = timeout(SILENCE, opened.rx.recv()).await.ok().flatten().ok_or(Fetched::Lost)?;
            if frame.is_empty() || frame.len() as u64 > job.size - part.done {
                tracing::info!("a friend's node sent more of a file than it offered");
                return Err(Fetched::Lost);
            }
            pace.take(frame.len(), relayed).await;
            part = aside(move || part.write(&frame)).await?;
            moved(part.done);
        }
    }
    aside(move || part.finish(&job)).await
}
