//! The window of the bench: the real screens, played through phase by phase.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eframe::egui::{self, Event, Modifiers, MouseWheelUnit, Pos2, Vec2};
use twocan_media::now_ns;

use super::people;
use super::players::{self, Players};
use super::usage::{Memory, Processor};
use crate::app::{self, Guest, Shell};
use crate::pace::Pace;
use crate::seat::{Devices, Film, Live, Place};
use crate::worker::{Options, Worker};

/// What the process says when its window can be used.
pub(super) const USABLE: &str = "usable";
/// Until textures, fonts and caches are there.
const WARM: Duration = Duration::from_secs(3);
/// How long the list scrolls.
const SCROLL: Duration = Duration::from_secs(6);
/// Points per frame of scrolling: a fast wheel.
const STEP: f32 = 160.0;
/// Size of the window.
const SIZE: Vec2 = Vec2::new(1120.0, 720.0);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long the call is looked at.
    pub seconds: u64,
    /// People in it.
    pub people: usize,
    /// Friends in the list.
    pub friends: usize,
    /// How long calls are played faster than time.
    pub growth_seconds: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seconds: 20, people: 4, friends: 10_000, growth_seconds: 30 }
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) renderer: String,
    /// Frames of the window per second of the call.
    pub(super) frames: f64,
    /// Pictures drawn per second, by tile.
    pub(super) tiles: BTreeMap<Place, f64>,
    /// Percent of a core by thread.
    pub(super) processor: BTreeMap<String, f64>,
    /// From due to drawn, in frames of the pictures' rate.
    pub(super) delays: Vec<f64>,
    /// Frames of the call in milliseconds.
    pub(super) frame_ms: Vec<f64>,
    /// Frames while the list scrolls, in milliseconds.
    pub(super) scroll_ms: Vec<f64>,
    pub(super) memory: Memory,
    /// Memory at the first quarter and the end of the long run, and calls and pictures in it.
    pub(super) growth: Option<Growth>,
}

/// The long run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub(super) calls: u64,
    pub(super) pictures: u64,
    pub(super) frames: u64,
    /// kB after the first quarter, and at the end.
    pub(super) early: u64,
    pub(super) late: u64,
}

/// Opens the window as the program does, says when it can be used, and ends.
pub(super) fn start() -> anyhow::Result<()> {
    let home = twocan_control::paths::home().ok_or_else(|| anyhow::anyhow!("there is no home"))?;
    let make = move |creation: &eframe::CreationContext, pace: Pace| -> std::io::Result<Start> {
        let context = creation.egui_ctx.clone();
        let waking = pace.clone();
        let options = Options { home, devices: Devices::default() };
        let worker = Worker::start(options, Arc::new(move || waking.request(&context)))?;
        Ok(Start { worker, shell: Shell::default(), frames: 0 })
    };
    open(make)
}

struct Start {
    worker: Worker,
    shell: Shell,
    frames: u32,
}

impl eframe::App for Start {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        while let Some(update) = self.worker.try_next() {
            self.shell.model.apply(update, 1);
        }
        drop(self.shell.show(ui, 1, self.worker.live()));
        self.frames += 1;
        // What the first frame painted is on the display when the next one begins.
        if self.frames == 2 {
            println!("{USABLE}");
            ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
        }
        ui.ctx().request_repaint();
    }
}

fn open<A: eframe::App + 'static>(
    make: impl FnOnce(&eframe::CreationContext, Pace) -> std::io::Result<A> + 'static,
) -> anyhow::Result<()> {
    let viewport = egui::ViewportBuilder::default().with_title("twocan bench").with_inner_size(SIZE);
    let native = app::native(viewport);
    let make: eframe::AppCreator = Box::new(move |creation| {
        crate::theme::install(&creation.egui_ctx);
        let pace = app::paced(creation);
        Ok(Box::new(make(creation, pace)?))
    });
    let opened = eframe::run_native("twocan-bench", native, make);
    opened.map_err(|error| anyhow::anyhow!("the window cannot be opened: {error}"))
}

