//! One preflight, from either side: builds the media path as a call would, sends silence over it, counts what comes.
//!
//! The task owns its media peer and ends by itself: each step has a deadline, and everything is freed with the task.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep_until, timeout_at};
use twocan_control::{MediaChannel, MediaFrame, MediaKind, MediaMessage};
use twocan_protocol::wire::{CallId, CallRelay, List, PreflightBody, PreflightRefusal, PreflightReport, Side};

use super::score::{Counted, Counter};
use crate::calls::{self as engine, PathInfo, PeerCommand, PeerEvent};
use crate::service::calls::{description_in, description_out, lines};

/// The friend's node has this long for its answer. A link through a relay and a sleepy machine have room.
const ANSWER: Duration = Duration::from_secs(6);
/// A path has this long from the answer on. A call's peer gives up after ten seconds itself.
const PATH: Duration = Duration::from_secs(11);
/// The stream's length, and when it is over for whoever counts: what is under way still arrives.
const STREAM: Duration = Duration::from_secs(3);
const COUNTED: Duration = Duration::from_millis(3500);
/// The friend's report, or the asker's end, has this long after that.
const REPORT: Duration = Duration::from_secs(3);
/// Time between two packets, and the size of one: Opus at 32 kbit/s.
const PACKET: Duration = Duration::from_millis(20);
const PACKET_BYTES: usize = 80;
const PACKET_TICKS: u32 = 960;
/// The first byte of an Opus packet of one frame of 20 ms (RFC 6716, 3.1: CELT, full band, mono).
const OPUS_20_MS: u8 = 0xf8;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// The path at the end of the measurement.
    pub(super) path: Option<PathInfo>,
    /// From the first step to the path.
    pub(super) setup: Option<Duration>,
    pub(super) rtt: Option<Duration>,
    pub(super) incoming: Option<Counted>,
    pub(super) outgoing: Option<Counted>,
}

/// Why there is nothing to tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failed {
    #[error("the friend's node did not answer")]
    NoAnswer,
    #[error("the friend's node does not take part")]
    Refused(PreflightRefusal),
    #[error("the friend's node gave up")]
    Ended,
    #[error("{0}")]
    NoPath(String),
}

/// What the service gives a preflight.
pub(super) struct Way {
    pub(super) id: CallId,
    pub(super) peer: engine::Peer,
    /// Relays of ours that the friend may use.
    pub(super) relays: Vec<CallRelay>,
    /// To the friend.
    pub(super) say: mpsc::Sender<(CallId, PreflightBody)>,
    /// From the friend.
    pub(super) heard: mpsc::Receiver<PreflightBody>,
}

struct Run {
    way: Way,
    began: Instant,
    path: Option<PathInfo>,
    setup: Option<Duration>,
    rtt: Option<Duration>,
    counter: Counter,
    report: Option<PreflightReport>,
    ended: bool,
}

/// Asks the friend's node, and measures.
pub(super) async fn ask(way: Way) -> Result<Found, Failed> {
    let mut run = Run::new(way);
    let result = run.asked().await;
    run.finish(result.is_err()).await;
    result
}

/// Answers a friend's node.
pub(super) async fn answer(way: Way, offer: Side) {
    let mut run = Run::new(way);
    let result = run.answered(offer).await;
    if let Err(error) = &result {
        tracing::debug!("a preflight came to nothing: {error}");
    }
    run.finish(result.is_err()).await;
}

impl Run {
    fn new(way: Way) -> Self {
        Self {
            way,
            began: Instant::now(),
            path: None,
            setup: None,
            rtt: None,
            counter: Counter::default(),
            report: None,
            ended: false,
        }
    }

    async fn asked(&mut self) -> Result<Found, Failed> {
        self.command(PeerCommand::Offer { generation: 0, kind: engine::OfferKind::First })?;
        let offer = self.local(Instant::now() + ANSWER).await?;
        self.say(PreflightBody::Offer(offer)).await?;
        let deadline = Instant::now() + ANSWER;
        let side = loop {
            match self.next(deadline).await.ok_or(Failed::NoAnswer)? {
                Happened::Heard(PreflightBody::Answer(side)) => break side,
                Happened::Heard(PreflightBody::Refuse(reason)) => return Err(Failed::Refused(reason)),
                happened => self.common(happened).await?,
            }
        };
        self.command(PeerCommand::Remote(description_out(side.description, side.candidates.into_vec())))?;
        self.measure().await?;
        let deadline = Instant::now() + REPORT;
        while self.report.is_none() && !self.ended {
            let Some(happened) = self.next(deadline).await else { break };
            self.common(happened).await?;
        }
        Ok(Found {
            path: self.path.clone(),
            setup: self.setup,
            rtt: self.rtt,
            incoming: Some(self.counter.counted()),
            outgoing: self.report.map(Counted::from),
        })
    }

    async fn answered(&mut self, offer: Side) -> Result<(), Failed> {
        self.command(PeerCommand::Remote(description_out(offer.description, offer.candidates.into_vec())))?;
        let answer = self.local(Instant::now() + ANSWER).await?;
        self.say(PreflightBody::Answer(answer)).await?;
        self.measure().await?;
        self.say(PreflightBody::Report(self.counter.counted().report())).await?;
        let deadline = Instant::now() + REPORT;
        while !self.ended {
            let Some(happened) = self.next(deadline).await else { break };
            self.common(happened).await?;
        }
        Ok(())
    }

