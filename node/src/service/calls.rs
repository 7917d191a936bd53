//! Carries out what the call machine says: signalling over links, media peers, seats, events, history.

use std::collections::BTreeMap;
use std::time::Instant;

use sha2::{Digest, Sha256};
use twocan_control::{self as api, Code, Error, Event, MediaChannel, Quality, SeatToken, SeatedCall};
use twocan_protocol::call::{self, HistoryRecord, Input, Output, SeatHash, Snapshot, State};
use twocan_protocol::identity::RootPublic;
use twocan_protocol::link;
use twocan_protocol::wire::{
    Availability, Bounded, CallBody, CallId, CallMessage, Candidate, Description, DescriptionKind, Message,
    Note as Line,
};

use super::links::Note;
use super::{Service, unix_ms, view};
use crate::calls as engine;
use crate::relay::Owner;

/// Calls that are over and still shown in `calls`.
const ENDED_SHOWN_MS: u64 = 60_000;
/// Entries of the history that are kept.
const HISTORY: usize = 1000;
/// Shortest beginning of a call's id that names it.
const ID_MIN: usize = 4;

/// The media side of a call.
#[derive(Default)]
struct Seat {
    /// The peer, with a number that tells it from the one before.
    peer: Option<(u64, engine::PeerHandle)>,
    /// A client came before the peer.
    waiting: Option<engine::SeatEnd>,
    /// A client is in the seat.
    attached: bool,
    quality: Option<Quality>,
    /// Whose relay the media goes through.
    relay: Option<Owner>,
    /// Inside TLS, because UDP does not pass here.
    tls: bool,
    /// Where a client shall write a recording.
    record_file: Option<String>,
}

impl Seat {
    fn path(&mut self, path: engine::PathInfo) {
        let quality = self.quality.get_or_insert_default();
        quality.path = Some(path.path);
        quality.candidates = Some(path.candidates);
        quality.rtt_ms = path.round_trip.map(|rtt| rtt.as_secs_f64() * 1e3).or(quality.rtt_ms);
        (self.relay, self.tls) = (path.relay, path.tls);
    }
}

/// The media sides of all calls.
#[derive(Default)]
pub(super) struct Seats {
    by_call: BTreeMap<CallId, Seat>,
    last_peer: u64,
}

impl Service {
    pub(super) fn calls_input(&mut self, input: Input) {
        let outputs = self.calls.handle(Instant::now(), unix_ms(), input);
        self.calls_outputs(outputs);
    }

    /// Runs an act of the person; a refusal becomes an error.
    fn call_act(&mut self, input: Input) -> api::Result<()> {
        let outputs = self.calls.handle(Instant::now(), unix_ms(), input);
        let refused = outputs.iter().find_map(|output| match output {
            Output::Refused(_, refusal) => Some(*refusal),
            _ => None,
        });
        self.calls_outputs(outputs);
        refused.map_or(Ok(()), |refusal| Err(view::call_refused(refusal)))
    }

