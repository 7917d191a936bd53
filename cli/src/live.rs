//! A call as the person in it lives through it: media flows between seat and session, keys steer, one line shows how it
//! stands, and whatever goes wrong is said in words.
//!
//! [`run`] owns the call from the moment the seat is taken until it ended: it follows the node's events, leaves the
//! frames to a task of their own ([`seat`], so that no request to the node ever delays one), and hangs up on Ctrl-C, `q`,
//! SIGTERM, SIGHUP or after `--seconds`.

pub mod graph;
pub mod line;
pub mod options;
pub mod record;
pub mod seat;
pub mod terminal;
mod voice;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use twocan_control::{Call, CallState, CallUpdate, Event, Handle, RecordCall, RecordState, SeatedCall};
use twocan_media::session::{Part, Session, Share};
use twocan_media::settings::Store;
use twocan_media::video::VideoSource;

use crate::bridge::{Note, Voice};
use crate::exit::{Exit, Failure};
use crate::format::{self, Style};
use crate::output::Out;
use graph::Graph;
use line::{Key, Levels};
use record::Recorder;
use seat::Followed;
use terminal::Terminal;

/// How often the live line is redrawn.
const DRAW: Duration = Duration::from_millis(200);
/// How often the numbers of the path are asked for.
const ASK: Duration = Duration::from_secs(1);
/// How long to wait for the node's last word after hanging up.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Notes of the bridge that wait to be shown.
const NOTES: usize = 32;

/// How to live through the call.
#[derive(Debug)]
pub struct Options {
    /// What to send when video is switched on.
    pub video_in: VideoSource,
    /// What to share when a screen is shared.
    pub share: Share,
    /// Share it from the start; the session has it already.
    pub sharing: bool,
    /// Hang up after this long.
    pub seconds: Option<u64>,
    /// Draw the live line and listen to keys.
    pub live: bool,
    /// There is no display for the friend's picture, which is to be said when one comes.
    pub unseen: bool,
    /// Ask to record into this file when the call is answered.
    pub record: Option<std::path::PathBuf>,
    /// How loud the friend is played at first, percent.
    pub volume: u16,
    /// Where to keep how loud the friend is played, if that is changed.
    pub kept: Store,
}

struct Live<'a, H: Handle> {
    node: &'a H,
    call: Call,
    session: Arc<Session>,
    options: Options,
    terminal: Terminal,
    leaving: Option<Instant>,
    advised: Vec<Part>,
    trouble: mpsc::Sender<String>,
    graph: Graph,
    /// The graph is shown.
    graphed: bool,
    voice: voice::Keys,
    recorder: Recorder,
    /// My name, for my tracks of a recording.
    own: String,
}

