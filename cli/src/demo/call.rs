//! One measured call between Alice and Bob, through the real local API, the real codecs and real time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use twocan_control::{AnswerCall, CallState, Event, Handle, LinkPath, PlaceCall, SeatedCall};
use twocan_media::measure::DelayProbe;
use twocan_media::now_ns;

use super::node::{Node, since};
use super::side::{Plan, Side};
use super::story::Story;
use super::usage::CpuWindow;
use crate::exit::{Exit, Failure};
use crate::format;
use crate::live::seat::Seat;

/// How long it rings before Bob answers: nobody is faster, and the media path is built meanwhile.
pub const RING: Duration = Duration::from_secs(1);
/// How long to wait for a moment in which both speak; then the answer comes anyway.
const BOTH_SPEAK: Duration = Duration::from_secs(3);
/// Sound or picture that does not come in this time does not come.
const FIRST: Duration = Duration::from_secs(10);
/// How often the first sound and picture are looked for; their times come from the taps, not from here.
const LOOK: Duration = Duration::from_millis(5);
/// How often a line is told while they talk.
const TELL: Duration = Duration::from_millis(2500);
/// How long the media of an ended call may take to end.
const FINISH: Duration = Duration::from_secs(2);
/// From the first sound to the window in which memory and CPU are measured.
const SETTLE: Duration = Duration::from_millis(500);

/// What to do in the call.
#[derive(Clone, Debug)]
pub struct Talk {
    /// How long to talk once both hear and see each other.
    pub talk: Duration,
    /// With video.
    pub video: bool,
    /// Sound from a file.
    pub audio_in: Option<PathBuf>,
    /// Picture from a file.
    pub video_in: Option<PathBuf>,
    /// Folder for what was received.
    pub results: Option<PathBuf>,
}

/// One side's numbers of sound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sound {
    /// Packets given to the node.
    pub sent: u64,
    /// Packets taken from the node.
    pub received: u64,
    /// Packets' worth of sound that had to be made up.
    pub concealed: u64,
    /// Milliseconds from the friend's encoder queue to this side's jitter buffer's end, median.
    pub delay_ms: Option<f64>,
    /// The same, 95 of 100.
    pub delay_p95_ms: Option<f64>,
}

/// One side's numbers of pictures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vision {
    /// Frames given to the node.
    pub sent: u64,
    /// Frames decoded and shown.
    pub decoded: u64,
    /// Median PSNR of the received pictures, dB.
    pub psnr_db: Option<f64>,
}

/// Everything that one call told.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// From the call's request to the callee's client being told.
    pub ring_ms: f64,
    /// From the answer's request to the first audible sound: caller, callee.
    pub audio_ms: (f64, f64),
    /// To the first picture: caller, callee.
    pub video_ms: Option<(f64, f64)>,
    /// From the hang-up's request to the other client being told.
    pub hangup_ms: f64,
    /// Sound: caller, callee.
    pub sound: (Sound, Sound),
    /// Pictures: caller, callee.
    pub vision: Option<(Vision, Vision)>,
    /// Path of the media.
    pub path: Option<LinkPath>,
    /// Candidate kinds.
    pub candidates: Option<String>,
    /// The larger resident memory of the two nodes during the call.
    pub rss_mb: Option<f64>,
    /// CPU of one node, percent of a core (mean of the two).
    pub cpu_node: Option<f64>,
    /// CPU of one client (half of this process).
    pub cpu_client: Option<f64>,
    /// Length of the window that CPU was measured over.
    pub window_s: f64,
}

/// Ends media tasks when dropped: also when a call fails half-way.
pub(super) struct Task(pub(super) JoinHandle<Result<(), Failure>>);