/// Plays everything and says what it cost.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Measured> {
    let folder = std::env::temp_dir().join(format!("twocan-gui-films-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let paths: Vec<PathBuf> = (0..plan.people).map(|number| folder.join(format!("{number}.film"))).collect();
    for (seed, path) in (1..).zip(&paths) {
        players::encode(path, seed)?;
    }
    let result = Arc::new(Mutex::new((Measured::default(), None)));
    let (given, wanted, files) = (Arc::clone(&result), plan.clone(), paths.clone());
    let opened = open(move |creation, pace| {
        let context = creation.egui_ctx.clone();
        let waking = pace.clone();
        let wake: crate::worker::Wake = Arc::new(move || waking.request(&context));
        let films: Vec<(PathBuf, Film)> = files.into_iter().map(|path| (path, Film::new(Arc::clone(&wake)))).collect();
        let renderer = creation.gl.as_ref().map(|gl| app::renderer(gl)).unwrap_or_default();
        Ok(Bench::new(wanted, films, pace, renderer, given))
    });
    drop(std::fs::remove_dir_all(&folder));
    opened?;
    let (measured, failed) = std::mem::take(&mut *result.lock().unwrap_or_else(PoisonError::into_inner));
    match failed {
        Some(failed) => Err(failed),
        None => Ok(measured),
    }
}

type Result = Arc<Mutex<(Measured, Option<anyhow::Error>)>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Warm,
    Call,
    Scroll,
    Grow,
}

struct Bench {
    plan: Plan,
    films: Vec<(PathBuf, Film)>,
    pace: Pace,
    result: Result,
    measured: Measured,
    shell: Shell,
    live: Live,
    players: Option<Players>,
    rush: Option<std::thread::JoinHandle<(u64, u64)>>,
    phase: Phase,
    since: Instant,
    before: Processor,
    drawn: BTreeMap<Place, u64>,
    /// What the latest frame drew, when it began.
    latest: Option<(u64, Vec<u64>)>,
    frames: u64,
    second: u64,
    down: bool,
    over: bool,
}

impl Bench {
    fn new(plan: Plan, films: Vec<(PathBuf, Film)>, pace: Pace, renderer: String, result: Result) -> Self {
        Self {
            plan,
            films,
            pace,
            result,
            measured: Measured { renderer, ..Measured::default() },
            shell: Shell::default(),
            live: Live::default(),
            players: None,
            rush: None,
            phase: Phase::Warm,
            since: Instant::now(),
            before: Processor::default(),
            drawn: BTreeMap::new(),
            latest: None,
            frames: 0,
            second: 0,
            down: true,
            over: false,
        }
    }

    fn begin(&mut self, phase: Phase) -> anyhow::Result<()> {
        self.phase = phase;
        self.since = Instant::now();
        self.before = Processor::now();
        (self.frames, self.latest) = (0, None);
        self.drawn.clear();
        match phase {
            Phase::Warm => {
                people::updates(self.plan.friends, true)?
                    .into_iter()
                    .for_each(|update| self.shell.model.apply(update, now()));
                let guests = self.films.iter().enumerate();
                self.shell.guests = guests
                    .map(|(number, (_, film))| Guest { party: people::party(number), film: film.clone() })
                    .collect();
                self.players = Some(Players::start(&self.films)?);
            }
            Phase::Call => {}
            Phase::Scroll => {
                self.players = None;
                self.shell.guests.clear();
                people::updates(self.plan.friends, false)?
                    .into_iter()
                    .for_each(|update| self.shell.model.apply(update, now()));
            }
            Phase::Grow => {
                people::updates(200, true)?.into_iter().for_each(|update| self.shell.model.apply(update, now()));
                self.shell.guests = vec![Guest { party: people::party(0), film: self.films[0].1.clone() }];
                let (path, film) = self.films[0].clone();
                let until = Instant::now() + Duration::from_secs(self.plan.growth_seconds);
                let work = move || {
                    let (mut calls, mut pictures) = (0, 0);
                    while Instant::now() < until {
                        pictures += players::rush(&path, &film).unwrap_or(0);
                        calls += 1;
                    }
                    (calls, pictures)
                };
                self.rush = Some(std::thread::Builder::new().name("rush".into()).spawn(work)?);
            }
        }
        Ok(())
    }

    /// Numbers of the frame that was painted since the last call.
    fn note(&mut self, cpu_usage: Option<f32>) {
        let Some(used) = cpu_usage else { return };
        let ms = f64::from(used) * 1e3;
        match self.phase {
            Phase::Call => {
                self.measured.frame_ms.push(ms);
                if let Some((began, due)) = self.latest.take() {
                    let seen = began as f64 + f64::from(used) * 1e9;
                    let frame = 1e9 / f64::from(players::RATE);
                    self.measured.delays.extend(due.into_iter().map(|due| (seen - due as f64) / frame));
                }
            }
            Phase::Scroll if self.frames > 2 => self.measured.scroll_ms.push(ms),
            _ => {}
        }
    }

