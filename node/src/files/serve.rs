//! Serving: a friend's node asks for the bytes of a file from some place on, and gets them as fast as the way takes them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use tokio::time::timeout;
use twocan_protocol::wire::{FileRefusal, FileReply, FileRequest};

use super::{FRAME, Facts, PATIENCE, Pace, facts_of, tail};
use crate::links::Opened;

/// After the last byte: until the other side has taken what is on its way.
const LINGER: std::time::Duration = std::time::Duration::from_secs(120);

/// The file behind an offer.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) facts: Facts,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// All bytes were handed over, or the other side went.
    Over,
    /// The file is another one than was offered.
    Changed,
}

/// The first word on a stream.
pub(crate) async fn read_request(opened: &mut Opened) -> Option<FileRequest> {
    let frame = timeout(PATIENCE, opened.rx.recv()).await.ok().flatten()?;
    match FileRequest::decode(&frame) {
        Ok(request) => Some(request),
        Err(error) => {
            tracing::info!("a stream for a file was dropped: {error}");
            None
        }
    }
}

/// Says no, and closes.
pub(crate) async fn refuse(opened: Opened, reason: FileRefusal) {
    if let Ok(reply) = FileReply::No(reason).encode() {
        let _ = opened.tx.send(reply).await;
    }
    drop(opened.tx);
    let _ = timeout(PATIENCE, opened.ended).await;
}

/// Opens the file, sees that it is the one, and where to begin.
fn begin(source: &Source, request: &FileRequest) -> io::Result<(File, u64)> {
    let mut file = File::open(&source.path)?;
    if facts_of(&file)? != source.facts {
        return Err(io::Error::other("it was changed"));
    }
    let fits = request.offset <= source.facts.size && tail(&mut file, request.offset)? == request.tail;
    let offset = if fits { request.offset } else { 0 };
    file.seek(SeekFrom::Start(offset))?;
    Ok((file, offset))
}

/// Gives the bytes; `moved` is told up to where.
pub(crate) async fn serve(
    opened: Opened,
    request: FileRequest,
    source: Source,
    pace: &Pace,
    relayed: bool,
    mut moved: impl FnMut(u64),
) -> Served {
    let size = source.facts.size;
    let begun = tokio::task::spawn_blocking(move || begin(&source, &request)).await;
    let Ok(Ok((mut file, mut offset))) = begun else {
        refuse(opened, FileRefusal::Changed).await;
        return Served::Changed;
    };
    let Ok(reply) = (FileReply::Data { offset }).encode() else { return Served::Over };
    if opened.tx.send(reply).await.is_err() {
        return Served::Over;
    }
    moved(offset);
    while offset < size {
        let length = usize::try_from(size - offset).unwrap_or(FRAME).min(FRAME);
        let read = tokio::task::spawn_blocking(move || {
            let mut frame = vec![0; length];
            file.read_exact(&mut frame)?;
            Ok::<_, io::Error>((file, frame))
        });
        let frame = match read.await {
            Ok(Ok((back, frame))) => {
                file = back;
                frame
            }
            _ => return Served::Changed,
        };
        pace.take(length, relayed).await;
        // A full queue holds the file back.
        if opened.tx.send(frame).await.is_err() {
            return Served::Over;
        }
        offset += length as u64;
        moved(offset);
    }
    drop(opened.tx);
    let _ = timeout(LINGER, opened.ended).await;
    Served::Over
}
