//! A shared screen from one node to another: as sessions in this process, and as the programs that people run, with a
//! real X server (Xvfb) where there is one.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc;
use twocan_cli::bridge::Voice;
use twocan_control::{AnswerCall, CallUpdate, Handle, PlaceCall, SeatedCall};
use twocan_media::audio::{AudioSettings, AudioSink, AudioSource};
use twocan_media::session::{ScreenOptions, SessionConfig, Share, ShareSound};
use twocan_media::video::measure::psnr_y;
use twocan_media::video::moving::Tag;
use twocan_media::video::screen::ScreenSource;
use twocan_media::video::screen::page::{Page, SIZE};
use twocan_media::video::{Settings, Tap, VideoSink};
use twocan_tests::{Node, World, binary, incoming_call};

const SEED: u64 = 9;
const PATIENCE: Duration = Duration::from_secs(60);

/// A person's session, whose view of the friend's screen is the tap.
fn voice(eye: &Tap, ear: &Ear) -> Result<Voice> {
    Ok(Voice::start(SessionConfig {
        audio_in: AudioSource::Silence,
        audio_out: AudioSink::Tap(ear.sink()),
        muted: false,
        audio: AudioSettings::default(),
        video_in: None,
        video_out: VideoSink::Null,
        video: Settings::default(),
        screen: ScreenOptions { sink: VideoSink::Tap(eye.clone()), ..ScreenOptions::default() },
    })?)
}

/// How loud what was heard lately is.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<f32>>);

impl Ear {
    fn sink(&self) -> twocan_media::audio::Tap {
        let inner = self.0.clone();
        Arc::new(move |_, samples: &[f32]| {
            let power = samples.iter().map(|x| x * x).sum::<f32>() / samples.len().max(1) as f32;
            let mut smooth = inner.lock().unwrap_or_else(PoisonError::into_inner);
            *smooth += (power - *smooth) / 20.0;
        })
    }

