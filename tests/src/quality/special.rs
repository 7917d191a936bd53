//! Cells of their own kind: the step of the rate, silence, and what a call costs the machine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::sleep;
use twocan_control::{AnswerCall, CallState, Client, Event, Handle, PlaceCall};
use twocan_media::audio::AudioSource;
use twocan_media::measure::Piece;
use twocan_media::video;
use twocan_media::video::Turn;
use twocan_media::video::moving::Scene;

use super::call::{Bench, Measure, Raw};
use super::cells::{Cell, grid};
use super::person::{Person, Plan};
use super::report::{Cpu, RateStep, Silence};
use super::score::{median, percentile};
use super::speech;
use super::wire::Class;
use crate::lab::link::Conditions;

/// The step of the rate: wide, narrow, wide again, each for so long.
const WIDE: u64 = 4_000_000;
const NARROW: u64 = 700_000;
const PHASE: Duration = Duration::from_secs(15);
/// What the bottleneck holds back.
const STEP_QUEUE: Duration = Duration::from_millis(300);
/// A picture that can fill the wide line.
const LARGE: video::Settings =
    video::Settings { width: 1280, height: 720, fps: 30, max_bitrate: 3_500_000, turn: Turn::None };
/// The rate is back when so much of it is.
const BACK: f64 = 0.8;
/// Pictures of the call whose cost is measured, and how many there are before they begin anew.
const COSTED: video::Settings =
    video::Settings { width: 640, height: 480, fps: 30, max_bitrate: 800_000, turn: Turn::None };
const FILM: u64 = 150;
/// Longest voice delay that is looked for.
const MAX_DELAY_MS: u64 = 5_000;

fn base() -> Result<Cell> {
    grid().into_iter().next().context("the grid is empty")
}

/// Four megabits, 700 kilobits, four megabits: how late the voice gets, and how fast the picture comes back.
///
/// # Errors
/// The call fails.
pub async fn rate_step(bench: &Bench, folder: &Path) -> Result<RateStep> {
    let line = |rate| Conditions { rate: Some(rate), queue: Some(STEP_QUEUE), ..Conditions::default() };
    let mut plans = super::call::plans(0, folder, false)?;
    plans[0].picture = Some((1, LARGE));
    let measure = Measure {
        cell: Cell { line: line(WIDE), ..base()? },
        // The rate has to be found first.
        settle: Duration::from_secs(8),
        window: PHASE * 3,
        plans,
        steps: vec![(PHASE, line(NARROW)), (PHASE * 2, line(WIDE))],
    };
    let raw = bench.call(&measure).await?;
    let wire = bench.wires[0].clone();
    let judge = move || judge_step(&raw, &wire);
    tokio::task::spawn_blocking(judge).await.context("judging panicked")
}

fn judge_step(raw: &Raw, wire: &super::wire::Wire) -> RateStep {
    let phase = u64::try_from(PHASE.as_nanos()).unwrap_or(u64::MAX);
    let (begin, second) = (raw.window.0, 1_000_000_000);
    let (fall, back) = (begin + phase, begin + 2 * phase);
    let probe =
        twocan_media::measure::DelayProbe { sent: raw.notes[0].said.clone(), received: raw.notes[1].heard.clone() };
    let (pieces, _) = probe.pieces(raw.window.0..raw.window.1, MAX_DELAY_MS);
    let narrow = |piece: &&Piece| (fall + second..back).contains(&piece.heard_ns);
    let delays: Vec<f64> = pieces.iter().filter(narrow).map(|piece| piece.delay_ms).collect();
    let before = wire.rate(fall - 5 * second, fall, Class::of_media);
    let at = |time: u64| (time as f64 - begin as f64) / 1e9;
    let recovered = wire.rates(back, raw.window.1, second / 20, second / 2);
    // The half second before the return is of the narrow line.
    let recovered = recovered.into_iter().find(|(time, rate)| *time >= back + second / 2 && *rate >= BACK * before);
    let rates = wire.rates(begin, raw.window.1, second / 5, second / 2);
    RateStep {
        audio_delay_p95_ms: percentile(&delays, 0.95),
        audio_delay_p50_ms: median(&delays),
        recovery_s: recovered.map(|(time, _)| at(time) - at(back)),
        used: wire.rate(fall + 3 * second, back, Class::of_media) / NARROW as f64,
        before_kbit_s: before / 1e3,
        wire: rates.into_iter().map(|(time, rate)| (at(time), rate / 1e3)).collect(),
        target: raw.samples[0].iter().map(|sample| (at(sample.at_ns), sample.target / 1e3)).collect(),
        delay: pieces.iter().map(|piece| (at(piece.heard_ns), piece.delay_ms)).collect(),
    }
}

