//! Two peers, their signalling, and their clients.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use twocan_control::{MediaChannel, MediaControl, MediaFrame, MediaKind, MediaMessage};

use crate::calls::*;
use crate::relay::Access;

/// Everything in here happens within this time, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn engine() -> Engine {
    Engine::start(EngineConfig { bind: "127.0.0.1:0".parse().unwrap(), loopback: true }).await.unwrap()
}

/// An audio packet that names its number.
pub(super) fn opus(number: u32) -> Bytes {
    Bytes::from([&number.to_be_bytes()[..], &[0x5a; 76]].concat())
}

/// An access unit of about this size.
pub(super) fn access_unit(size: usize, key: bool) -> Bytes {
    let mut out = Vec::new();
    let mut unit = |header: u8, length: usize| {
        out.extend([0, 0, 0, 1, header]);
        out.extend((0..length).map(|i| (i % 250 + 1) as u8));
    };
    if key {
        unit(0x67, 12);
        unit(0x68, 4);
    }
    unit(if key { 0x65 } else { 0x41 }, size);
    Bytes::from(out)
}

type Tamper = Box<dyn FnMut(&mut Description) + Send>;

#[derive(Default)]
struct Wiring {
    tamper: Mutex<Option<Tamper>>,
    split: AtomicBool,
}

/// One end.
pub(super) struct Side {
    pub(super) engine: Engine,
    pub(super) handle: PeerHandle,
    config: PeerConfig,
    wiring: Arc<Wiring>,
    to: Arc<Mutex<Option<PeerHandle>>>,
    events: mpsc::Receiver<PeerEvent>,
    seat: Option<MediaChannel>,
    held: VecDeque<MediaMessage>,
    sent: (u32, u32),
}

/// Both ends.
pub(super) struct Pair {
    pub(super) a: Side,
    pub(super) b: Side,
}

/// Brings descriptions and candidates across; the other events go to the test.
async fn signal(
    mut from: mpsc::Receiver<PeerEvent>,
    to: Arc<Mutex<Option<PeerHandle>>>,
    wiring: Arc<Wiring>,
    events: mpsc::Sender<PeerEvent>,
) {
    while let Some(event) = from.recv().await {
        let Some(to) = to.lock().unwrap().clone() else { break };
        match event {
            PeerEvent::Local(mut description) => {
                if let Some(tamper) = wiring.tamper.lock().unwrap().as_mut() {
                    tamper(&mut description);
                }
                if wiring.split.load(Ordering::Relaxed) {
                    let list = std::mem::take(&mut description.candidates);
                    let _ = to.send(PeerCommand::Candidates { generation: description.generation, list });
                }
                let _ = to.send(PeerCommand::Remote(description));
            }
            PeerEvent::Candidates { generation, list } => {
                let _ = to.send(PeerCommand::Candidates { generation, list });
            }
            other => {
                let _ = events.try_send(other);
            }
        }
    }
}

/// How a peer is set up here. The second participant is polite.
fn config(participant: u16) -> PeerConfig {
    PeerConfig {
        label: "test".into(),
        polite: participant == 0,
        loopback: true,
        participant,
        relays: Vec::new(),
        relay_only: false,
    }
}

impl Side {
    fn new(engine: Engine, participant: u16) -> Self {
        Self::with(engine, config(participant))
    }

    fn with(engine: Engine, config: PeerConfig) -> Self {
        let peer = engine.open(config.clone());
        let (tell, events) = mpsc::channel(4096);
        let (wiring, to) = (Arc::new(Wiring::default()), Arc::new(Mutex::new(None)));
        tokio::spawn(signal(peer.events, to.clone(), wiring.clone(), tell));
        let mut side = Self {
            engine,
            handle: peer.handle,
            config,
            wiring,
            to,
            events,
            seat: None,
            held: VecDeque::new(),
            sent: (1000, 5000),
        };
        side.take_seat();
        side
    }

    pub(super) fn command(&self, command: PeerCommand) {
        self.handle.send(command).unwrap();
    }

