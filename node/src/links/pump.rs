//! Frames between an open stream and two bounded channels, in one task per stream.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::debug;
use twocan_protocol::{
    handshake::{Decryptor, Encryptor, Established, Purpose, TAG_LEN},
    limits::LINK_FRAME_MAX,
};

use super::{
    CHANNEL_FRAMES, Deadlines, Ended, Opened,
    wire::{self, ReadError},
};

/// Starts the task and gives its ends.
pub(super) fn start<S>(
    stream: S,
    established: Established,
    purpose: Purpose,
    dialled: bool,
    deadlines: Deadlines,
) -> Opened
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (tx, outbound) = mpsc::channel(CHANNEL_FRAMES);
    let (inbound, rx) = mpsc::channel(CHANNEL_FRAMES);
    let (tell, ended) = oneshot::channel();
    let Established { remote, remote_boot, version, transport, .. } = established;
    let (encryptor, decryptor) = transport.split();
    tokio::spawn(async move {
        let reason = run(stream, encryptor, decryptor, outbound, inbound, deadlines).await;
        debug!(who = %remote.root.short(), purpose = purpose.as_str(), %reason, "stream ended");
        // Nobody asks any more: fine.
        let _ = tell.send(reason);
    });
    Opened { remote, remote_boot, version, purpose, dialled, tx, rx, ended }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    encryptor: Encryptor,
    decryptor: Decryptor,
    outbound: mpsc::Receiver<Vec<u8>>,
    inbound: mpsc::Sender<Vec<u8>>,
    deadlines: Deadlines,
) -> Ended {
    let (reader, writer) = stream.split();
    let mut reading = std::pin::pin!(read_all(reader, decryptor, inbound, deadlines));
    let mut writing = std::pin::pin!(write_all(writer, encryptor, outbound, deadlines));
    tokio::select! {
        reason = &mut reading => match reason {
            // Nobody listens here any more: what is queued still goes out.
            Ended::Here => timeout(deadlines.linger, writing).await.unwrap_or(Ended::Here),
            reason => reason,
        },
        reason = &mut writing => match reason {
            Ended::Here => {
                // What the other side says now is not wanted, but its close is waited for, so that ours arrives.
                let _ = timeout(deadlines.linger, reading).await;
                Ended::Here
            }
            reason => reason,
        },
    }
}

async fn read_all<R: AsyncRead + Unpin>(
    mut reader: R,
    mut decryptor: Decryptor,
    inbound: mpsc::Sender<Vec<u8>>,
    deadlines: Deadlines,
) -> Ended {
    loop {
        let begun = tokio::select! {
            begun = wire::begin(&mut reader) => begun,
            () = inbound.closed() => return Ended::Here,
        };
        let message = match begun {
            Ok(first) => {
                let rest = wire::finish(&mut reader, first, TAG_LEN, LINK_FRAME_MAX + TAG_LEN);
                timeout(deadlines.message, rest).await
            }
            Err(error) => Ok(Err(error)),
        };
        let message = match message {
            Ok(Ok(message)) => message,
            Ok(Err(ReadError::Closed)) => return Ended::There,
            Ok(Err(ReadError::Io(kind))) => return Ended::Lost(kind),
            Ok(Err(ReadError::Length(length))) => return Ended::Length(length),
            Err(_) => return Ended::Unfinished,
        };
        let frame = match decryptor.decrypt(&message) {
            Ok(frame) => frame,
            Err(error) => return Ended::Transport(error),
        };
        // A full channel holds the other side back; the transport's flow control does the rest.
        if inbound.send(frame).await.is_err() {
            return Ended::Here;
        }
    }
}

async fn write_all<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut encryptor: Encryptor,
    mut outbound: mpsc::Receiver<Vec<u8>>,
    deadlines: Deadlines,
) -> Ended {
    while let Some(frame) = outbound.recv().await {
        let message = match encryptor.encrypt(&frame) {
            Ok(message) => message,
            Err(error) => return Ended::Transport(error),
        };
        match timeout(deadlines.write, wire::write(&mut writer, &message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ended::Lost(error.kind()),
            Err(_) => return Ended::Stalled,
        }
    }
    match timeout(deadlines.write, writer.close()).await {
        Ok(Ok(())) => Ended::Here,
        Ok(Err(error)) => Ended::Lost(error.kind()),
        Err(_) => Ended::Stalled,
    }
}