/// Two people who say nothing and show nothing.
///
/// # Errors
/// The call fails.
pub async fn silence(bench: &Bench) -> Result<Silence> {
    let quiet = Plan { voice: AudioSource::Silence, picture: None, film: None, watched: true };
    let measure = Measure {
        cell: base()?,
        settle: Duration::from_secs(8),
        window: Duration::from_secs(20),
        plans: [quiet.clone(), quiet],
        steps: Vec::new(),
    };
    let raw = bench.call(&measure).await?;
    let (from, to) = raw.window;
    let of = |at: usize| {
        let kbit = |class| bench.wires[at].rate(from, to, |one| one == class) / 1e3;
        Silence {
            kbit_s: bench.wires[at].rate(from, to, Class::of_media) / 1e3,
            voice_kbit_s: kbit(Class::Voice),
            rtcp_kbit_s: kbit(Class::Report),
            stun_kbit_s: kbit(Class::Stun),
            link_kbit_s: kbit(Class::Other),
        }
    };
    let (one, other) = (of(0), of(1));
    Ok(if one.kbit_s > other.kbit_s { one } else { other })
}

/// Node and client of a call with voice and 640x480 pictures at 30 a second, as processes of their own: the mean of
/// both sides.
///
/// # Errors
/// The call fails.
pub async fn cpu(bench: &Bench, window: Duration, folder: &Path) -> Result<Cpu> {
    let film = folder.join("film.y4m");
    write_film(&film)?;
    let homes = [0, 1].map(|at: usize| bench.pair.nodes[at].home().to_owned());
    let _callee = seat_process(&homes[1], None, 3, &film, folder)?;
    // It follows events from its start on; a call before would not be seen.
    sleep(Duration::from_millis(500)).await;
    let caller = seat_process(&homes[0], Some("bob"), 2, &film, folder)?;
    let clients = [caller.id(), _callee.id()].map(Option::unwrap_or_default);
    let api = bench.pair.nodes[0].api();
    let mut active = false;
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
        active = api.calls().await?.iter().any(|call| call.state == CallState::Active);
        if active {
            break;
        }
    }
    if !active {
        bail!("the call of two processes does not come about");
    }
    sleep(Duration::from_secs(6)).await;
    let nodes = [0, 1].map(|at: usize| bench.pair.nodes[at].pid());
    let used = |pid: &u32| cpu_seconds(*pid).with_context(|| format!("process {pid} is gone"));
    let before = nodes.iter().chain(&clients).map(used).collect::<Result<Vec<f64>>>()?;
    let begun = std::time::Instant::now();
    sleep(window).await;
    let seconds = begun.elapsed().as_secs_f64();
    let after = nodes.iter().chain(&clients).map(used).collect::<Result<Vec<f64>>>()?;
    let percent: Vec<f64> = before.iter().zip(&after).map(|(a, b)| (b - a) / seconds * 100.0).collect();
    let memory = |pids: &[u32]| pids.iter().filter_map(|pid| rss_mb(*pid)).sum::<f64>() / pids.len() as f64;
    let cost = Cpu {
        percent: percent.iter().sum::<f64>() / 2.0,
        node: percent[..2].iter().sum::<f64>() / 2.0,
        client: percent[2..].iter().sum::<f64>() / 2.0,
        node_mb: memory(&nodes),
        client_mb: memory(&clients),
    };
    for call in api.calls().await? {
        // One that ended meanwhile is no fault.
        let _ = api.hangup(&call.id).await;
    }
    Ok(cost)
}

fn write_film(path: &Path) -> Result<()> {
    let scene = Scene::new(COSTED.width, COSTED.height, 1)?;
    let mut writer = video::y4m::Writer::create(path)?;
    for number in 0..FILM {
        writer.write(&Arc::new(scene.draw(number, number * 1_000_000_000 / u64::from(COSTED.fps))))?;
    }
    writer.finish()?;
    Ok(())
}

fn seat_process(home: &Path, call: Option<&str>, voice: usize, film: &Path, folder: &Path) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("seat").arg("--home").arg(home).arg("--film").arg(film);
    command.arg("--voice").arg(speech::speak(voice, folder)?);
    if let Some(friend) = call {
        command.args(["--call", friend]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().context("cannot start a client")
}

/// One client as a process: calls a friend, or answers the next call, and stays until it is over.
///
/// # Errors
/// No node, no call.
pub async fn seat(home: &Path, call: Option<&str>, voice: PathBuf, film: PathBuf) -> Result<()> {
    use futures::StreamExt;
    let api = Client::connect(home).await?;
    let mut events = api.events().await?;
    let mut person = Person::start(&Plan {
        voice: AudioSource::Wav { path: voice, repeat: true },
        picture: Some((1, COSTED)),
        film: Some(film),
        watched: false,
    })?;
    let id = match call {
        Some(friend) => {
            let seated = api.place_call(PlaceCall { friend: friend.to_owned(), video: true }).await?;
            let id = seated.call.id.clone();
            person.sit(&api, seated)?;
            id
        }
        None => loop {
            match events.next().await {
                Some(Event::CallIncoming { call }) => {
                    sleep(Duration::from_millis(700)).await;
                    person.sit(&api, api.answer_call(&call.id, AnswerCall { video: true }).await?)?;
                    break call.id;
                }
                Some(_) => {}
                None => bail!("the node went away"),
            }
        },
    };
    while let Some(event) = events.next().await {
        if matches!(&event, Event::Call { call } if call.id == id && call.state == CallState::Ended) {
            break;
        }
    }
    person.finish().await;
    Ok(())
}

/// CPU seconds of a process: fields 14 and 15 of `/proc/PID/stat`, in ticks of 10 ms (proc(5)).
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / 100.0)
}

fn rss_mb(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0 / 1e6)
}
