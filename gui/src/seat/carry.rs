//! Keeping the seat of a call: frames flow between session and node until the call is over, and when node or socket go
//! away for a while the seat is taken again with its token, without a person's act.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use twocan_control::{
    CallId, CallState, CallUpdate, Code, Error, Handle, MediaChannel, MediaControl, MediaMessage, RecordCall,
    SeatToken, TakeSeat,
};
use twocan_media::Kind;
use twocan_media::session::{Incoming, Outgoing, Part};

use super::wire::{codecs, from_node, said, to_node, told};
use super::{Media, word};
use crate::model::Update;

/// How often the node is told how pictures are shown.
const REPORT: Duration = Duration::from_secs(1);
/// How often a node that went away is looked for, and how long: the call itself waits 30 s.
const RETRY: Duration = Duration::from_millis(250);
const GIVE_UP: Duration = Duration::from_secs(35);

/// Carries frames until the call is over. Returns why the seat was lost, if it was.
pub async fn keep<H: Handle>(
    node: H,
    call: CallId,
    mut token: SeatToken,
    media: Arc<Media>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    updates: mpsc::Sender<Update>,
) -> Option<Error> {
    loop {
        let begin = Instant::now();
        if let Ok(channel) = node.media(&call, &token).await
            && carry(&node, &call, channel, &media, &mut outgoing, &updates).await == End::Over
        {
            return None;
        }
        // A node that lets nobody keep the seat is not asked again and again without a breath.
        if begin.elapsed() < RETRY {
            tokio::time::sleep(RETRY).await;
        }
        match take_again(&node, &call, &token).await {
            Ok(Some(new)) => token = new,
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// The new token; `None` when the call is over.
async fn take_again<H: Handle>(node: &H, call: &str, token: &SeatToken) -> Result<Option<SeatToken>, Error> {
    let begin = Instant::now();
    loop {
        let error = match node.call(call).await {
            Ok(call) if call.state == CallState::Ended => return Ok(None),
            Ok(_) => match node.take_seat(call, TakeSeat { token: Some(token.clone()) }).await {
                Ok(seated) => return Ok(Some(seated.seat)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        match error.code {
            Code::NotFound | Code::Conflict => return Ok(None),
            Code::NoNode | Code::Internal if begin.elapsed() < GIVE_UP => tokio::time::sleep(RETRY).await,
            _ => return Err(error),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Over,
    Lost,
}

async fn carry<H: Handle>(
    node: &H,
    call: &CallId,
    channel: MediaChannel,
    media: &Arc<Media>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    updates: &mpsc::Sender<Update>,
) -> End {
    let MediaChannel { tx, mut rx } = channel;
    // What was encoded before this channel existed is old; trouble with a device is not.
    while let Ok(item) = outgoing.try_recv() {
        if !matches!(item, Outgoing::Frame(_)) {
            tell(&item, &tx, updates);
        }
    }
    // A full queue means that the node does not read; every client has what is agreed without this word.
    drop(tx.try_send(MediaMessage::Control(codecs())));
    // Pictures of a kind (camera, screen) are left out until the next key frame.
    let mut wait_for_key = [false; 2];
    let mut report = tokio::time::interval(REPORT);
    loop {
        tokio::select! {
            message = rx.recv() => match message {
                None => return End::Lost,
                Some(MediaMessage::Control(MediaControl::Ended)) => return End::Over,
                Some(MediaMessage::Frame(frame)) => media.session.incoming(Incoming::Frame(from_node(frame))),
                Some(MediaMessage::Control(control)) => {
                    if let Some(incoming) = told(control) {
                        media.session.incoming(incoming);
                    }
                }
            },
            _ = report.tick() => media.session.report().iter().for_each(|outgoing| tell(outgoing, &tx, updates)),
            item = outgoing.recv() => match item {
                None => return End::Lost,
                Some(Outgoing::Frame(frame)) => {
                    let (kind, key) = (frame.kind, frame.key);
                    let waits = &mut wait_for_key[usize::from(kind == Kind::Screen)];
                    if kind.is_picture() && *waits && !key {
                        continue;
                    }
                    match tx.try_send(MediaMessage::Frame(to_node(frame))) {
                        Ok(()) => *waits &= !(kind.is_picture() && key),
                        // The node may still say that the call is over.
                        Err(mpsc::error::TrySendError::Closed(_)) => return last_words(&mut rx).await,
                        Err(mpsc::error::TrySendError::Full(_)) if kind.is_picture() && !*waits => {
                            *waits = true;
                            media.session.incoming(Incoming::KeyFrameRequest { kind });
                        }
                        Err(mpsc::error::TrySendError::Full(_)) => {}
                    }
                }
                Some(Outgoing::Problem(problem)) if problem.part == Part::ScreenIn && !problem.retrying => {
                    drop(updates.try_send(Update::Refused(Error::new(Code::Internal, problem.text))));
                    drop(tokio::spawn(share_no_more(node.clone(), call.clone(), Arc::clone(media))));
                }
                Some(Outgoing::RecordingFailed(error)) => {
                    drop(updates.try_send(Update::Refused(Error::new(Code::Storage, error.to_string()))));
                    let (node, call) = (node.clone(), call.clone());
                    let reason = Some("the recording's disk is full or broken".to_owned());
                    drop(tokio::spawn(async move { node.record_call(&call, RecordCall::Stop { reason }).await }));
                }
                Some(other) => tell(&other, &tx, updates),
            },
        }
    }
}

/// The desktop, or the end of a window, has ended a share.
async fn share_no_more<H: Handle>(node: H, call: CallId, media: Arc<Media>) {
    // What was shared is gone already; this frees its threads.
    drop(tokio::task::spawn_blocking(move || media.share(None)).await);
    // A call that is over shares nothing.
    drop(node.update_call(&call, CallUpdate { screen: Some(false), ..CallUpdate::default() }).await);
}

async fn last_words(rx: &mut mpsc::Receiver<MediaMessage>) -> End {
    while let Some(message) = rx.recv().await {
        if message == MediaMessage::Control(MediaControl::Ended) {
            return End::Over;
        }
    }
    End::Lost
}

/// What is no frame. Queues that are full are passed over: each word will be outdated, or said again.
fn tell(outgoing: &Outgoing, tx: &mpsc::Sender<MediaMessage>, updates: &mpsc::Sender<Update>) {
    if let Some(control) = said(outgoing) {
        drop(tx.try_send(MediaMessage::Control(control)));
        return;
    }
    let update = match outgoing {
        Outgoing::Problem(problem) => Update::Device { part: word(problem.part), trouble: Some(problem.text.clone()) },
        Outgoing::Solved(part) => Update::Device { part: word(*part), trouble: None },
        _ => return,
    };
    drop(updates.try_send(update));
}