    pub(super) fn calls_outputs(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(root, message) => self.send_call(root, message),
                Output::Peer(call, command) => self.peer_command(call, command),
                Output::Incoming(snapshot) => {
                    let call = self.call_view(&snapshot);
                    tracing::info!("call {} from {} rings", short(&snapshot.id), snapshot.friend.short());
                    self.emitter.emit(Event::CallIncoming { call });
                }
                Output::Changed(snapshot) => self.call_changed(&snapshot),
                Output::History(record) => self.remember_call(record),
                Output::Store(record) => {
                    self.records.call(&call::CallRecord { seen_ms: Some(unix_ms()), ..record });
                }
                Output::Resumable(resumable) => self.resumable(&resumable),
                Output::Forget(call) => self.records.forget_call(&call),
                Output::Urge(root) => self.urge(root),
                Output::Probe(root) => self.session_input(root, link::Input::Probe),
                Output::InCall(root, in_call) => {
                    self.book_input(twocan_protocol::friend::Input::Wanted(root, in_call));
                    if self.sessions.contains_key(&root) {
                        self.session_input(root, link::Input::InCall(in_call));
                    }
                }
                Output::Refused(call, refusal) => tracing::debug!("call {}: {refusal}", short(&call)),
            }
        }
        self.files.set_calling(self.calls.iter().next().is_some());
    }

    /// Sends a call message, and the relays that the friend may use where candidates are about to be gathered for it:
    /// behind an offer (the call must be known first), before an answer.
    fn send_call(&mut self, root: RootPublic, message: CallMessage) {
        let (call, participant) = (message.call, message.participant);
        let answers = matches!(message.body, CallBody::Answer { .. });
        let offers = matches!(message.body, CallBody::Invite { .. } | CallBody::Offer { .. });
        if answers {
            self.tell_relays(root, call, participant);
        }
        self.session_input(root, link::Input::Send(Message::Call(message)));
        if offers {
            self.tell_relays(root, call, participant);
        }
    }

    fn call_changed(&mut self, snapshot: &Snapshot) {
        if snapshot.state == State::Ended {
            let outcome = snapshot.outcome.map(|outcome| format!("{outcome:?}")).unwrap_or_default();
            tracing::info!("call {} ended: {outcome}", short(&snapshot.id));
            self.seats.by_call.remove(&snapshot.id);
            self.relay_call_over(&snapshot.id);
        }
        let call = self.call_view(snapshot);
        self.emitter.emit(Event::Call { call });
    }

    fn remember_call(&mut self, record: HistoryRecord) {
        self.records.history(&record);
        self.history.retain(|entry| entry.id != record.id);
        if self.history.len() >= HISTORY {
            self.history.remove(0);
        }
        self.history.push(record);
    }

    /// Passes a command on to the media engine.
    fn peer_command(&mut self, call: CallId, command: call::PeerCommand) {
        let command = match command {
            call::PeerCommand::Open { polite, participant } => return self.open_peer(call, polite, participant),
            call::PeerCommand::Offer { generation, kind } => {
                engine::PeerCommand::Offer { generation, kind: offer_kind(kind) }
            }
            call::PeerCommand::Remote { description, candidates } => {
                engine::PeerCommand::Remote(description_out(description, candidates))
            }
            call::PeerCommand::Candidates { generation, list } => {
                engine::PeerCommand::Candidates { generation, list: lines(list) }
            }
            call::PeerCommand::Flow { audio, video, screen, receive } => {
                engine::PeerCommand::Flow(engine::Flow { audio, video, screen, receive })
            }
            call::PeerCommand::Close => {
                if let Some(seat) = self.seats.by_call.get_mut(&call)
                    && let Some((_, peer)) = seat.peer.take()
                {
                    // A peer that takes no command any more ends with its handle.
                    let _ = peer.send(engine::PeerCommand::Close);
                }
                return;
            }
        };
        self.command_peer(call, command);
    }

    /// Hands a command to a call's peer, if there is one.
    pub(super) fn command_peer(&mut self, call: CallId, command: engine::PeerCommand) {
        let sent =
            self.seats.by_call.get(&call).and_then(|seat| seat.peer.as_ref()).map(|(_, peer)| peer.send(command));
        if let Some(Err(error)) = sent {
            if let Some(seat) = self.seats.by_call.get_mut(&call) {
                seat.peer = None;
            }
            let failed = call::PeerEvent::Failed { fatal: false, reason: error.to_string() };
            self.calls_input(Input::Peer(call, failed));
        }
    }

    fn open_peer(&mut self, call: CallId, polite: bool, participant: u16) {
        let friend = self.calls.get(&call).map(|snapshot| snapshot.friend);
        let relays = friend.map(|friend| self.call_relays(call, friend)).unwrap_or_default();
        let loopback = friend.is_some_and(|friend| self.is_on_this_machine(&friend));
        let mut peer = self.engine.open(engine::PeerConfig {
            label: short(&call),
            polite,
            loopback,
            participant,
            relays,
            relay_only: friend.is_some_and(|friend| self.book.hides(&friend)),
        });
        self.seats.last_peer += 1;
        let number = self.seats.last_peer;
        let notes = self.notes.clone();
        tokio::spawn(async move {
            while let Some(event) = peer.events.recv().await {
                if notes.send(Note::Peer(call, number, event)).await.is_err() {
                    return;
                }
            }
        });
        let seat = self.seats.by_call.entry(call).or_default();
        if let Some(end) = seat.waiting.take() {
            let _ = peer.handle.send(engine::PeerCommand::Attach(end));
        }
        seat.peer = Some((number, peer.handle));
    }

    pub(super) fn is_on_this_machine(&self, friend: &RootPublic) -> bool {
        let view = self.sessions.get(friend).and_then(|linked| linked.view.as_ref());
        view.is_some_and(|view| view.path == api::LinkPath::Loopback)
    }

    /// Passes an event of the media engine on to the machine.
    pub(super) fn peer_event(&mut self, call: CallId, peer: u64, event: engine::PeerEvent) {
        let Some(seat) = self.seats.by_call.get_mut(&call) else { return };
        if seat.peer.as_ref().is_none_or(|(number, _)| *number != peer) {
            return;
        }
        let event = match event {
            engine::PeerEvent::Local(description) => match description_in(description) {
                Some((description, candidates)) => call::PeerEvent::Local { description, candidates },
                None => call::PeerEvent::Failed {
                    fatal: true,
                    reason: "the session description is too long to be sent".to_owned(),
                },
            },
            engine::PeerEvent::Candidates { generation, list } => {
                call::PeerEvent::Candidates { generation, list: list.into_iter().filter_map(Candidate::new).collect() }
            }
            engine::PeerEvent::Connected(connected) => {
                seat.path(connected.path);
                call::PeerEvent::Connected
            }
            engine::PeerEvent::Silent => call::PeerEvent::Silent,
            engine::PeerEvent::Recovered => call::PeerEvent::Recovered,
            engine::PeerEvent::PathLost => call::PeerEvent::PathLost,
            engine::PeerEvent::NeedsRebuild => call::PeerEvent::NeedsRebuild,
            engine::PeerEvent::MediaArrived => call::PeerEvent::MediaArrived,
            engine::PeerEvent::SeatLost { reason, .. } => {
                seat.attached = false;
                tracing::info!("call {}: the seat is empty: {reason}", short(&call));
                return self.calls_input(Input::SeatLost(call));
            }
            engine::PeerEvent::Path(path) => {
                seat.path(path);
                if let Some(snapshot) = self.calls.get(&call) {
                    let call = self.call_view(&snapshot);
                    self.emitter.emit(Event::Call { call });
                }
                return;
            }
            engine::PeerEvent::Playout { .. } | engine::PeerEvent::Closed => return,
            engine::PeerEvent::Stats(quality) => {
                seat.quality = Some(*quality);
                if let Some(snapshot) = self.calls.get(&call) {
                    let call = self.call_view(&snapshot);
                    self.emitter.emit(Event::Call { call });
                }
                return;
            }
            engine::PeerEvent::Failed(failure) => call::PeerEvent::Failed {
                fatal: matches!(failure.kind, engine::FailureKind::Fingerprint | engine::FailureKind::Description),
                reason: failure.reason,
            },
        };
        self.calls_input(Input::Peer(call, event));
    }

    /// How this node takes calls, from the configuration and the own availability.
    pub(super) fn apply_settings(&mut self) {
        let settings = call::Settings {
            dnd: self.book.availability() == Availability::Dnd,
            call_waiting: self.config.calls.waiting,
            grace: self.config.calls.grace(),
        };
        self.calls_input(Input::Settings(settings));
    }

    /// Ends every call, because the node stops.
    pub(super) fn leave_calls(&mut self) {
        let running: Vec<CallId> = self.calls.iter().map(|snapshot| snapshot.id).collect();
        for call in running {
            self.calls_input(Input::HangUp(call));
        }
    }

    fn call_view(&self, snapshot: &Snapshot) -> api::Call {
        let seat = self.seats.by_call.get(&snapshot.id);
        let mut quality = seat.and_then(|seat| seat.quality.clone());
        if let (Some(seat), Some(quality)) = (seat, &mut quality) {
            quality.relay = seat.relay.map(|owner| self.relay_name(owner, &snapshot.friend, seat.tls));
            for participant in &mut quality.participants {
                participant.name = self.book.name_of(&snapshot.friend);
                participant.path = quality.path;
            }
        }
        let name = self.book.name_of(&snapshot.friend);
        let file = seat.and_then(|seat| seat.record_file.clone());
        let recording = snapshot.recording.as_ref().map(|recording| super::recording::view(recording, file, &name));
        api::Call { recording, ..view::call(snapshot, name, quality) }
    }

    /// Whose relay it is: by name for the one whose friend it is; the other learns only who brought it.
    fn relay_name(&self, owner: Owner, partner: &RootPublic, tls: bool) -> String {
        let name = match owner {
            Owner::Friend(root) => format!("{}'s relay", self.book.name_of(&root)),
            Owner::Partner => format!("a relay of {}'s", self.book.name_of(partner)),
            Owner::Stranger => "a stranger's relay".to_owned(),
        };
        if tls { format!("{name} over TLS") } else { name }
    }

    // What clients ask.

    pub(super) fn place_call(&mut self, place: &api::PlaceCall) -> api::Result<SeatedCall> {
        let friend = self.resolve(&place.friend)?;
        if !self.book.is_friend(&friend) {
            let text = format!("{} has not accepted yet", self.book.name_of(&friend));
            return Err(Error::new(Code::Conflict, text).hint("calls are possible once the request is accepted"));
        }
        self.may_call_hidden(&friend)?;
        let call = CallId(rand::random());
        let (token, seat) = new_seat();
        self.seats.by_call.insert(call, Seat::default());
        let placed = self.call_act(Input::Place { call, friend, video: place.video, seat });
        if let Err(error) = placed {
            self.seats.by_call.remove(&call);
            return Err(error);
        }
        self.seated(call, token)
    }

    /// A call that was lost can be resumed now.
    fn resumable(&self, resumable: &call::Resumable) {
        tracing::info!("call {} was lost; {} is there again", short(&resumable.call), resumable.friend.short());
        self.emitter.emit(Event::CallResumable {
            id: resumable.call.to_string(),
            friend: resumable.friend.to_string(),
            friend_name: self.book.name_of(&resumable.friend),
            until_ms: resumable.until_ms,
        });
    }

    /// Writes down that the calls that go on were seen now: a node that is started long after a kill knows by it that
    /// they are over.
    pub(super) fn see_calls(&self) {
        for record in self.calls.records(unix_ms()) {
            self.records.call(&record);
        }
    }

    pub(super) fn resume_call(&mut self, id: &str, resume: api::AnswerCall) -> api::Result<SeatedCall> {
        let id = id.to_ascii_lowercase();
        let meant = |entry: &&HistoryRecord| id.len() >= ID_MIN && entry.id.to_string().starts_with(&id);
        let lost = self.history.iter().rev().find(meant).ok_or_else(no_call)?.id;
        let call = CallId(rand::random());
        let (token, seat) = new_seat();
        self.seats.by_call.insert(call, Seat::default());
        let placed = self.call_act(Input::Resume { lost, call, video: resume.video, seat });
        if let Err(error) = placed {
            self.seats.by_call.remove(&call);
            return Err(error);
        }
        self.seated(call, token)
    }

    pub(super) fn answer_call(&mut self, id: &str, answer: api::AnswerCall) -> api::Result<SeatedCall> {
        let call = self.resolve_call(id)?.id;
        let (token, seat) = new_seat();
        self.call_act(Input::Answer { call, video: answer.video, seat })?;
        self.seated(call, token)
    }

    pub(super) fn take_seat(&mut self, id: &str, take: &api::TakeSeat) -> api::Result<SeatedCall> {
        let snapshot = self.resolve_call(id)?;
        if let Some(token) = &take.token {
            if snapshot.seat != Some(hash(token)) {
                return Err(wrong_seat());
            }
            self.call_act(Input::SeatTaken { call: snapshot.id, seat: hash(token) })?;
            return self.seated(snapshot.id, token.clone());
        }
        if snapshot.seat_taken && snapshot.state != State::Ringing {
            return Err(Error::new(Code::SeatTaken, "another client is in the seat of this call")
                .hint("hang up there, or wait until it is gone"));
        }
        let (token, seat) = new_seat();
        self.call_act(Input::SeatTaken { call: snapshot.id, seat })?;
        self.seated(snapshot.id, token)
    }

    fn seated(&self, call: CallId, seat: SeatToken) -> api::Result<SeatedCall> {
        let snapshot = self.calls.get(&call).or_else(|| self.calls.get_ended(&call).cloned()).ok_or_else(no_call)?;
        Ok(SeatedCall { call: self.call_view(&snapshot), seat })
    }

    pub(super) fn decline_call(&mut self, id: &str, decline: &api::Decline) -> api::Result<()> {
        let snapshot = self.resolve_call(id)?;
        let text = Line::clean(decline.text.as_deref().unwrap_or_default());
        self.call_act(Input::Decline { call: snapshot.id, text: text.clone() })?;
        // The caller reads it in the conversation, too, where it stays.
        self.chat_decline(snapshot.friend, snapshot.id, text.as_str());
        Ok(())
    }

    pub(super) fn hangup(&mut self, id: &str) -> api::Result<()> {
        let call = self.resolve_call(id)?.id;
        self.call_act(Input::HangUp(call))
    }

    pub(super) fn update_call(&mut self, id: &str, update: api::CallUpdate) -> api::Result<api::Call> {
        let call = self.resolve_call(id)?.id;
        self.call_act(Input::Update {
            call,
            muted: update.muted,
            video: update.video,
            screen: update.screen,
            held: update.held,
        })?;
        let snapshot = self.calls.get(&call).ok_or_else(no_call)?;
        Ok(self.call_view(&snapshot))
    }

    pub(super) fn record_call(&mut self, id: &str, record: api::RecordCall) -> api::Result<api::Call> {
        let call = self.resolve_call(id)?.id;
        if let api::RecordCall::Ask { file } = &record
            && let Some(seat) = self.seats.by_call.get_mut(&call)
        {
            seat.record_file.clone_from(file);
        }
        self.call_act(Input::Record { call, act: super::recording::act(record) })?;
        let snapshot = self.calls.get(&call).ok_or_else(no_call)?;
        Ok(self.call_view(&snapshot))
    }

    pub(super) fn call_views(&self) -> Vec<api::Call> {
        let since = unix_ms().saturating_sub(ENDED_SHOWN_MS);
        let ended = self
            .history
            .iter()
            .filter(|entry| entry.ended_ms >= since)
            .filter_map(|entry| self.calls.get_ended(&entry.id).cloned());
        self.calls.iter().chain(ended).map(|snapshot| self.call_view(&snapshot)).collect()
    }

    pub(super) fn call_of(&self, id: &str) -> api::Result<api::Call> {
        Ok(self.call_view(&self.resolve_call(id)?))
    }

    pub(super) fn history_views(&self) -> Vec<api::HistoryEntry> {
        let mut entries: Vec<_> = self.history.iter().map(|entry| self.history_view(entry)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.started_ms));
        entries
    }

    fn history_view(&self, entry: &HistoryRecord) -> api::HistoryEntry {
        let until = self.calls.resumable(&entry.id, unix_ms());
        let view = view::history(entry, self.book.name_of(&entry.friend), until);
        api::HistoryEntry { unseen: self.is_unseen(entry), ..view }
    }

    /// Opens the media of a seat.
    pub(super) fn media(&mut self, id: &str, token: &SeatToken) -> api::Result<MediaChannel> {
        let snapshot = self.resolve_call(id)?;
        if snapshot.state == State::Ended {
            return Err(no_call());
        }
        if snapshot.seat != Some(hash(token)) {
            return Err(wrong_seat());
        }
        let (end, channel) = engine::seat_pair();
        let seat = self.seats.by_call.entry(snapshot.id).or_default();
        seat.attached = true;
        match &seat.peer {
            Some((_, peer)) => peer
                .send(engine::PeerCommand::Attach(end))
                .map_err(|error| Error::new(Code::Internal, error.to_string()))?,
            None => seat.waiting = Some(end),
        }
        if !snapshot.seat_taken {
            self.calls_input(Input::SeatTaken { call: snapshot.id, seat: hash(token) });
        }
        Ok(channel)
    }

    fn resolve_call(&self, id: &str) -> api::Result<Snapshot> {
        let id = id.to_ascii_lowercase();
        let hex = id.len() >= ID_MIN && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            return Err(no_call());
        }
        let matches = |snapshot: &Snapshot| snapshot.id.to_string().starts_with(&id);
        let mut found: Vec<Snapshot> = self.calls.iter().filter(matches).collect();
        if found.is_empty() {
            let ended = self.history.iter().filter_map(|entry| self.calls.get_ended(&entry.id).cloned());
            found = ended.filter(matches).collect();
        }
        match found.len() {
            1 => found.pop().ok_or_else(no_call),
            0 => Err(no_call()),
            _ => Err(Error::new(Code::Ambiguous, "several calls begin like this").hint("give more digits of the id")),
        }
    }
}

