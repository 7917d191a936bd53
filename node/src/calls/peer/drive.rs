//! The task of a peer: one loop over commands, webrtc's happenings, news of paths and relays, notes of the media tasks,
//! and a clock.

mod negotiate;
mod seated;
mod ways;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use twocan_control::{MediaControl, MediaKind};
use webrtc::media_stream::track_remote::TrackRemote;

use super::measure::{Measure, Reading};
use super::{Failure, Flow, Note, PathInfo, PeerCommand, PeerConfig, PeerEvent, Shared};
use crate::calls::engine::Inner;
use crate::calls::formats::{Ability, Common};
use crate::calls::gather::Known;
use crate::calls::outbound::{self, Input};
use crate::calls::seat::SeatSink;
use crate::calls::session::{Happening, Session};
use crate::calls::slots::Slots;
use crate::calls::{DescriptionKind, Fingerprint};
use crate::relay::RelayedEvent;

/// How often the clock is looked at. Twice this is less than a fifth of a second: the sign of life needs that.
const TICK: Duration = Duration::from_millis(90);
/// A sign of life is sent when nothing else has gone out for this long (at least five packets a second, always)...
const SIGN_OF_LIFE_MS: u64 = 100;
/// ...or for this long, while there is a client that sends audio: a silent one gives a packet every 160 ms by itself.
const SIGN_WITH_CLIENT_MS: u64 = 175;
/// Nothing for this long is silence.
const SILENCE_MS: u64 = 1500;
/// A path must be up within this time after the answer (before the call machine's ten seconds end, so that its words
/// can be ours).
const SETUP: Duration = Duration::from_secs(9);
/// While it rings, the search goes on for longer than anything rings.
const RINGING: Duration = Duration::from_secs(60);
/// A path that has not answered for this long is lost, whatever may still be in the air.
const LOST: Duration = Duration::from_secs(8);
/// With the wrong certificate in sight, the handshake is given up after this time.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// Generations ahead of the present one whose candidates are held.
const AHEAD: u32 = 4;
/// Key frame requests to the client at most this often (a key frame costs as much as ten others).
const ASK_CLIENT: Duration = Duration::from_millis(500);
/// Key frame requests to the friend at most this often.
const ASK_FRIEND: Duration = Duration::from_millis(300);
/// Feedback to the client: at least, and at each change at most, this often.
const FEEDBACK: Duration = Duration::from_millis(500);
const FEEDBACK_AT_MOST: Duration = Duration::from_millis(50);
/// Inputs waiting for the sending task.
const INPUTS: usize = 16;
/// Tracks that a friend may open: those that were negotiated.
const MAX_TRACKS: usize = 4;

/// Kinds of pictures, as the key frames of both are asked for apart.
const PICTURES: [MediaKind; 2] = [MediaKind::Video, MediaKind::Screen];

/// Place of a kind in [`PICTURES`].
fn picture(kind: MediaKind) -> usize {
    usize::from(kind == MediaKind::Screen)
}

/// Asks not more often than allowed, and remembers that it wanted to.
#[derive(Debug)]
struct Limited {
    every: Duration,
    last: Option<Instant>,
    wanted: bool,
}

impl Limited {
    fn new(every: Duration) -> Self {
        Self { every, last: None, wanted: false }
    }

    /// Whether to ask now.
    fn due(&mut self, now: Instant) -> bool {
        let due = self.wanted && self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.every);
        if due {
            self.wanted = false;
            self.last = Some(now);
        }
        due
    }
}

/// What one connection has come to.
struct Live {
    session: Session,
    generation: u32,
    /// Our offer of `generation` is not answered yet.
    offering: bool,
    /// The friend's certificate, as the link says.
    remote: Option<Fingerprint>,
    /// Set when the descriptions of `generation` are complete, cleared when the path is up.
    since: Option<Instant>,
    /// The certificate was checked.
    verified: Option<Instant>,
    announced: bool,
    lost: bool,
    /// When the path in use answered last.
    alive: Instant,
    /// The friend has told a relayed candidate.
    friend_has_relay: bool,
    /// Checks have found their way there and back.
    reached: Option<Instant>,
    readers: JoinSet<()>,
    video: Option<Arc<dyn TrackRemote>>,
    screen: Option<Arc<dyn TrackRemote>>,
}

impl Live {
    /// Whether a certificate came that is not the friend's.
    fn wrong_certificate(&self) -> bool {
        self.remote.is_some() && self.session.seen().is_some_and(|seen| Some(seen) != self.remote)
    }
}