    /// Sets what may pass here, and waits until the seat has been told, which is after it holds.
    pub(super) async fn flow(&mut self, flow: Flow) {
        let Flow { audio, video, screen, .. } = flow;
        self.command(PeerCommand::Flow(flow));
        let told = MediaMessage::Control(MediaControl::Flow { audio, video, screen });
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let message = self.message(end).await;
            if message == told {
                return;
            }
            self.held.push_back(message);
        }
    }

    pub(super) fn take_seat(&mut self) {
        let (end, seat) = seat_pair();
        self.command(PeerCommand::Attach(end));
        self.seat = Some(seat);
        self.held.clear();
    }

    pub(super) fn leave_seat(&mut self) {
        self.seat = None;
    }

    /// Changes our descriptions on their way.
    pub(super) fn tamper(&self, with: impl FnMut(&mut Description) + Send + 'static) {
        *self.wiring.tamper.lock().unwrap() = Some(Box::new(with));
    }

    /// Sends candidates apart from, and before, their description.
    pub(super) fn split_candidates(&self) {
        self.wiring.split.store(true, Ordering::Relaxed);
    }

    /// Another peer in place of this one, as after a restart of the node.
    async fn renew(&mut self) {
        let to = self.to.lock().unwrap().clone().unwrap();
        let _ = self.handle.send(PeerCommand::Close);
        let mut other = Self::with(self.engine.clone(), self.config.clone());
        *other.to.lock().unwrap() = Some(to);
        std::mem::swap(self, &mut other);
        other.event(|event| matches!(event, PeerEvent::Closed)).await;
    }

    /// The fingerprint in an offer of this side.
    pub(super) async fn fingerprint(&self) -> Fingerprint {
        let (tell, mut told) = mpsc::channel(1);
        self.tamper(move |description| {
            let _ = tell.try_send(description.fingerprint);
        });
        self.command(PeerCommand::Offer { generation: 1, kind: OfferKind::First });
        tokio::time::timeout(DEADLINE, told.recv()).await.unwrap().unwrap()
    }

    /// The next event that fits; others are passed over.
    pub(super) async fn event(&mut self, fits: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
        tokio::time::timeout(DEADLINE, async {
            loop {
                let event = self.events.recv().await.expect("the peer lives");
                if fits(&event) {
                    return event;
                }
                assert!(!matches!(event, PeerEvent::Failed(_)), "{event:?}");
            }
        })
        .await
        .expect("the event comes in time")
    }

    pub(super) async fn failure(&mut self) -> Failure {
        match self.event(|event| matches!(event, PeerEvent::Failed(_))).await {
            PeerEvent::Failed(failure) => failure,
            _ => unreachable!(),
        }
    }

    pub(super) async fn send(&mut self, kind: MediaKind, payload: Bytes, key: bool) {
        let timestamp = match kind {
            MediaKind::Audio | MediaKind::Sound => {
                self.sent.0 = self.sent.0.wrapping_add(960);
                self.sent.0
            }
            MediaKind::Video | MediaKind::Screen => {
                self.sent.1 = self.sent.1.wrapping_add(3000);
                self.sent.1
            }
        };
        let frame = MediaFrame {
            kind,
            key,
            gap: false,
            restart: false,
            red: kind == MediaKind::Audio && payload.first() == Some(&0xef),
            layer: 0,
            stream: 0,
            sequence: 0,
            timestamp,
            time_ns: crate::calls::clock::now_ns(),
            payload,
        };
        self.seat.as_ref().unwrap().tx.send(MediaMessage::Frame(frame)).await.unwrap();
    }

    pub(super) async fn send_audio(&mut self, number: u32) {
        self.send(MediaKind::Audio, opus(number), false).await;
    }

    pub(super) async fn send_video(&mut self, payload: Bytes) {
        let key = payload.get(4) == Some(&0x67);
        self.send(MediaKind::Video, payload, key).await;
    }

    pub(super) async fn say(&self, control: MediaControl) {
        self.seat.as_ref().unwrap().tx.send(MediaMessage::Control(control)).await.unwrap();
    }

    /// The next message, if one comes within this time.
    pub(super) async fn maybe(&mut self, within: Duration) -> Option<MediaMessage> {
        tokio::time::timeout(within, self.seat.as_mut().unwrap().rx.recv()).await.ok().flatten()
    }

    /// The next frame, if one comes within this time; control messages before it are kept.
    pub(super) async fn maybe_frame(&mut self, within: Duration) -> Option<MediaMessage> {
        let end = tokio::time::Instant::now() + within;
        loop {
            let message = tokio::time::timeout_at(end, self.seat.as_mut().unwrap().rx.recv()).await.ok().flatten()?;
            match message {
                MediaMessage::Frame(_) => return Some(message),
                control => self.held.push_back(control),
            }
        }
    }

    /// Forgets all control messages that have come so far.
    pub(super) fn drain_controls(&mut self) {
        self.held.retain(|held| matches!(held, MediaMessage::Frame(_)));
        while let Ok(message) = self.seat.as_mut().unwrap().rx.try_recv() {
            if matches!(message, MediaMessage::Frame(_)) {
                self.held.push_back(message);
            }
        }
    }

    async fn message(&mut self, end: tokio::time::Instant) -> MediaMessage {
        let message = tokio::time::timeout_at(end, self.seat.as_mut().unwrap().rx.recv()).await;
        message.expect("a message in time").expect("the seat lives")
    }

    /// The next frame; control messages before it are kept.
    pub(super) async fn frame(&mut self) -> MediaFrame {
        if let Some(at) = self.held.iter().position(|held| matches!(held, MediaMessage::Frame(_)))
            && let Some(MediaMessage::Frame(frame)) = self.held.remove(at)
        {
            return frame;
        }
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            match self.message(end).await {
                MediaMessage::Frame(frame) => return frame,
                control => self.held.push_back(control),
            }
        }
    }

    /// The frame with this payload; frames before it are passed over.
    pub(super) async fn frame_with(&mut self, payload: Bytes) -> MediaFrame {
        loop {
            let frame = self.frame().await;
            if frame.payload == payload {
                return frame;
            }
        }
    }

    /// The next control message that fits; frames before it are kept.
    pub(super) async fn control(&mut self, fits: impl Fn(&MediaControl) -> bool) -> MediaControl {
        while let Some(at) = self.held.iter().position(|held| matches!(held, MediaMessage::Control(_))) {
            if let Some(MediaMessage::Control(control)) = self.held.remove(at)
                && fits(&control)
            {
                return control;
            }
        }
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            match self.message(end).await {
                MediaMessage::Control(control) if fits(&control) => return control,
                MediaMessage::Control(_) => {}
                frame => self.held.push_back(frame),
            }
        }
    }

    pub(super) fn nothing_was_delivered(&mut self) {
        while let Ok(message) = self.seat.as_mut().unwrap().rx.try_recv() {
            assert!(matches!(message, MediaMessage::Control(_)), "{message:?}");
        }
    }
}