/// Lives through a call until it ended; the result is its exit code.
///
/// `events` must be followed since before the seat was taken, so that no change is missed.
///
/// # Errors
/// The seat was lost to another client, the node went away for good, or a second Ctrl-C came.
pub async fn run<H: Handle>(
    node: &H,
    seated: SeatedCall,
    voice: Voice,
    events: BoxStream<'static, Event>,
    options: Options,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let (notes, mut noted) = mpsc::channel(NOTES);
    let (trouble, mut troubles) = mpsc::channel(NOTES);
    let mut terminal = Terminal::open(options.live && !out.json());
    if terminal.live() {
        terminal.say("m mute · v video · c camera · s screen · h hold · r record · g graph · q hang up");
        terminal.say("n noise · e echo · +/- volume · space talk (with --talk key)");
    }
    let session = Arc::clone(&voice.session);
    let seat = seat::Seat { node: node.clone(), call: seated.call.id.clone(), token: seated.seat };
    let mut media = tokio::spawn(seat.keep(voice, notes, Arc::default()));
    let mut media_done = false;
    let mut events = seat::follow(node.clone(), events);
    // A node that cannot say its name now has other worries.
    let own = node.identity().await.map(|identity| identity.name).unwrap_or_default();
    let own = if own.is_empty() { "me".to_owned() } else { own };
    let recorder = Recorder::new(options.record.clone());
    let keys = voice::Keys::new(options.volume);
    let mut live = Live {
        node,
        call: seated.call,
        session,
        options,
        terminal,
        leaving: None,
        advised: Vec::new(),
        trouble,
        graph: Graph::default(),
        graphed: false,
        voice: keys,
        recorder,
        own,
    };
    live.begin_sharing();
    let mut signals = Signals::new()?;
    live.show(out)?;
    let mut draw = tokio::time::interval(DRAW);
    // Not at once: what is asked for could overtake the events on their way here.
    let mut ask = tokio::time::interval_at(Instant::now() + ASK, ASK);
    let mut hang_up_at: Option<Instant> = None;
    while live.call.state != CallState::Ended {
        if hang_up_at.is_none()
            && let (Some(seconds), Some(_)) = (live.options.seconds, live.call.answered_ms)
        {
            hang_up_at = Some(Instant::now() + Duration::from_secs(seconds));
        }
        let give_up = live.leaving.map(|since| since + LAST_WORD);
        tokio::select! {
            followed = events.next() => match followed {
                Some(Followed::Event(Event::Call { call })) if call.id == live.call.id => live.changed(call, out)?,
                Some(Followed::Event(Event::Stopping)) => live.terminal.say("The node stops."),
                Some(Followed::Event(_)) => {}
                Some(Followed::Lost) => live.terminal.say("The node went away; trying to get back into the call …"),
                Some(Followed::Back) => live.terminal.say("The node is back."),
                None => return Err(seat::gone()),
            },
            ended = &mut media, if !media_done => {
                media_done = true;
                match ended {
                    Ok(Ok(())) => live.leaving.get_or_insert(Instant::now()),
                    Ok(Err(failure)) => return Err(failure),
                    Err(error) => return Err(Failure::new(Exit::Internal, format!("the media bridge failed: {error}"))),
                };
            }
            Some(note) = noted.recv() => live.noted(note),
            Some(text) = troubles.recv() => live.terminal.say(&format::sentence(&text)),
            key = live.terminal.key() => if live.key(key) { return Err(interrupted()); },
            () = signals.next() => if live.hang_up() { return Err(interrupted()); },
            _ = draw.tick(), if live.terminal.live() => live.draw(out),
            _ = ask.tick() => if let Ok(call) = live.node.call(&live.call.id).await {
                live.graph.push(call.quality.as_ref());
                live.changed(call, out)?;
            },
            () = until(hang_up_at), if live.leaving.is_none() => { live.hang_up(); }
            () = until(give_up) => break,
        }
    }
    media.abort();
    if let Some(report) = live.session.stop_recording() {
        live.terminal.say(&record::finished(&report));
    }
    if let Some(percent) = live.voice.turned() {
        let (kept, friend) = (live.options.kept.clone(), live.call.friend.clone());
        let keep = move || kept.update(|settings| settings.set_volume(&friend, percent));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(keep).await {
            live.terminal.say(&format::sentence(&error.to_string()));
        }
    }
    drop(live.terminal);
    if !out.json() {
        out.line(&format::call::ending(&live.call))?;
    }
    let left = live.leaving.is_some() && live.call.outcome.is_none() && live.call.answered_ms.is_some();
    Ok(if left { Exit::Ok } else { Exit::of_call(live.call.outcome) })
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl<H: Handle> Live<'_, H> {
    fn changed(&mut self, call: Call, out: &mut Out) -> Result<(), Failure> {
        let before = std::mem::replace(&mut self.call, call);
        if before.muted != self.call.muted {
            self.session.set_muted(self.call.muted);
        }
        if before.video != self.call.video {
            let source = self.call.video.then(|| self.options.video_in.clone());
            if let Err(error) = self.session.set_video(source) {
                self.terminal.say(&format::sentence(&error.to_string()));
            }
        }
        if before.screen != self.call.screen {
            self.share(self.call.screen);
        }
        if before.remote_screen && !self.call.remote_screen {
            self.session.screen_ended();
        }
        let step = self.recorder.changed(&before, &self.call, &self.own, &self.session);
        step.say.iter().for_each(|text| self.terminal.say(text));
        if step.finish {
            let (session, trouble) = (Arc::clone(&self.session), self.trouble.clone());
            // The disk may be slow; the call goes on meanwhile.
            tokio::task::spawn_blocking(move || {
                if let Some(report) = session.stop_recording() {
                    let _ = trouble.try_send(record::finished(&report));
                }
            });
        }
        if let Some(act) = step.tell {
            self.record(act);
        }
        if self.options.unseen && self.call.remote_video && !before.remote_video {
            self.options.unseen = false;
            self.terminal.say(options::UNSEEN);
        }
        let without_numbers = |call: &Call| Call { quality: None, ..call.clone() };
        if without_numbers(&before) != without_numbers(&self.call) {
            self.show(out)?;
        }
        Ok(())
    }

    /// Tells how the call stands: one JSON line with `--json`, a line of text without a live line.
    fn show(&mut self, out: &mut Out) -> Result<(), Failure> {
        if out.json() {
            out.json_line(&self.call)
        } else if self.terminal.live() {
            self.draw(out);
            Ok(())
        } else if self.call.state == CallState::Ended {
            Ok(())
        } else {
            out.line(&line::draw(&Call { quality: None, ..self.call.clone() }, None, Style::of(out), usize::MAX))
        }
    }

    fn draw(&mut self, out: &Out) {
        self.voice.tick(&self.session);
        let levels = self.session.levels();
        let levels = Levels { own_db: levels.input.rms_db, friend_db: levels.output.rms_db };
        let width = self.terminal.width().saturating_sub(1);
        let mut lines = if self.graphed { self.graph.rows(Style::of(out), width) } else { Vec::new() };
        lines.push(line::draw(&self.call, Some(levels), Style::of(out), width));
        self.terminal.draw(&lines);
    }

    fn noted(&mut self, note: Note) {
        match note {
            Note::Problem(problem) => {
                let more = if problem.retrying { " (trying again)" } else { "" };
                self.terminal.say(&format!("{}{more}", format::sentence(&problem.text)));
                let ended = problem.part == Part::ScreenIn && !problem.retrying;
                if ended {
                    // Refused, closed, or stopped by the desktop: nobody shall believe that it is still shared.
                    self.update(CallUpdate { screen: Some(false), ..CallUpdate::default() });
                } else if let Some(instead) = options::instead(problem.part)
                    && !self.advised.contains(&problem.part)
                {
                    self.advised.push(problem.part);
                    self.terminal.say(instead);
                }
            }
            Note::RecordingFailed(error) => {
                self.terminal.say(&format::sentence(&error.to_string()));
                let act = self.recorder.failed();
                self.record(act);
            }
            Note::Solved(part) => self.terminal.say(&format!("The {} works again.", options::part(part))),
        }
    }

    /// Acts on a key. True: leave at once.
    fn key(&mut self, key: Key) -> bool {
        if let Some(said) = self.voice.press(key, &self.session) {
            self.terminal.say(&said);
        }
        let update = match key {
            Key::Mute => {
                // At once, before the node knows: nobody likes a slow mute.
                self.session.set_muted(!self.call.muted);
                CallUpdate { muted: Some(!self.call.muted), ..CallUpdate::default() }
            }
            Key::Camera => {
                self.next_camera();
                return false;
            }
            Key::Video => CallUpdate { video: Some(!self.call.video), ..CallUpdate::default() },
            Key::Screen => CallUpdate { screen: Some(!self.call.screen), ..CallUpdate::default() },
            Key::Graph => {
                self.graphed = !self.graphed;
                return false;
            }
            Key::Hold => CallUpdate { held: Some(!self.call.held), ..CallUpdate::default() },
            Key::Record => {
                self.record(Recorder::key(&self.call));
                return false;
            }
            Key::Refuse => {
                if self.call.recording.as_ref().is_some_and(|recording| recording.state == RecordState::Asked) {
                    self.record(RecordCall::Refuse);
                }
                return false;
            }
            Key::Quit | Key::Interrupt => return self.hang_up(),
            Key::Talk | Key::Echo | Key::Noise | Key::Louder | Key::Quieter => return false,
            Key::Answer | Key::Decline => return false,
        };
        self.update(update);
        false
    }

    /// Goes on with the machine's next camera, in the same call and stream.
    fn next_camera(&mut self) {
        let Some(next) = self.options.video_in.next_camera() else {
            self.terminal.say("There is no other camera.");
            return;
        };
        if self.call.video
            && let Err(error) = self.session.set_video(Some(next.clone()))
        {
            self.terminal.say(&format::sentence(&error.to_string()));
            return;
        }
        self.options.video_in = next;
    }

    /// Asks the node to change the call. What it changed comes back as an event.
    fn update(&self, update: CallUpdate) {
        let (node, id, session) = (self.node.clone(), self.call.id.clone(), Arc::clone(&self.session));
        let (muted, trouble) = (self.call.muted, self.trouble.clone());
        tokio::spawn(async move {
            if let Err(error) = node.update_call(&id, update).await {
                session.set_muted(muted);
                // A full queue means that enough trouble is waiting to be told.
                let _ = trouble.try_send(error.message);
            }
        });
    }

    /// Tells the node what is shared from the start. A share that another client of this call left behind ends: no
    /// screen is shown to anybody without a person's act.
    fn begin_sharing(&mut self) {
        let sharing = self.options.sharing;
        if sharing != self.call.screen {
            self.update(CallUpdate { screen: Some(sharing), ..CallUpdate::default() });
        }
    }

    /// Shares the screen, or stops it, as the node says.
    fn share(&mut self, on: bool) {
        // From the start the session has it already.
        if on && std::mem::take(&mut self.options.sharing) {
            return;
        }
        let share = on.then(|| self.options.share.clone());
        if let Err(error) = self.session.set_screen(share) {
            self.terminal.say(&format::sentence(&error.to_string()));
            self.update(CallUpdate { screen: Some(false), ..CallUpdate::default() });
        }
    }

    /// Tells the node about recording; what follows comes back as an event.
    fn record(&self, act: RecordCall) {
        let (node, id, trouble) = (self.node.clone(), self.call.id.clone(), self.trouble.clone());
        tokio::spawn(async move {
            if let Err(error) = node.record_call(&id, act).await {
                // A full queue means that enough trouble is waiting to be told.
                let _ = trouble.try_send(error.message);
            }
        });
    }

    /// Hangs up. True: it was asked for before, so leave at once.
    fn hang_up(&mut self) -> bool {
        if self.leaving.is_some() {
            return true;
        }
        self.leaving = Some(Instant::now());
        let (node, id) = (self.node.clone(), self.call.id.clone());
        tokio::spawn(async move { node.hangup(&id).await });
        false
    }
}

/// Signals that end a call cleanly.
struct Signals(Vec<Signal>);

impl Signals {
    fn new() -> Result<Self, Failure> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals: std::io::Result<Vec<Signal>> = kinds.into_iter().map(signal).collect();
        signals.map(Self).map_err(|error| Failure::new(Exit::Internal, format!("cannot listen to signals: {error}")))
    }

    async fn next(&mut self) {
        let waits = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        let _ = futures::future::select_all(waits).await;
    }
}
