//! The window: joins the worker, the model and the screens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eframe::egui;
use twocan_media::video::VideoSource;

use crate::attention::Attention;
use crate::model::call::Party;
use crate::model::{self, Model, Update};
use crate::pace::Pace;
use crate::places;
use crate::screens::{self, Dialog, State, View};
use crate::seat::textures::Drawn;
use crate::seat::{Devices, Film, Live, Place, Textures};
use crate::theme;
use crate::worker::{Command, Options, Wake, Worker};
use crate::{clock, text};

/// Times in the window ("5 min ago", the length of a call) are brought up to date this often.
const TICK: Duration = Duration::from_secs(1);

/// What stands for the camera: `moving:NUMBER`, a synthetic picture, or a Y4M or IVF file. For machines without one.
pub const CAMERA_VARIABLE: &str = "TWOCAN_GUI_CAMERA";

fn camera_of(word: &str) -> anyhow::Result<VideoSource> {
    Ok(match word.strip_prefix("moving:") {
        Some(seed) => VideoSource::Moving { seed: seed.parse()? },
        None => VideoSource::file(std::path::Path::new(word))?,
    })
}

/// Opens the window and stays until it is closed; with an address, to ask its owner to be a friend.
///
/// # Errors
/// There is no display, no OpenGL, or no home folder.
pub fn run(address: Option<String>) -> anyhow::Result<()> {
    let home = twocan_control::paths::home();
    let home = home.ok_or_else(|| anyhow::anyhow!("there is no home folder: set $HOME or $TWOCAN_HOME"))?;
    // For machines without microphone and camera, and for those who want to see how it looks.
    let synthetic = std::env::var_os("TWOCAN_GUI_SYNTHETIC").is_some_and(|value| !value.is_empty());
    let camera = std::env::var(CAMERA_VARIABLE).ok().filter(|value| !value.is_empty());
    let camera = camera.map(|word| camera_of(&word)).transpose()?;
    let options = Options { home, devices: Devices { synthetic, camera } };
    let kept = options.home.clone();
    open_kept(synthetic, Some(kept), address, |wake| Worker::start(options, wake))
}

/// Opens the window on a worker of one's choice; with `synthetic` sound the bell is silent, too.
///
/// # Errors
/// There is no display, or no OpenGL.
pub fn open(synthetic: bool, worker: impl FnOnce(Wake) -> std::io::Result<Worker> + 'static) -> anyhow::Result<()> {
    open_kept(synthetic, None, None, worker)
}

/// The same, with what is kept in a home.
fn open_kept(
    synthetic: bool,
    kept: Option<PathBuf>,
    address: Option<String>,
    worker: impl FnOnce(Wake) -> std::io::Result<Worker> + 'static,
) -> anyhow::Result<()> {
    let viewport = egui::ViewportBuilder::default()
        .with_title("twocan")
        .with_app_id("twocan-gui")
        .with_inner_size([980.0, 660.0])
        .with_min_inner_size([640.0, 420.0]);
    let native = native(viewport);
    let make: eframe::AppCreator = Box::new(move |creation| {
        theme::install(&creation.egui_ctx);
        places::install(&creation.egui_ctx);
        let (context, pace) = (creation.egui_ctx.clone(), paced(creation));
        let waking = pace.clone();
        let worker = worker(Arc::new(move || waking.request(&context)))?;
        let attention = Attention::new(&creation.egui_ctx, synthetic);
        let mut state = kept.map(|home| State::of_home(&home, &creation.egui_ctx, synthetic)).unwrap_or_default();
        state.dialog = address.filter(|_| state.first.is_none()).map(|address| Dialog::adding(&address));
        let shell = Shell { state, ..Shell::default() };
        Ok(Box::new(App { worker, pace, attention, shell }))
    });
    eframe::run_native("twocan", native, make).map_err(|error| anyhow::anyhow!("the window cannot be opened: {error}"))
}

