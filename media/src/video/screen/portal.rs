//! A screen or window that the desktop itself hands out: under Wayland no program sees another's windows unless the
//! person chose them in a dialog of the desktop (its portal). PipeWire then brings the pictures.
//!
//! ```text
//! thread "screen-portal": asks (minutes: a person decides) ─▶ Stage::Live(Stream) ─▶ waits for the desktop to end it
//! grab(): Asking: nothing yet · Live: the stream's latest picture · Over: why, and the share ends
//! ```

mod desktop;
mod permit;
mod pipewire;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use zbus::blocking::Connection;

use super::pixels::convert;
use super::{Error, Grab, Grabbed};
use desktop::{Desktop, Refused};
use pipewire::{Raw, Stream};

/// What the person is told when the share ends without their doing in this program.
const ENDED: &str = "the desktop ended the sharing of the screen";
/// A desktop that was allowed to share brings its first picture within this time.
const FIRST_PICTURE_NS: u64 = 10_000_000_000;

/// What the desktop's dialog shall offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// Screens and windows.
    #[default]
    Any,
    /// Whole screens.
    Screen,
    /// Windows.
    Window,
}

/// What the desktop's dialog can offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Whole screens.
    pub screens: bool,
    /// Windows.
    pub windows: bool,
}

/// A choice that the person makes in the desktop's own dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialog {
    /// What they can choose.
    pub pick: Pick,
    /// What they chose the last time is shared again without asking, if the desktop still allows it.
    pub again: bool,
    /// File that keeps the desktop's permit to do so; nothing is kept without one.
    pub permit: Option<PathBuf>,
}

/// What the desktop's dialog can offer here.
pub(super) fn kinds() -> Result<Kinds, Error> {
    Desktop::connect().and_then(|desktop| desktop.kinds()).map_err(error)
}

/// Where the share stands.
enum Stage {
    /// The person is being asked.
    Asking,
    Live(Stream),
    Over(Error),
}

struct Shared {
    stage: Mutex<Stage>,
    /// Closing it ends the dialog or the share, and the thread.
    connection: OnceLock<Connection>,
    dropped: AtomicBool,
}

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, stage: Stage) {
        let old = std::mem::replace(&mut *self.stage(), stage);
        // A stream ends here, outside of the lock: its thread is waited for.
        drop(old);
    }
}

/// Looks at what the person lets be seen.
pub(super) struct PortalGrab {
    shared: Arc<Shared>,
    last: Option<Raw>,
    fresh: bool,
    /// When the desktop began to share, as far as this has seen.
    live_since: Option<u64>,
}

impl PortalGrab {
    /// Begins to ask; what comes of it, [`Grab::grab`] tells. At most `fps` pictures a second will be wanted.
    pub(super) fn new(dialog: Dialog, fps: u32) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            stage: Mutex::new(Stage::Asking),
            connection: OnceLock::new(),
            dropped: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("screen-portal".into())
            .spawn(move || {
                let over = share(&theirs, &dialog, fps);
                theirs.put(Stage::Over(over));
            })
            .map_err(|error| Error::Thread(error.to_string()))?;
        Ok(Self { shared, last: None, fresh: true, live_since: None })
    }
}

/// Asks, shares and waits for the end; why it ended.
fn share(shared: &Shared, dialog: &Dialog, fps: u32) -> Error {
    let begun = Desktop::connect().and_then(|mut desktop| {
        let _ = shared.connection.set(desktop.connection());
        if shared.dropped.load(Ordering::SeqCst) {
            return Err(Refused::Closed);
        }
        let permit = dialog.permit.as_deref().filter(|_| dialog.again).and_then(permit::read);
        let granted = desktop.ask(dialog.pick, permit.as_deref())?;
        if let Some(file) = &dialog.permit {
            permit::keep(file, granted.permit.as_deref());
        }
        let stream = Stream::open(granted.remote, granted.node, fps).map_err(Refused::Impossible)?;
        shared.put(Stage::Live(stream));
        Ok(desktop)
    });
    error(match begun {
        Ok(desktop) => desktop.wait(),
        Err(refused) => refused,
    })
}

fn error(refused: Refused) -> Error {
    Error::ScreenOver(match refused {
        Refused::Impossible(text) | Refused::Failed(text) => text,
        Refused::Cancelled => "nothing was chosen in the desktop's dialog, so nothing is shared".into(),
        Refused::Closed => ENDED.into(),
    })
}

impl Grab for PortalGrab {
    fn grab(&mut self, now_ns: u64) -> Result<Grabbed, Error> {
        let taken = match &*self.shared.stage() {
            Stage::Asking => return Ok(Grabbed::Same),
            Stage::Over(error) => return Err(error.clone()),
            Stage::Live(stream) => stream.take(self.fresh).map_err(Error::ScreenOver)?,
        };
        let Some(raw) = taken else {
            let since = *self.live_since.get_or_insert(now_ns);
            if self.last.is_none() && now_ns.saturating_sub(since) > FIRST_PICTURE_NS {
                return Err(Error::Screen("the desktop has sent no picture of what is shared yet".into()));
            }
            return Ok(Grabbed::Same);
        };
        if !self.fresh && self.last.as_ref() == Some(&raw) {
            return Ok(Grabbed::Same);
        }
        let mut picture = convert(&raw.pixels, (raw.width, raw.height), raw.order)?.turned(raw.turn);
        picture.time_ns = now_ns;
        (self.last, self.fresh) = (Some(raw), false);
        Ok(Grabbed::New(picture))
    }

    fn fresh(&mut self) {
        self.fresh = true;
    }

    fn over(&mut self) -> Option<Error> {
        match &*self.shared.stage() {
            Stage::Over(error) => Some(error.clone()),
            _ => None,
        }
    }
}

impl Drop for PortalGrab {
    fn drop(&mut self) {
        self.shared.dropped.store(true, Ordering::SeqCst);
        // First the stream, so that its end is not one of the desktop's.
        self.shared.put(Stage::Over(error(Refused::Closed)));
        if let Some(connection) = self.shared.connection.get() {
            // What the portal keeps for this connection, also a dialog that is open, ends with it.
            if let Err(error) = connection.clone().close() {
                tracing::debug!(%error, "the connection to the desktop's portal was closed already");
            }
        }
    }
}
