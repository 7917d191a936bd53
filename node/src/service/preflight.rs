//! Preflights: the media path to a friend is tried without a call (`specs/05-call.md`, "Preflight").
//!
//! [`run`] builds the path and measures, in a task of its own; [`score`] predicts how a call would sound. Here is what
//! the service adds: who may ask whom how often, the relays, the messages over the link, and the words for a person.

mod run;
mod score;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use twocan_control::doctor::{Grade, Preflight};
use twocan_control::{Code, Error, LinkPath};
use twocan_protocol::identity::RootPublic;
use twocan_protocol::link;
use twocan_protocol::wire::{CallId, Message, PreflightBody, PreflightMessage, PreflightRefusal, Side};

use super::Service;
use super::links::Note;
use crate::calls as engine;
use run::{Failed, Found, Way};

/// A friend's node is answered this often at most.
const PAUSE: Duration = Duration::from_secs(10);
/// A preflight is over after this, whatever happens: the deadlines of its steps add up to less.
const LONGEST: Duration = Duration::from_secs(20);
/// Messages of the friend that may wait for a preflight: candidates come a few at a time.
const HEARD: usize = 32;
/// Messages to the friend that may wait for the service.
const SAID: usize = 8;
/// What the friend's node adds to a path before it answers, at most.
const WAIT: Duration = Duration::from_secs(25);

/// One that runs.
struct Running {
    friend: RootPublic,
    heard: mpsc::Sender<PreflightBody>,
    began: Instant,
}

/// All preflights: one at a time.
#[derive(Default)]
pub(super) struct Preflights {
    running: BTreeMap<CallId, Running>,
    /// When each friend was answered last.
    answered: BTreeMap<RootPublic, Instant>,
}

impl Preflights {
    /// Whether one is going on. Those that should have ended long ago do not count.
    fn busy(&mut self, now: Instant) -> bool {
        self.running.retain(|_, running| now.saturating_duration_since(running.began) < LONGEST + PAUSE);
        !self.running.is_empty()
    }

    /// Whether a friend may be answered now.
    fn admit(&mut self, root: RootPublic, now: Instant) -> Result<(), PreflightRefusal> {
        self.answered.retain(|_, at| now.saturating_duration_since(*at) < PAUSE);
        if self.answered.contains_key(&root) {
            return Err(PreflightRefusal::Often);
        }
        if self.busy(now) {
            return Err(PreflightRefusal::Busy);
        }
        self.answered.insert(root, now);
        Ok(())
    }
}

/// A preflight under way, for the one who waits for it.
pub(super) struct Asked {
    root: RootPublic,
    name: String,
    outcome: Option<oneshot::Receiver<Result<Found, Failed>>>,
}

impl Asked {
    /// Waits for the outcome, and puts it into words.
    pub(super) async fn result(self) -> Preflight {
        let Self { root, name, outcome } = self;
        let Some(outcome) = outcome else {
            return words(&root, &name, Err(Trouble::NotLinked));
        };
        let outcome = match tokio::time::timeout(WAIT, outcome).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(failed))) => Err(Trouble::Failed(failed)),
            Ok(Err(_)) | Err(_) => Err(Trouble::Failed(Failed::Ended)),
        };
        words(&root, &name, outcome)
    }
}

/// Why nothing was measured.
enum Trouble {
    NotLinked,
    Failed(Failed),
}