    /// What is to be done in this phase; false: the bench is over.
    fn step(&mut self) -> anyhow::Result<bool> {
        let elapsed = self.since.elapsed();
        match self.phase {
            Phase::Warm if elapsed >= WARM => self.begin(Phase::Call)?,
            Phase::Call => {
                if elapsed.as_secs() > self.second {
                    self.second = elapsed.as_secs();
                    self.shell.model.apply(people::numbers(self.second), now());
                }
                if elapsed.as_secs() >= self.plan.seconds {
                    let seconds = elapsed.as_secs_f64();
                    self.measured.processor = Processor::now().since(&self.before, seconds);
                    self.measured.tiles = self.drawn.iter().map(|(place, n)| (*place, *n as f64 / seconds)).collect();
                    self.measured.frames = self.frames as f64 / seconds;
                    self.measured.memory = Memory::now();
                    self.begin(Phase::Scroll)?;
                }
            }
            Phase::Scroll if elapsed >= SCROLL => {
                if self.plan.growth_seconds == 0 {
                    return Ok(false);
                }
                self.begin(Phase::Grow)?;
            }
            Phase::Grow => return self.grow(elapsed),
            _ => {}
        }
        Ok(true)
    }

    fn grow(&mut self, elapsed: Duration) -> anyhow::Result<bool> {
        // An hour of numbers and of what friends do, in each second.
        for _ in 0..20 {
            self.second += 1;
            self.shell.model.apply(people::numbers(self.second), now());
            self.shell.model.apply(people::chatter(usize::try_from(self.second)?)?, now());
        }
        let growth = self.measured.growth.get_or_insert_with(Growth::default);
        if growth.early == 0 && elapsed.as_secs() * 4 >= self.plan.growth_seconds {
            growth.early = Memory::now().ours();
        }
        if self.rush.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
            let (calls, pictures) = self.rush.take().and_then(|rush| rush.join().ok()).unwrap_or_default();
            let frames = self.frames;
            *growth = Growth { calls, pictures, frames, late: Memory::now().ours(), ..*growth };
            return Ok(false);
        }
        Ok(true)
    }

    fn finish(&mut self, context: &egui::Context, failed: Option<anyhow::Error>) {
        (self.players, self.over) = (None, true);
        let measured = std::mem::take(&mut self.measured);
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = (measured, failed);
        context.send_viewport_cmd(egui::ViewportCommand::Close);
    }
}

fn now() -> u64 {
    1_700_000_100_000
}

impl eframe::App for Bench {
    fn raw_input_hook(&mut self, _context: &egui::Context, input: &mut egui::RawInput) {
        if self.phase != Phase::Scroll {
            return;
        }
        // Down to the end and up again, as fast as a hand can turn the wheel.
        if self.since.elapsed() > SCROLL / 2 {
            self.down = false;
        }
        let delta = Vec2::new(0.0, if self.down { -STEP } else { STEP });
        input.events.push(Event::PointerMoved(Pos2::new(120.0, SIZE.y * 0.6)));
        input.events.push(Event::MouseWheel {
            unit: MouseWheelUnit::Point,
            delta,
            phase: egui::TouchPhase::Move,
            modifiers: Modifiers::NONE,
        });
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        if self.over {
            return;
        }
        let began = now_ns();
        self.note(frame.info().cpu_usage);
        self.pace.drawn();
        if self.players.is_none()
            && self.phase == Phase::Warm
            && let Err(error) = self.begin(Phase::Warm)
        {
            return self.finish(ui.ctx(), Some(error));
        }
        match self.step() {
            Ok(true) => {}
            Ok(false) => return self.finish(ui.ctx(), None),
            Err(error) => return self.finish(ui.ctx(), Some(error)),
        }
        drop(self.shell.show(ui, now(), &self.live));
        self.frames += 1;
        for drawn in self.shell.drawn() {
            *self.drawn.entry(drawn.place).or_default() += 1;
        }
        self.latest = Some((began, self.shell.drawn().iter().map(|drawn| drawn.due_ns).collect()));
        match self.phase {
            // As the program does: pictures ask for frames.
            Phase::Warm | Phase::Call => ui.ctx().request_repaint_after(Duration::from_secs(1)),
            Phase::Scroll | Phase::Grow => ui.ctx().request_repaint(),
        }
    }
}