impl Task {
    /// Waits for the media's own end, so that nothing of the call is left running.
    pub(super) async fn finish(mut self) {
        // One that does not end is ended by dropping it.
        let _ = timeout(FINISH, &mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn talk_of(node: &Node, seated: SeatedCall, side: &mut Side) -> Result<Task, Failure> {
    let voice = side.voice.take().ok_or_else(|| Failure::new(Exit::Internal, "a session can be in one call only"))?;
    let seat = Seat { node: node.client.clone(), call: seated.call.id, token: seated.seat };
    // Problems of synthetic sources show in the numbers; nobody listens to notes.
    let (notes, _) = mpsc::channel(1);
    Ok(Task(tokio::spawn(seat.keep(voice, notes, Arc::clone(&side.counters)))))
}

/// Alice calls Bob; they talk and hang up.
///
/// # Errors
/// Whatever did not happen in time.
pub async fn one(
    alice: &Node,
    bob: &Node,
    friend: &str,
    talk: &Talk,
    story: &mut Story<'_>,
) -> Result<Numbers, Failure> {
    alice.diary.clear();
    bob.diary.clear();
    let plan = |seed, heard: &str| Plan {
        seed,
        video: talk.video,
        audio_in: talk.audio_in.clone(),
        video_in: talk.video_in.clone(),
        heard: talk.results.as_ref().map(|folder| folder.join(heard)),
    };
    let mut caller = Side::start(&plan(1, "received-by-alice.wav"))?;
    let called = now_ns();
    let seated = alice.client.place_call(PlaceCall { friend: friend.to_owned(), video: talk.video }).await?;
    let id = seated.call.id.clone();
    let caller_media = talk_of(alice, seated, &mut caller)?;
    let rung = ring(alice, bob, &id).await?;
    let mut numbers = Numbers { ring_ms: since(called, rung), ..Numbers::default() };
    story.tell(&format!("Bob's client rings, {:.1} ms after Alice called", numbers.ring_ms))?;
    let mut callee = Side::start(&plan(2, "received.wav"))?;
    sleep(RING).await;
    // "Hello" is said when answering; synthetic voices pause, so the answer waits for a moment without a pause.
    let patience = Instant::now() + BOTH_SPEAK;
    while !(caller.speaks() && callee.speaks()) && Instant::now() < patience {
        sleep(LOOK).await;
    }
    let answered = now_ns();
    let seated = bob.client.answer_call(&id, AnswerCall { video: talk.video }).await?;
    let callee_media = talk_of(bob, seated, &mut callee)?;
    let caller_heard = first("the caller to hear the callee", || caller.first_sound_ns()).await?;
    let callee_heard = first("the callee to hear the caller", || callee.first_sound_ns()).await?;
    numbers.audio_ms = (since(answered, caller_heard), since(answered, callee_heard));
    story.tell(&format!(
        "Bob answers: Alice hears him after {:.1} ms, he hears her after {:.1} ms",
        numbers.audio_ms.0, numbers.audio_ms.1
    ))?;
    if talk.video {
        let caller_saw = first("the caller to see the callee", || caller.first_picture_ns()).await?;
        let callee_saw = first("the callee to see the caller", || callee.first_picture_ns()).await?;
        let video = (since(answered, caller_saw), since(answered, callee_saw));
        story.tell(&format!("they see each other, after {:.1} and {:.1} ms", video.0, video.1))?;
        numbers.video_ms = Some(video);
    }
    live(alice, bob, &id, talk, &mut numbers, story).await?;
    let hung_up = now_ns();
    alice.client.hangup(&id).await?;
    let ((), told) = bob
        .diary
        .wait("Bob's client to be told of the hang-up", |event| match event {
            Event::Call { call } if call.id == id && call.state == CallState::Ended => Some(()),
            _ => None,
        })
        .await?;
    numbers.hangup_ms = since(hung_up, told);
    story.tell(&format!("Alice hangs up; Bob's client knows after {:.1} ms", numbers.hangup_ms))?;
    caller_media.finish().await;
    callee_media.finish().await;
    let compared = compare(caller, callee, talk);
    let (sound, vision) = tokio::task::spawn_blocking(compared)
        .await
        .map_err(|error| Failure::new(Exit::Internal, format!("comparing failed: {error}")))??;
    numbers.sound = sound;
    numbers.vision = vision;
    Ok(numbers)
}

/// Waits for Bob's client to ring; the time of it. A call that ends before says why.
async fn ring(alice: &Node, bob: &Node, id: &str) -> Result<u64, Failure> {
    let rings = |event: &Event| match event {
        Event::CallIncoming { call } if call.id == id => Some(()),
        _ => None,
    };
    let ends = |event: &Event| match event {
        Event::Call { call } if call.id == id && call.state == CallState::Ended => Some(format::call::ending(call)),
        _ => None,
    };
    tokio::select! {
        rung = bob.diary.wait("Bob's client to ring", rings) => Ok(rung?.1),
        ended = alice.diary.wait("the call to end", ends) => {
            Err(Failure::new(Exit::Unwell, format!("it did not ring: {}", ended?.0)))
        }
    }
}

async fn first(what: &str, when: impl Fn() -> Option<u64>) -> Result<u64, Failure> {
    let patience = Instant::now() + FIRST;
    loop {
        if let Some(at) = when() {
            return Ok(at);
        }
        if Instant::now() > patience {
            return Err(Failure::new(Exit::Unwell, format!("waited {} s in vain for {what}", FIRST.as_secs())));
        }
        sleep(LOOK).await;
    }
}

/// The talk itself, with memory and CPU measured over all of it but the first half second.
async fn live(
    alice: &Node,
    bob: &Node,
    id: &str,
    talk: &Talk,
    numbers: &mut Numbers,
    story: &mut Story<'_>,
) -> Result<(), Failure> {
    let own = std::process::id();
    let settle = SETTLE.min(talk.talk / 4);
    sleep(settle).await;
    let begin = Instant::now();
    let window = CpuWindow::open(&[alice.pid(), bob.pid(), own]);
    let length = talk.talk.saturating_sub(settle);
    story.tell(&format!("they talk for {:.1} s", length.as_secs_f64()))?;
    let end = begin + length;
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + TELL)).await;
        if story.heard() {
            story.tell(&how_it_goes(alice, id).await?)?;
        }
    }
    let (a, b) = (window.percent(alice.pid()), window.percent(bob.pid()));
    numbers.cpu_node = a.zip(b).map(|(a, b)| (a + b) / 2.0);
    numbers.cpu_client = window.percent(own).map(|percent| percent / 2.0);
    numbers.window_s = begin.elapsed().as_secs_f64();
    numbers.rss_mb = alice.rss_mb().zip(bob.rss_mb()).map(|(a, b)| a.max(b));
    let call = alice.client.call(id).await?;
    if call.state != CallState::Active {
        return Err(Failure::new(Exit::Unwell, format!("the call is {:?} when it should be active", call.state)));
    }
    if let Some(quality) = call.quality {
        numbers.path = quality.path;
        numbers.candidates = quality.candidates;
    }
    Ok(())
}