impl Service {
    /// Begins a preflight to a friend.
    ///
    /// # Errors
    /// If there is no such friend, or a call or preflight is going on here.
    pub(super) fn preflight(&mut self, whom: &str) -> twocan_control::Result<Asked> {
        let root = self.resolve(whom)?;
        let name = self.book.name_of(&root);
        if !self.book.is_friend(&root) {
            let text = format!("{name} has not accepted yet");
            return Err(Error::new(Code::Conflict, text).hint("this is possible once the request is accepted"));
        }
        if self.calls.iter().next().is_some() {
            let text = "a call is going on, which this would disturb";
            return Err(Error::new(Code::Conflict, text).hint("try again when it is over"));
        }
        if self.preflights.busy(Instant::now()) {
            return Err(Error::new(Code::Conflict, "another test of a path is going on").hint("try again in a moment"));
        }
        if self.sessions.get(&root).is_none_or(|linked| linked.view.is_none()) {
            self.urge(root);
            return Ok(Asked { root, name, outcome: None });
        }
        let (done, outcome) = oneshot::channel();
        let way = self.preflight_way(CallId(rand::random()), root, false, Vec::new());
        let id = way.id;
        let notes = self.notes.clone();
        tokio::spawn(async move {
            let result = tokio::time::timeout(LONGEST, run::ask(way)).await.unwrap_or(Err(Failed::Ended));
            let _ = notes.send(Note::PreflightOver(id)).await;
            // The client may have given up waiting.
            let _ = done.send(result);
        });
        Ok(Asked { root, name, outcome: Some(outcome) })
    }

    /// A friend says something about a preflight.
    pub(super) fn preflight_received(&mut self, root: RootPublic, message: PreflightMessage) {
        let PreflightMessage { id, body } = message;
        if !self.book.is_friend(&root) {
            return;
        }
        match body {
            PreflightBody::Offer(side) => {
                let busy = self.calls.iter().next().is_some();
                let admitted = match busy {
                    true => Err(PreflightRefusal::Busy),
                    false => self.preflights.admit(root, Instant::now()),
                };
                match admitted {
                    Ok(()) => self.answer_preflight(root, id, side),
                    Err(reason) => self.preflight_say(root, id, PreflightBody::Refuse(reason)),
                }
            }
            body => {
                if let Some(running) = self.preflights.running.get(&id).filter(|running| running.friend == root) {
                    // Who says more than a preflight needs is not heard.
                    let _ = running.heard.try_send(body);
                }
            }
        }
    }

    fn answer_preflight(&mut self, root: RootPublic, id: CallId, mut side: Side) {
        tracing::info!("{} tries the path of a call", root.short());
        let brought = std::mem::take(&mut side.relays).into_vec();
        let way = self.preflight_way(id, root, true, brought);
        let notes = self.notes.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(LONGEST, run::answer(way, side)).await;
            let _ = notes.send(Note::PreflightOver(id)).await;
        });
    }

    /// Everything that a preflight's task needs.
    fn preflight_way(
        &mut self,
        id: CallId,
        root: RootPublic,
        polite: bool,
        brought: Vec<twocan_protocol::wire::CallRelay>,
    ) -> Way {
        let mut relays = self.call_relays(id, root);
        relays.extend(self.relays_brought(&root, brought));
        let peer = self.engine.open(engine::PeerConfig {
            label: format!("test {}", &id.to_string()[..8]),
            polite,
            loopback: self.is_on_this_machine(&root),
            participant: u16::from(!polite),
            relays,
            relay_only: self.book.hides(&root),
        });
        let (say, mut said) = mpsc::channel(SAID);
        let (heard_in, heard) = mpsc::channel(HEARD);
        self.preflights.running.insert(id, Running { friend: root, heard: heard_in, began: Instant::now() });
        let notes = self.notes.clone();
        tokio::spawn(async move {
            while let Some((id, body)) = said.recv().await {
                if notes.send(Note::PreflightSays(root, PreflightMessage { id, body })).await.is_err() {
                    return;
                }
            }
        });
        Way { id, peer, relays: self.relays_to_bring(id, &root), say, heard }
    }

    /// Hands a message of a preflight to the friend.
    pub(super) fn preflight_says(&mut self, root: RootPublic, mut message: PreflightMessage) {
        if let PreflightBody::Answer(side) | PreflightBody::Offer(side) = &mut message.body
            && self.book.hides(&root)
        {
            // As in a call: none of our relays is shown to whom the address is hidden from.
            side.relays = twocan_protocol::wire::List::default();
        }
        self.session_input(root, link::Input::SendNow(Message::Preflight(message)));
    }

    fn preflight_say(&mut self, root: RootPublic, id: CallId, body: PreflightBody) {
        self.preflight_says(root, PreflightMessage { id, body });
    }

    /// A preflight's task has ended.
    pub(super) fn preflight_over(&mut self, id: CallId) {
        self.preflights.running.remove(&id);
        self.relay_call_over(&id);
    }
}

