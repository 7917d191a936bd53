//! The window: joins the worker, the model and the screens.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eframe::egui::{self, ColorImage, TextureHandle, TextureOptions};
use twocan_media::video::{Picture, Tap};

use crate::model::{Model, Update};
use crate::screens::{self, State};
use crate::seat::{Devices, Live};
use crate::theme;
use crate::worker::{Command, Options, Wake, Worker};

/// Times in the window ("5 min ago", the length of a call) are brought up to date this often.
const TICK: Duration = Duration::from_secs(1);

/// Opens the window and stays until it is closed.
///
/// # Errors
/// There is no display, no OpenGL, or no home folder.
pub fn run() -> anyhow::Result<()> {
    let home = twocan_control::paths::home();
    let home = home.ok_or_else(|| anyhow::anyhow!("there is no home folder: set $HOME or $TWOCAN_HOME"))?;
    // For machines without microphone and camera, and for those who want to see how it looks.
    let synthetic = std::env::var_os("TWOCAN_GUI_SYNTHETIC").is_some_and(|value| !value.is_empty());
    let options = Options { home, devices: Devices { synthetic } };
    open(|wake| Worker::start(options, wake))
}

/// Opens the window on a worker of one's choice.
///
/// # Errors
/// There is no display, or no OpenGL.
pub fn open(worker: impl FnOnce(Wake) -> std::io::Result<Worker> + 'static) -> anyhow::Result<()> {
    let viewport = egui::ViewportBuilder::default()
        .with_title("twocan")
        .with_app_id("twocan-gui")
        .with_inner_size([980.0, 660.0])
        .with_min_inner_size([640.0, 420.0]);
    let native = eframe::NativeOptions { viewport, ..Default::default() };
    let make: eframe::AppCreator = Box::new(move |creation| {
        theme::install(&creation.egui_ctx);
        let context = creation.egui_ctx.clone();
        let worker = worker(Arc::new(move || context.request_repaint()))?;
        Ok(Box::new(App { worker, shell: Shell::default() }))
    });
    eframe::run_native("twocan", native, make).map_err(|error| anyhow::anyhow!("the window cannot be opened: {error}"))
}

struct App {
    worker: Worker,
    shell: Shell,
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let now_ms = unix_ms();
        while let Some(update) = self.worker.try_next() {
            self.shell.model.apply(update, now_ms);
        }
        self.shell.model.tidy(now_ms);
        let commands = self.shell.show(ui, now_ms, self.worker.live());
        for command in commands {
            if let Err(error) = self.worker.send(command) {
                self.shell.model.apply(Update::Refused(error), now_ms);
            }
        }
        // Whatever comes from the node or the camera asks for a repaint by itself.
        ui.ctx().request_repaint_after(TICK);
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Everything between the updates and the commands.
#[derive(Default)]
pub struct Shell {
    /// What is shown.
    pub model: Model,
    /// What the person is typing and looking at.
    pub state: State,
    remote: Film,
    own: Film,
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
        let remote = media.as_ref().and_then(|media| self.remote.texture(ui.ctx(), "remote", &media.remote));
        let preview = media.as_ref().and_then(|media| media.preview());
        let own = preview.and_then(|tap| self.own.texture(ui.ctx(), "own", &tap));
        let view = screens::View { now_ms, media: media.as_deref(), remote, own };
        let mut commands = Vec::new();
        screens::show(ui, &mut self.model, &mut self.state, &view, &mut commands);
        commands
    }
}

/// The latest picture of a tap as a texture, uploaded once each.
#[derive(Default)]
struct Film {
    shown: Option<Arc<Picture>>,
    texture: Option<TextureHandle>,
}

impl Film {
    fn texture(&mut self, context: &egui::Context, name: &str, tap: &Tap) -> Option<TextureHandle> {
        let latest = tap.latest()?;
        if !self.shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, &latest)) {
            let size = [latest.width() as usize, latest.height() as usize];
            let image = ColorImage::from_rgba_unmultiplied(size, &latest.to_rgba());
            match &mut self.texture {
                Some(texture) => texture.set(image, TextureOptions::LINEAR),
                None => self.texture = Some(context.load_texture(name, image, TextureOptions::LINEAR)),
            }
            self.shown = Some(latest);
        }
        self.texture.clone()
    }
}