/// A new seat: the client's token, and the hash that is kept.
fn new_seat() -> (SeatToken, SeatHash) {
    let secret: [u8; 16] = rand::random();
    let token = SeatToken(secret.iter().map(|byte| format!("{byte:02x}")).collect());
    let hash = hash(&token);
    (token, hash)
}

fn hash(token: &SeatToken) -> SeatHash {
    Sha256::digest(token.0.as_bytes()).into()
}

fn no_call() -> Error {
    Error::new(Code::NotFound, "there is no such call").hint("`twocan calls` lists them")
}

fn wrong_seat() -> Error {
    Error::new(Code::SeatTaken, "this is not the token of the call's seat")
}

fn short(call: &CallId) -> String {
    call.to_string()[..8].to_owned()
}

fn offer_kind(kind: call::OfferKind) -> engine::OfferKind {
    match kind {
        call::OfferKind::First => engine::OfferKind::First,
        call::OfferKind::Restart => engine::OfferKind::Restart,
        call::OfferKind::Rebuild => engine::OfferKind::Rebuild,
    }
}

pub(super) fn lines(candidates: Vec<Candidate>) -> Vec<String> {
    candidates.into_iter().map(|candidate| candidate.0.into_string()).collect()
}

/// A description of the friend, for the engine.
pub(super) fn description_out(description: Description, candidates: Vec<Candidate>) -> engine::Description {
    engine::Description {
        kind: match description.kind {
            DescriptionKind::Answer => engine::DescriptionKind::Answer,
            DescriptionKind::Offer | DescriptionKind::Other => engine::DescriptionKind::Offer,
        },
        generation: description.generation,
        sdp: description.sdp.into_string(),
        more: description.more.into_string(),
        fingerprint: engine::Fingerprint(description.fingerprint),
        candidates: lines(candidates),
    }
}

/// A description of our own, for the friend.
pub(super) fn description_in(description: engine::Description) -> Option<(Description, Vec<Candidate>)> {
    let candidates = description.candidates.into_iter().filter_map(Candidate::new).collect();
    let description = Description {
        kind: match description.kind {
            engine::DescriptionKind::Offer => DescriptionKind::Offer,
            engine::DescriptionKind::Answer => DescriptionKind::Answer,
        },
        generation: description.generation,
        fingerprint: description.fingerprint.0,
        sdp: Bounded::new(description.sdp)?,
        more: Bounded::new(description.more)?,
    };
    Some((description, candidates))
}