    fn power(&self) -> f32 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn carry(node: &Node, mut voice: Voice, seated: &SeatedCall) -> Result<tokio::task::JoinHandle<()>> {
    let channel = node.api().media(&seated.call.id, &seated.seat).await?;
    Ok(tokio::spawn(async move {
        let (notes, _) = mpsc::channel(1);
        voice.carry(channel, &notes, &Arc::default()).await;
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_text_arrives_sharp_with_its_sound_and_the_numbers_say_so() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let (eye, ear) = (Tap::new(), Ear::default());
    let (at_alice, at_bob) = (voice(&Tap::new(), &Ear::default())?, voice(&eye, &ear)?);
    let session = Arc::clone(&at_alice.session);

    let mut events = bob.events();
    let place = PlaceCall { friend: "bob".to_owned(), video: false };
    let seated = alice.api().place_call(place).await?;
    let id = events.wait("the ringing", incoming_call).await?.id;
    let answered = bob.api().answer_call(&id, AnswerCall::default()).await?;
    let tasks = [carry(alice, at_alice, &seated).await?, carry(bob, at_bob, &answered).await?];

    let tone = ShareSound::Source(AudioSource::Tone { frequency: 440.0 });
    let share = Share { source: ScreenSource::Synthetic { seed: SEED }, sound: Some(tone) };
    session.set_screen(Some(share))?;
    alice.api().update_call(&id, CallUpdate { screen: Some(true), ..CallUpdate::default() }).await?;
    bob.eventually("the word of the screen", |api| {
        let id = id.clone();
        async move { Ok(Some(api.call(&id).await?).filter(|call| call.remote_screen && !call.screen)) }
    })
    .await?;

    let page = Page::new(SEED)?;
    let looking = eye.clone();
    let best = tokio::task::spawn_blocking(move || -> Result<f64> {
        let (mut best, end) = (0.0_f64, std::time::Instant::now() + PATIENCE);
        while best < 34.0 {
            let left = end.checked_duration_since(std::time::Instant::now()).context("never sharp")?;
            let picture = looking.wait_beyond(looking.count(), left).context("no picture of the screen")?;
            ensure!((picture.width(), picture.height()) == SIZE, "the page came in another size");
            let tag = Tag::read(&picture).context("the tag cannot be read")?;
            best = best.max(psnr_y(&page.draw_tagged(tag)?, &picture));
        }
        Ok(best)
    })
    .await??;
    eprintln!("the page arrived with {best:.1} dB");

    let numbers = bob
        .eventually("numbers of the screen", |api| {
            let id = id.clone();
            async move {
                let call = api.call(&id).await?;
                let received = call.quality.and_then(|quality| quality.participants.into_iter().next());
                let received = received.map(|participant| participant.received);
                let whole = received.filter(|flow| {
                    flow.sound.is_some() && flow.screen.as_ref().is_some_and(|screen| screen.width == SIZE.0)
                });
                Ok(whole)
            }
        })
        .await?;
    ensure!(numbers.level >= 4, "{numbers:?}");
    bob.eventually("the tone", |_| {
        let power = ear.power();
        async move { Ok((power > 1e-3).then_some(())) }
    })
    .await?;

    alice.api().update_call(&id, CallUpdate { screen: Some(false), ..CallUpdate::default() }).await?;
    bob.eventually("the end of the screen", |api| {
        let id = id.clone();
        async move { Ok((!api.call(&id).await?.remote_screen).then_some(())) }
    })
    .await?;
    alice.api().hangup(&id).await?;
    for task in tasks {
        task.await?;
    }
    Ok(())
}

/// Ends a program when the test does.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An X server with a white desktop; none where there is no Xvfb.
fn xvfb() -> Result<Option<(Ended, String)>> {
    let mut command = Command::new("Xvfb");
    command.args(["-displayfd", "1", "-wr", "-screen", "0", "1280x720x24", "-nolisten", "tcp"]);
    let Ok(mut child) = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
        twocan_tests::foreign::skipped(&anyhow::anyhow!("there is no Xvfb here"));
        return Ok(None);
    };
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
    Ok(Some((Ended(child), format!(":{}", line.trim()))))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_screen_is_shared_from_the_terminal() -> Result<()> {
    let Some((_server, display)) = xvfb()? else { return Ok(()) };
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let folder = tempfile::tempdir()?;
    let film = folder.path().join("seen.y4m");
    let twocan = |node: &Node, arguments: &[&str]| {
        let mut command = Command::new(binary("twocan"));
        command.args(["--home", &node.home().to_string_lossy()]).args(arguments);
        command.args(["--audio-in", "silence", "--audio-out", "none", "--video-out", "none", "--no-live"]);
        command.env_remove("WAYLAND_DISPLAY").env_remove("XDG_SESSION_TYPE").env_remove("DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let out = film.to_string_lossy().into_owned();
    let answering = ["listen", "--auto-answer", "--once", "--screen-out", &out];
    let mut listening = Ended(twocan(bob, &answering).spawn()?);
    let mut calling = twocan(alice, &["call", "bob", "--screen", "--seconds", "6"]);
    let mut calling = Ended(calling.env("DISPLAY", &display).spawn()?);
    let ends = tokio::task::spawn_blocking(move || -> Result<[bool; 2]> {
        Ok([calling.0.wait()?.success(), listening.0.wait()?.success()])
    });
    assert_eq!(tokio::time::timeout(PATIENCE, ends).await.context("the call does not end")???, [true, true]);
    let film = std::fs::read(&film)?;
    let head_end = film.iter().position(|&byte| byte == b'\n').context("a Y4M file")?;
    let head = String::from_utf8_lossy(&film[..head_end]).into_owned();
    ensure!(head.contains("W1280 H720"), "{head}");
    let luma = film.get(head_end + 7..head_end + 7 + 1280 * 720).context("a picture")?;
    let white = luma.iter().filter(|&&luma| luma > 225).count();
    ensure!(white * 100 > luma.len() * 99, "only {white} of {} pixels are white", luma.len());
    Ok(())
}