/// What the friend takes.
#[derive(Clone, Debug, PartialEq)]
struct Accepted {
    /// Of the client's streams, by `place_of`.
    takes: [bool; 4],
    /// Redundant audio.
    red: bool,
    /// What both carry, by [`picture`]; `None` as long as nothing was described.
    common: Option<[Vec<Common>; 2]>,
}

enum Wake {
    Command(Option<PeerCommand>),
    Happening(Option<Happening>),
    Stopped,
    Note(Note),
    News,
    /// The agent uses another path.
    Path,
    Relay(u16, RelayedEvent),
    /// The machine's addresses changed.
    Known,
    Tick,
}

/// The task's state.
pub(super) struct Driver {
    engine: Arc<Inner>,
    config: PeerConfig,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<PeerCommand>,
    events: mpsc::Sender<PeerEvent>,
    notes: mpsc::Receiver<Note>,
    inputs: mpsc::Sender<Input>,
    sender: JoinHandle<()>,
    live: Option<Live>,
    generation: u32,
    /// Candidates of descriptions that have not come yet.
    early: BTreeMap<u32, Vec<String>>,
    /// Taken for the present generation.
    taken: usize,
    /// Own addresses told in the present generation.
    told: Vec<SocketAddr>,
    slots: Slots,
    known: watch::Receiver<Known>,
    /// The network as it was last: how often it had changed, and the machine's addresses in it.
    network: (u64, Vec<IpAddr>),
    /// The path as told last.
    path: Option<PathInfo>,
    flow: Flow,
    /// When media was first allowed: the call is answered.
    answered: Option<Instant>,
    seats: u64,
    silent: bool,
    accepted: Accepted,
    /// What the client makes and shows.
    ability: Ability,
    /// Key frames: of the camera, of the shared screen.
    ask_client: [Limited; 2],
    ask_friend: [Limited; 2],
    measure: Measure,
    feedback_at: Instant,
    /// When the client was told last.
    told_at: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        engine: Arc<Inner>,
        config: PeerConfig,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<PeerCommand>,
        events: mpsc::Sender<PeerEvent>,
        notes: mpsc::Receiver<Note>,
    ) -> Self {
        let (inputs, taken) = mpsc::channel(INPUTS);
        let sender = tokio::spawn(outbound::run(shared.clone(), taken));
        let now = Instant::now();
        let known = engine.known();
        let network = {
            let known = known.borrow();
            (known.changes, known.hosts.clone())
        };
        Self {
            engine,
            config,
            shared,
            commands,
            events,
            notes,
            inputs,
            sender,
            live: None,
            generation: 0,
            early: BTreeMap::new(),
            taken: 0,
            told: Vec::new(),
            slots: Slots::new(),
            known,
            network,
            path: None,
            flow: Flow::default(),
            answered: None,
            seats: 0,
            silent: false,
            accepted: Accepted { takes: [true; 4], red: false, common: None },
            ability: Ability::default(),
            ask_client: [Limited::new(ASK_CLIENT), Limited::new(ASK_CLIENT)],
            ask_friend: [Limited::new(ASK_FRIEND), Limited::new(ASK_FRIEND)],
            measure: Measure::new(now),
            feedback_at: now,
            told_at: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut clock = tokio::time::interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let relays = std::mem::take(&mut self.config.relays);
        self.relays(relays).await;
        loop {
            let wake = self.wake(&mut clock).await;
            match wake {
                Wake::Command(None | Some(PeerCommand::Close)) => break,
                Wake::Command(Some(command)) => self.command(command).await,
                Wake::Happening(Some(happening)) => self.happening(happening).await,
                Wake::Happening(None) | Wake::Stopped => self.stopped().await,
                Wake::Note(note) => self.note(note).await,
                Wake::News => self.news().await,
                Wake::Path => self.path_news().await,
                Wake::Relay(number, event) => self.relay_news(number, event).await,
                Wake::Known => self.known_changed().await,
                Wake::Tick => self.tick(Instant::now()).await,
            }
        }
        self.end_seat(true);
        self.teardown().await;
        self.sender.abort();
        tracing::debug!(call = %self.config.label, "call connection closed");
        // The owner may be gone, or not reading any more: it is not waited for.
        let _ = self.events.try_send(PeerEvent::Closed);
    }

    async fn wake(&mut self, clock: &mut tokio::time::Interval) -> Wake {
        let Some(live) = &mut self.live else {
            return tokio::select! {
                command = self.commands.recv() => Wake::Command(command),
                Some(note) = self.notes.recv() => Wake::Note(note),
                (number, event) = self.slots.news() => Wake::Relay(number, event),
                _ = clock.tick() => Wake::Tick,
            };
        };
        let meters = live.session.meters.clone();
        let paths = live.session.paths.clone();
        let mut stopped = live.session.stopped.clone();
        tokio::select! {
            biased;
            command = self.commands.recv() => Wake::Command(command),
            happening = live.session.next() => Wake::Happening(happening),
            () = paths.news.notified() => Wake::Path,
            (number, event) = self.slots.news() => Wake::Relay(number, event),
            Ok(()) = self.known.changed() => Wake::Known,
            _ = stopped.wait_for(|stopped| *stopped) => Wake::Stopped,
            Some(note) = self.notes.recv() => Wake::Note(note),
            () = meters.news.notified() => Wake::News,
            _ = clock.tick() => Wake::Tick,
        }
    }

    async fn tell(&self, event: PeerEvent) {
        let _ = self.events.send(event).await;
    }

    async fn fail(&mut self, failure: Failure) {
        tracing::info!(call = %self.config.label, "call connection failed: {}", failure.reason);
        self.teardown().await;
        self.tell(PeerEvent::Failed(failure)).await;
    }

    /// Ends the connection, if there is one.
    async fn teardown(&mut self) {
        self.shared.ready.store(false, Ordering::Release);
        self.silent = false;
        let _ = self.inputs.try_send(Input::Wire(Default::default()));
        if let Some(live) = self.live.take() {
            let Live { session, mut readers, video, screen, .. } = live;
            drop((video, screen));
            session.close().await;
            readers.shutdown().await;
        }
    }

    async fn command(&mut self, command: PeerCommand) {
        let result = match command {
            PeerCommand::Offer { generation, kind } => self.offer(generation, kind).await,
            PeerCommand::Remote(description) => match description.kind {
                DescriptionKind::Offer => self.remote_offer(description).await,
                DescriptionKind::Answer => self.remote_answer(description).await,
            },
            PeerCommand::Candidates { generation, list } => {
                self.candidates(generation, list);
                Ok(())
            }
            PeerCommand::Relays(relays) => {
                self.relays(relays).await;
                Ok(())
            }
            PeerCommand::Flow(flow) => {
                self.set_flow(flow);
                Ok(())
            }
            PeerCommand::Attach(end) => {
                self.attach(end).await;
                Ok(())
            }
            PeerCommand::Detach => {
                self.end_seat(false);
                Ok(())
            }
            PeerCommand::Close => Ok(()),
        };
        if let Err(failure) = result {
            self.fail(failure).await;
        }
    }

    // ---- what the media tasks tell ----

    async fn note(&mut self, note: Note) {
        match note {
            Note::FirstMedia => self.tell(PeerEvent::MediaArrived).await,
            Note::NeedKeyFrame(kind) => {
                self.ask_friend[picture(kind)].wanted = true;
                self.ask(Instant::now()).await;
            }
            Note::KeyFrameLost(kind) => {
                self.ask_client[picture(kind)].wanted = true;
                self.ask(Instant::now()).await;
            }
            Note::Able(ability) => self.able(ability).await,
            Note::Shown(shown) => self.measure.shown(Instant::now(), shown),
            Note::Made(made) => self.measure.made(Instant::now(), made),
            Note::Playout { concealed, delay_ms, late } => {
                self.measure.playout(Instant::now(), concealed, delay_ms, late);
                let _ = self.events.try_send(PeerEvent::Playout { concealed, delay_ms });
            }
            Note::SeatGone(number) if number == self.seats => self.seat_lost("the client gave the seat up").await,
            Note::SeatGone(_) => {}
        }
    }

    // ---- the clock ----

    /// Passes key frame requests on, both ways, not more often than is good.
    async fn ask(&mut self, now: Instant) {
        for (at, kind) in PICTURES.into_iter().enumerate() {
            if self.ask_client[at].due(now) {
                self.push(MediaControl::KeyFrameRequest { kind });
            }
            let Some(live) = &self.live else { continue };
            let track = if kind == MediaKind::Screen { &live.screen } else { &live.video };
            if let Some(track) = track
                && self.ask_friend[at].due(now)
            {
                live.session.ask_key_frame(track).await;
                self.measure.asked(kind);
            }
        }
    }

    async fn news(&mut self) {
        let Some(live) = &self.live else { return };
        let (camera, screen) = live.session.meters.take_key_requests();
        for (at, requests) in [camera, screen].into_iter().enumerate() {
            self.ask_client[at].wanted |= requests > 0;
            self.measure.was_asked(PICTURES[at], requests);
        }
        for report in live.session.meters.take_reports() {
            if let Some(clock) = self.measure.report(report) {
                self.push(clock);
            }
        }
        let now = Instant::now();
        self.ask(now).await;
        self.feedback_if_changed(now);
    }

    /// The client follows a change at once: what it learns late stands in a queue.
    fn feedback_if_changed(&mut self, now: Instant) {
        let fresh = self.live.as_ref().is_some_and(|live| live.session.meters.told().fresh);
        if fresh && self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= FEEDBACK_AT_MOST) {
            self.feedback(now);
        }
    }

    async fn tick(&mut self, now: Instant) {
        let (gone, slow) = {
            let seat = super::lock(&self.shared.seat);
            (seat.as_ref().is_some_and(SeatSink::gone), seat.as_ref().is_some_and(|seat| seat.too_slow(now)))
        };
        if gone {
            self.seat_lost("the client gave the seat up").await;
        } else if slow {
            self.seat_lost("the client took no media for ten seconds").await;
        }
        self.relays_tick(now).await;
        if self.live.as_ref().is_some_and(|live| live.since.is_some()) {
            // The news of the path may have come before that of the certificate.
            self.connected().await;
        }
        let Some(live) = &mut self.live else { return };
        let waited = |since: Option<Instant>, limit| since.is_some_and(|at| now.saturating_duration_since(at) > limit);
        let refused = live.verified.is_none() && waited(live.reached, HANDSHAKE) && live.wrong_certificate();
        let late = match self.answered {
            Some(answered) => waited(live.since.map(|since| since.max(answered)), SETUP),
            None => waited(live.since, RINGING),
        };
        if late || refused {
            self.path_lost().await;
            return;
        }
        live.alive = live.session.paths.alive_at().map_or(live.alive, |at| at.max(live.alive));
        if live.verified.is_some() && now.saturating_duration_since(live.alive) >= LOST {
            self.path_lost().await;
        }
        let Some(live) = &mut self.live else { return };
        if let Some(verified) = live.verified {
            let client = self.flow.audio && super::lock(&self.shared.seat).is_some();
            let patience = if client { SIGN_WITH_CLIENT_MS } else { SIGN_OF_LIFE_MS };
            if live.session.meters.idle_out_ms(now) >= patience {
                live.session.sign_of_life().await;
            }
            let silent = live.session.meters.silence_ms(now, verified) >= SILENCE_MS;
            if silent != self.silent {
                self.silent = silent;
                self.tell(if silent { PeerEvent::Silent } else { PeerEvent::Recovered }).await;
            }
        }
        self.ask(now).await;
        self.feedback_if_changed(now);
        self.numbers(now);
    }

    /// Statistics and feedback.
    fn numbers(&mut self, now: Instant) {
        let Some(live) = self.live.as_ref().filter(|live| live.verified.is_some()) else { return };
        if self.measure.due(now) {
            if let Some(rtt) = live.session.chosen().and_then(|chosen| chosen.round_trip) {
                let us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
                self.shared.round_trip_us.store(us, Ordering::Relaxed);
            }
            let target = live.session.meters.target();
            live.session.meters.repairs.set_path(self.shared.round_trip(), target);
            for kind in [MediaKind::Video, MediaKind::Screen] {
                tracing::trace!(?kind, counts = ?self.shared.picture_counts(kind), "what came of the friend's picture");
            }
            let quality = self.measure.quality(
                now,
                &Reading {
                    participant: self.config.participant,
                    counts: live.session.meters.counts(),
                    target,
                    receptions: self.shared.receptions(),
                    emissions: self.shared.emissions(),
                    pictures: MediaKind::ALL.map(|kind| self.shared.picture_counts(kind)),
                    repairs: live.session.meters.repairs.streams(),
                    round_trip: self.shared.round_trip(),
                    flow: self.flow,
                    silent: self.silent,
                    narrow: live.session.meters.narrow(),
                },
            );
            let _ = self.events.try_send(PeerEvent::Stats(Box::new(quality)));
        }
        if now >= self.feedback_at {
            self.feedback(now);
        }
    }
}