/// A path between two nodes that loses every n-th large packet.
async fn lossy(every: usize, there: std::net::SocketAddr, back: std::net::SocketAddr) -> [std::net::SocketAddr; 2] {
    let left = Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let right = Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let addresses = [left.local_addr().unwrap(), right.local_addr().unwrap()];
    for (from, out, to) in [(left.clone(), right.clone(), there), (right, left, back)] {
        tokio::spawn(async move {
            let (mut buffer, mut large) = (vec![0; 2048], 0_usize);
            while let Ok((length, _)) = from.recv_from(&mut buffer).await {
                large += usize::from(length > 600);
                if length > 600 && large.is_multiple_of(every) {
                    continue;
                }
                let _ = out.send_to(&buffer[..length], to).await;
            }
        });
    }
    addresses
}

impl Pair {
    /// Connected over a path that loses every n-th large packet.
    pub(super) async fn lossy(every: usize) -> Self {
        let mut pair = Self::new().await;
        let port = |side: &Side| std::net::SocketAddr::from(([127, 0, 0, 1], side.engine.port()));
        let [left, right] = lossy(every, port(&pair.b), port(&pair.a)).await;
        for (side, via) in [(&pair.a, right), (&pair.b, left)] {
            side.tamper(move |description| {
                description.candidates =
                    vec![format!("candidate:1 1 udp 2130706431 127.0.0.1 {} typ host", via.port())];
            });
        }
        pair.a.command(PeerCommand::Offer { generation: 1, kind: OfferKind::First });
        pair.connect().await;
        pair
    }