    /// Waits for our own description.
    async fn local(&mut self, deadline: Instant) -> Result<Side, Failed> {
        loop {
            match self.next(deadline).await.ok_or(Failed::NoAnswer)? {
                Happened::Peer(PeerEvent::Local(description)) => {
                    let text = "the session description is too long to be sent";
                    let (description, candidates) =
                        description_in(description).ok_or_else(|| Failed::NoPath(text.to_owned()))?;
                    return Ok(Side {
                        description,
                        candidates: List::first_of(candidates),
                        relays: List::first_of(std::mem::take(&mut self.way.relays)),
                    });
                }
                happened => self.common(happened).await?,
            }
        }
    }

    /// Waits for the path, then sends and counts.
    async fn measure(&mut self) -> Result<(), Failed> {
        let deadline = Instant::now() + PATH;
        while self.path.is_none() {
            let late = || Failed::NoPath("no packet found its way between the two nodes".to_owned());
            let happened = self.next(deadline).await.ok_or_else(late)?;
            self.common(happened).await?;
        }
        self.setup = Some(self.began.elapsed());
        let (end, mut media) = engine::seat_pair();
        self.command(PeerCommand::Attach(end))?;
        self.command(PeerCommand::Flow(engine::Flow { audio: true, video: false, screen: false, receive: true }))?;
        let begin = Instant::now();
        let mut tick = interval(PACKET);
        let mut sequence = 0_u32;
        loop {
            tokio::select! {
                () = sleep_until((begin + COUNTED).into()) => return Ok(()),
                _ = tick.tick(), if begin.elapsed() < STREAM => {
                    send_silence(&media, sequence);
                    sequence += 1;
                }
                Some(message) = media.rx.recv() => {
                    if let MediaMessage::Frame(frame) = message && frame.kind == MediaKind::Audio {
                        self.counter.packet(frame.sequence, frame.timestamp, frame.time_ns);
                    }
                }
                happened = happened(&mut self.way) => {
                    let happened = happened.ok_or(Failed::Ended)?;
                    self.common(happened).await?;
                }
            }
        }
    }

    /// What may happen at any time.
    async fn common(&mut self, happened: Happened) -> Result<(), Failed> {
        match happened {
            Happened::Heard(PreflightBody::Candidates(list)) => {
                self.command(PeerCommand::Candidates { generation: 0, list: lines(list.into_vec()) })?;
            }
            Happened::Heard(PreflightBody::Report(report)) => self.report = Some(report),
            Happened::Heard(PreflightBody::End) => {
                self.ended = true;
                if self.path.is_none() {
                    return Err(Failed::Ended);
                }
            }
            // The rest makes no sense now, and changes nothing.
            Happened::Heard(_) => {}
            Happened::Peer(PeerEvent::Candidates { list, .. }) => {
                let list = list.into_iter().filter_map(twocan_protocol::wire::Candidate::new);
                self.say(PreflightBody::Candidates(List::first_of(list))).await?;
            }
            Happened::Peer(PeerEvent::Connected(connected)) => self.on_path(connected.path),
            Happened::Peer(PeerEvent::Path(path)) => self.on_path(path),
            Happened::Peer(PeerEvent::Stats(quality)) => {
                let rtt = quality.rtt_ms.filter(|ms| ms.is_finite() && *ms >= 0.0);
                self.rtt = rtt.map(|ms| Duration::from_secs_f64(ms / 1000.0)).or(self.rtt);
            }
            Happened::Peer(PeerEvent::Failed(failure)) => return Err(Failed::NoPath(failure.reason)),
            Happened::Peer(PeerEvent::Closed) => return Err(Failed::Ended),
            Happened::Peer(_) => {}
        }
        Ok(())
    }

    fn on_path(&mut self, path: PathInfo) {
        self.rtt = path.round_trip.or(self.rtt);
        self.path = Some(path);
    }

    async fn next(&mut self, deadline: Instant) -> Option<Happened> {
        timeout_at(deadline.into(), happened(&mut self.way)).await.ok().flatten()
    }

    fn command(&self, command: PeerCommand) -> Result<(), Failed> {
        self.way.peer.handle.send(command).map_err(|error| Failed::NoPath(error.to_string()))
    }

    async fn say(&self, body: PreflightBody) -> Result<(), Failed> {
        self.way.say.send((self.way.id, body)).await.map_err(|_| Failed::Ended)
    }

    /// Frees the peer, and tells the friend unless the friend is done already.
    async fn finish(&mut self, failed: bool) {
        if !self.ended || failed {
            let _ = self.say(PreflightBody::End).await;
        }
        let _ = self.way.peer.handle.send(PeerCommand::Close);
    }
}

enum Happened {
    Peer(PeerEvent),
    Heard(PreflightBody),
}

/// The next thing from either side; `None` when the service or the peer is gone.
async fn happened(way: &mut Way) -> Option<Happened> {
    tokio::select! {
        event = way.peer.events.recv() => event.map(Happened::Peer),
        body = way.heard.recv() => body.map(Happened::Heard),
    }
}

/// One packet of nothing.
fn send_silence(media: &MediaChannel, sequence: u32) {
    let mut payload = vec![0; PACKET_BYTES];
    payload[0] = OPUS_20_MS;
    let frame = MediaFrame {
        kind: MediaKind::Audio,
        key: false,
        gap: false,
        restart: sequence == 0,
        red: false,
        layer: 0,
        stream: 0,
        sequence,
        timestamp: sequence.wrapping_mul(PACKET_TICKS),
        time_ns: 0,
        payload: Bytes::from(payload),
    };
    // A full queue means that the path does not take 50 packets a second: the gap is counted at the other end.
    let _ = media.tx.try_send(MediaMessage::Frame(frame));
}