/// How a window of this program is made.
pub(crate) fn native(viewport: egui::ViewportBuilder) -> eframe::NativeOptions {
    // Dithering costs a third of each frame where the processor draws, and this window has no gradients.
    eframe::NativeOptions { viewport, dithering: false, ..Default::default() }
}

/// The pace that suits what draws the window.
pub(crate) fn paced(creation: &eframe::CreationContext) -> Pace {
    let pace = Pace::default();
    if let Some(gl) = &creation.gl {
        pace.choose(&renderer(gl));
    }
    pace
}

/// The name of what draws.
#[expect(unsafe_code, reason = "every call of OpenGL is unsafe in its bindings")]
pub(crate) fn renderer(gl: &eframe::glow::Context) -> String {
    use eframe::glow::HasContext as _;
    // SAFETY: the context is current while the program is created, and RENDERER is a name every OpenGL has.
    unsafe { gl.get_parameter_string(eframe::glow::RENDERER) }
}

struct App {
    worker: Worker,
    pace: Pace,
    attention: Attention,
    shell: Shell,
}

impl App {
    fn act(&mut self, commands: Vec<Command>, now_ms: u64) {
        for command in commands {
            if let Err(error) = self.worker.send(command) {
                self.shell.model.apply(Update::Refused(error), now_ms);
            }
        }
    }
}

impl eframe::App for App {
    /// What goes on while the window is hidden, too: calls ring.
    fn logic(&mut self, context: &egui::Context, _frame: &mut eframe::Frame) {
        let now_ms = unix_ms();
        while let Some(update) = self.worker.try_next() {
            self.shell.model.apply(update, now_ms);
        }
        self.shell.model.tidy(now_ms);
        let commands = self.attention.follow(context, &self.shell.model);
        self.act(commands, now_ms);
        // Whatever comes from the node or the camera asks for a repaint by itself.
        context.request_repaint_after(TICK);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let now_ms = unix_ms();
        text::set_offset(clock::offset(i64::try_from(now_ms / 1000).unwrap_or(0)));
        self.pace.drawn();
        let commands = self.shell.show(ui, now_ms, self.worker.live());
        self.act(commands, now_ms);
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Somebody in the call beyond its two ends.
#[derive(Debug)]
pub struct Guest {
    /// Who.
    pub party: Party,
    /// The pictures.
    pub film: Film,
}

/// Everything between the updates and the commands.
#[derive(Default)]
pub struct Shell {
    /// What is shown.
    pub model: Model,
    /// What the person is typing and looking at.
    pub state: State,
    /// The pictures of friends.
    pub faces: screens::Faces,
    /// More people in the call that is shown.
    pub guests: Vec<Guest>,
    textures: Textures,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Shell {
    /// Draws everything; what the person wants done is returned.
    pub fn show(&mut self, ui: &mut egui::Ui, now_ms: u64, live: &Live) -> Vec<Command> {
        let media = live.get();
        let mut parties = self.model.current_call().map(model::call::parties).unwrap_or_default();
        parties.truncate(usize::from(media.is_some() || self.guests.is_empty()));
        let first = parties.first().map_or(0, |party| party.participant);
        let here = media.iter().flat_map(|media| {
            [(Place::Camera(first), &media.camera), (Place::Screen(first), &media.screen), (Place::Own, &media.own)]
        });
        let guests = self.guests.iter().map(|guest| (Place::Camera(guest.party.participant), &guest.film));
        let films: Vec<(Place, &Film)> = here.chain(guests).collect();
        self.textures.refresh(ui.ctx(), films.iter().copied());
        parties.extend(self.guests.iter().map(|guest| guest.party.clone()));
        self.faces.extend(self.state.faces(&self.model));
        let (media, textures, faces) = (media.as_deref(), &self.textures, &self.faces);
        let view = View { now_ms, media, textures, faces, parties: &parties, films: &films };
        let mut commands = Vec::new();
        screens::show(ui, &mut self.model, &mut self.state, &view, &mut commands);
        commands
    }

    /// What the latest frame drew anew of the call's pictures.
    #[must_use]
    pub fn drawn(&self) -> &[Drawn] {
        self.textures.drawn()
    }
}