    pub(super) async fn new() -> Self {
        Self::with(engine().await, engine().await).await
    }

    /// With relays for each side; `hidden` sides use nothing else.
    pub(super) async fn relayed(relays: [Vec<Access>; 2], hidden: [bool; 2]) -> Self {
        let [first, second] = relays;
        let mut sides = Vec::new();
        for (participant, relays, relay_only) in [(1, first, hidden[0]), (0, second, hidden[1])] {
            let config = PeerConfig { relays, relay_only, ..config(participant) };
            sides.push(Side::with(engine().await, config));
        }
        let (Some(b), Some(a)) = (sides.pop(), sides.pop()) else { unreachable!() };
        *a.to.lock().unwrap() = Some(b.handle.clone());
        *b.to.lock().unwrap() = Some(a.handle.clone());
        Self { a, b }
    }

    #[expect(clippy::unused_async, reason = "must be called inside the runtime")]
    pub(super) async fn with(first: Engine, second: Engine) -> Self {
        let pair = Self { a: Side::new(first, 1), b: Side::new(second, 0) };
        *pair.a.to.lock().unwrap() = Some(pair.b.handle.clone());
        *pair.b.to.lock().unwrap() = Some(pair.a.handle.clone());
        pair
    }

    /// Offered, answered, connected; the gates are shut.
    pub(super) async fn connected() -> Self {
        let mut pair = Self::new().await;
        pair.a.command(PeerCommand::Offer { generation: 1, kind: OfferKind::First });
        pair.connect().await;
        pair
    }

    /// Waits until both say that they are connected.
    pub(super) async fn connect(&mut self) {
        *self.a.to.lock().unwrap() = Some(self.b.handle.clone());
        for side in [&mut self.a, &mut self.b] {
            side.event(|event| matches!(event, PeerEvent::Connected(_))).await;
        }
    }

    /// Sets what may pass on both sides, and waits until it holds: a packet that is faster is rightly dropped.
    pub(super) async fn open(&mut self, flow: Flow) {
        self.a.flow(flow).await;
        self.b.flow(flow).await;
    }

    /// Audio passes both ways. (Packets may be lost around a restart, as on any path, so it is sent until it comes.)
    pub(super) async fn audio_passes(&mut self, number: u32) {
        let Self { a, b } = self;
        one_way(a, b, number).await;
        one_way(b, a, number).await;
    }

    /// Waits until what was sent before must have arrived: both have looked at their clocks twice.
    pub(super) async fn settle(&mut self) {
        for side in [&mut self.a, &mut self.b] {
            for _ in 0..2 {
                side.event(|event| matches!(event, PeerEvent::Stats(_))).await;
            }
        }
    }

    /// Nobody calls the other silent within this time.
    pub(super) async fn quiet_for(&mut self, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        for side in [&mut self.a, &mut self.b] {
            while let Ok(Some(event)) = tokio::time::timeout_at(deadline, side.events.recv()).await {
                assert!(!matches!(event, PeerEvent::Silent | PeerEvent::Failed(_)), "{event:?}");
            }
        }
    }

    /// Another peer at the second end, as after a restart of its node.
    pub(super) async fn renew_b(&mut self) {
        self.b.renew().await;
        *self.a.to.lock().unwrap() = Some(self.b.handle.clone());
    }

    /// Drops every handle of both peers without a word.
    pub(super) fn drop_handles(self) {
        *self.a.to.lock().unwrap() = None;
        *self.b.to.lock().unwrap() = None;
    }

    pub(super) async fn close(mut self) {
        for side in [&mut self.a, &mut self.b] {
            side.command(PeerCommand::Close);
            side.event(|event| matches!(event, PeerEvent::Closed)).await;
            *side.to.lock().unwrap() = None;
        }
    }
}

async fn one_way(from: &mut Side, to: &mut Side, number: u32) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        from.send_audio(number).await;
        while let Some(message) = to.maybe(Duration::from_millis(50)).await {
            if matches!(message, MediaMessage::Frame(frame) if frame.payload == opus(number)) {
                return;
            }
        }
        assert!(tokio::time::Instant::now() < deadline, "audio does not pass");
    }
}