/// The outcome for a person.
fn words(root: &RootPublic, name: &str, outcome: Result<Found, Trouble>) -> Preflight {
    let nothing = |summary: String, advice: &str| Preflight {
        friend: root.to_string(),
        friend_name: name.to_owned(),
        works: false,
        summary,
        advice: vec![advice.to_owned()],
        path: None,
        candidates: None,
        setup_ms: None,
        rtt_ms: None,
        incoming: None,
        outgoing: None,
        rate: None,
        mos: None,
        grade: None,
    };
    match outcome {
        Err(Trouble::NotLinked) => nothing(
            format!("{name} is not reachable now, so the path cannot be tried."),
            "A search is under way: try again in a moment, or when your friend is online.",
        ),
        Err(Trouble::Failed(Failed::NoAnswer | Failed::Refused(PreflightRefusal::Other))) => nothing(
            format!("{name}'s node does not answer the test."),
            "It may be of an older version, or too busy: try again, or place a call.",
        ),
        Err(Trouble::Failed(Failed::Refused(PreflightRefusal::Busy))) => {
            nothing(format!("{name}'s node is busy with a call or another test."), "Try again in a moment.")
        }
        Err(Trouble::Failed(Failed::Refused(PreflightRefusal::Often))) => {
            nothing(format!("{name}'s node was asked a moment ago."), "Try again in ten seconds.")
        }
        Err(Trouble::Failed(Failed::Refused(PreflightRefusal::Failed) | Failed::Ended)) => {
            nothing(format!("{name}'s node gave the test up."), "Try again; the log of both nodes says more.")
        }
        Err(Trouble::Failed(Failed::NoPath(reason))) => nothing(
            format!("A call to {name} would not come through: {reason}."),
            "`twocan doctor` on both sides says what stands in the way; a friend with a public node who relays for \
             either of you solves it (`twocan relay friends` there).",
        ),
        Ok(found) => measured(root, name, &found),
    }
}