/// The path as Alice's node sees it, in one line.
async fn how_it_goes(alice: &Node, id: &str) -> Result<String, Failure> {
    let quality = alice.client.call(id).await?.quality.unwrap_or_default();
    let rtt = quality.rtt_ms.map(|ms| format!("round trip {ms:.1} ms, ")).unwrap_or_default();
    let (out, back) = (format::bitrate(quality.bitrate_out), format::bitrate(quality.bitrate_in));
    let loss = format::percent(quality.loss_in.max(quality.loss_out));
    Ok(format!("  {rtt}{out} from Alice, {back} from Bob, loss {loss}"))
}

type Compared = ((Sound, Sound), Option<(Vision, Vision)>);

/// What the logs of both ends say, as a closure for a thread of its own: comparing is work for a second or so.
fn compare(caller: Side, callee: Side, talk: &Talk) -> impl FnOnce() -> Result<Compared, Failure> + use<> {
    let (video, results) = (talk.video, talk.results.clone());
    move || {
        let (caller_said, caller_heard, caller_saw) = caller.take();
        let (callee_said, callee_heard, callee_saw) = callee.take();
        let sound = (
            sound(&caller, DelayProbe { sent: callee_said, received: caller_heard }),
            sound(&callee, DelayProbe { sent: caller_said, received: callee_heard }),
        );
        if let Some(folder) = &results {
            write_pictures(folder, &caller_saw, &callee_saw)?;
        }
        let vision = |side: &Side, friend: &Side, saw: &super::side::Pictures| Vision {
            sent: side.counters.video_out(),
            decoded: saw.shown,
            psnr_db: saw.psnr_db(friend.seed()),
        };
        let vision = video.then(|| (vision(&caller, &callee, &caller_saw), vision(&callee, &caller, &callee_saw)));
        Ok((sound, vision))
    }
}

fn write_pictures(
    folder: &Path,
    caller_saw: &super::side::Pictures,
    callee_saw: &super::side::Pictures,
) -> Result<(), Failure> {
    caller_saw.write_png(&folder.join("received-by-alice.png"))?;
    callee_saw.write_png(&folder.join("received.png"))?;
    Ok(())
}

fn sound(side: &Side, probe: DelayProbe) -> Sound {
    let report = probe.report();
    Sound {
        sent: side.counters.audio_out(),
        received: side.counters.audio_in(),
        concealed: side.concealed(),
        delay_ms: report.map(|report| report.median_ms),
        delay_p95_ms: report.map(|report| report.p95_ms),
    }
}

/// After a failed call: ends whatever is left of it at both sides, so that the next one starts clean.
pub async fn clear_away(world: &super::setup::World) {
    for node in std::iter::once(&world.alice).chain(world.bob()) {
        for call in node.client.calls().await.unwrap_or_default() {
            if call.state != CallState::Ended {
                // What cannot be hung up is over, or shows as the next failure.
                let _ = node.client.hangup(&call.id).await;
            }
        }
    }
}