fn measured(root: &RootPublic, name: &str, found: &Found) -> Preflight {
    let directions: Vec<_> = found.incoming.into_iter().chain(found.outgoing).collect();
    let arrived = directions.iter().all(|counted| counted.packets > 0) && !directions.is_empty();
    let mos = score::mos(found.rtt, &directions);
    let grade = if arrived { score::grade(mos) } else { Grade::Bad };
    let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    let path = found.path.as_ref();
    let way = match path.map(|path| (path.path, path.tls)) {
        Some((LinkPath::Relayed, true)) => "through a relay over TLS",
        Some((LinkPath::Relayed, false)) => "through a relay",
        Some((LinkPath::Lan, _)) => "within the local network",
        Some((LinkPath::Loopback, _)) => "within this machine",
        Some((LinkPath::Direct, _)) | None => "directly",
    };
    let loss = directions.iter().map(score::Counted::loss).fold(0.0, f64::max);
    let lost =
        if loss > 0.0 { format!("{:.1} % of the packets lost", loss * 100.0) } else { "nothing lost".to_owned() };
    let round = found.rtt.map(|rtt| format!(", {:.0} ms round trip", ms(rtt))).unwrap_or_default();
    let summary = match arrived {
        true => format!("A call to {name} would be {}: {way}{round}, {lost}.", score::word(grade)),
        false => format!("A path to {name} was found ({way}), but no sound would come through it."),
    };
    let mut advice = Vec::new();
    if arrived && loss > 0.02 {
        advice.push("Packets get lost: a cable instead of Wi-Fi, or less else on the line, helps most.".to_owned());
    }
    let jitter = directions.iter().map(|counted| counted.jitter).max().unwrap_or_default();
    if arrived && jitter > Duration::from_millis(30) {
        advice.push("Packets come unevenly: Wi-Fi far from the router, or a busy line, is the usual cause.".to_owned());
    }
    if found.outgoing.is_none() {
        advice.push(format!("{name}'s node did not tell what arrived there; only this direction was measured."));
    }
    if path.is_some_and(|path| path.path == LinkPath::Relayed) {
        advice.push("`twocan doctor` says what would make the path direct.".to_owned());
    }
    Preflight {
        friend: root.to_string(),
        friend_name: name.to_owned(),
        works: arrived,
        summary,
        advice,
        path: path.map(|path| path.path),
        candidates: path.map(|path| path.candidates.clone()),
        setup_ms: found.setup.map(ms),
        rtt_ms: found.rtt.map(ms),
        incoming: found.incoming.map(|counted| counted.shown()),
        outgoing: found.outgoing.map(|counted| counted.shown()),
        rate: None,
        mos: Some(if arrived { mos } else { 1.0 }),
        grade: Some(grade),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_protocol::identity::RootKey;

    fn friend(number: u8) -> RootPublic {
        RootKey::from_secret(&[number; 32]).public()
    }

    #[test]
    fn one_preflight_runs_at_a_time_and_a_friend_is_answered_now_and_then() {
        let mut all = Preflights::default();
        let now = Instant::now();
        assert_eq!(all.admit(friend(1), now), Ok(()));
        assert_eq!(all.admit(friend(1), now + PAUSE / 2), Err(PreflightRefusal::Often));
        assert_eq!(all.admit(friend(2), now), Ok(()));
        let (heard, _keep) = mpsc::channel(1);
        all.running.insert(CallId([1; 16]), Running { friend: friend(3), heard, began: now });
        assert_eq!(all.admit(friend(4), now), Err(PreflightRefusal::Busy));
        assert_eq!(all.admit(friend(4), now + LONGEST + PAUSE), Ok(()), "a lost one does not block for ever");
    }

    #[test]
    fn what_was_measured_is_said_in_a_sentence() {
        let counted = |lost| score::Counted { packets: 150 - lost, lost, jitter: Duration::from_millis(2) };
        let path = engine::PathInfo {
            path: LinkPath::Direct,
            candidates: "host/srflx".to_owned(),
            round_trip: None,
            relay: None,
            tls: false,
        };
        let found = Found {
            path: Some(path),
            setup: Some(Duration::from_millis(120)),
            rtt: Some(Duration::from_millis(34)),
            incoming: Some(counted(0)),
            outgoing: Some(counted(0)),
        };
        let told = words(&friend(1), "Bob", Ok(found.clone()));
        assert_eq!(told.summary, "A call to Bob would be excellent: directly, 34 ms round trip, nothing lost.");
        assert!(told.works && told.advice.is_empty());
        let told = words(&friend(1), "Bob", Ok(Found { outgoing: Some(counted(15)), ..found.clone() }));
        assert_eq!(told.grade, Some(Grade::Poor));
        assert!(told.summary.contains("10.0 % of the packets lost") && told.advice[0].contains("cable"), "{told:?}");
        let told = words(&friend(1), "Bob", Ok(Found { incoming: Some(score::Counted::default()), ..found }));
        assert!(!told.works && told.summary.contains("no sound"), "{told:?}");
    }

    #[test]
    fn what_went_wrong_is_said_with_what_to_do() {
        let failures = [
            Trouble::NotLinked,
            Trouble::Failed(Failed::NoAnswer),
            Trouble::Failed(Failed::Refused(PreflightRefusal::Busy)),
            Trouble::Failed(Failed::NoPath("no packet found its way".to_owned())),
        ];
        for failure in failures {
            let told = words(&friend(1), "Bob", Err(failure));
            assert!(!told.works && told.summary.contains("Bob") && !told.advice.is_empty(), "{told:?}");
        }
    }
}
