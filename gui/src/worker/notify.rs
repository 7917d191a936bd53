//! Desktop notifications of calls, by the freedesktop.org protocol over D-Bus: shown with the same choices as the window
//! that rings, and taken away when the call rings no more. Where there is no bus nothing is shown, and all else works.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twocan_control::CallId;
use zbus::blocking::{Connection, Proxy};
use zbus::zvariant::Value;

/// Notifications that wait for the bus; a call more than these is seen in the window alone.
const QUEUE: usize = 16;
/// The specification's name of the service (Desktop Notifications 1.2).
const SERVICE: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
/// The urgency of something that must be answered now.
const CRITICAL: u8 = 2;
/// Longest writing that is handed to the desktop.
const MAX_TEXT: usize = 200;

/// What a person chose in a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Answer by voice.
    Answer(CallId),
    /// Answer with the camera.
    AnswerVideo(CallId),
    /// Decline.
    Decline(CallId),
    /// Show the window.
    Look,
}

/// What a notification of a call says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Which call.
    pub call: CallId,
    /// Who calls.
    pub title: String,
    /// What happens.
    pub body: String,
    /// The buttons: answer, answer with camera (if it makes sense), decline.
    pub answer: &'static str,
    /// Nothing where the caller sends no picture.
    pub answer_video: Option<&'static str>,
    /// Says no.
    pub decline: &'static str,
}

/// What is to be done.
#[derive(Debug)]
enum Work {
    Show(Card),
    Close(CallId),
}

/// Shows notifications. Dropping it takes them away.
#[derive(Debug)]
pub struct Notifier {
    work: SyncSender<Work>,
}

type Shown = Arc<Mutex<BTreeMap<u32, CallId>>>;

impl Notifier {
    /// Connects in the background; `chosen` is called with what a person chose, from a thread of its own. `None` if the
    /// system gives no thread.
    #[must_use]
    pub fn start(chosen: impl Fn(Chosen) + Send + Sync + 'static) -> Option<Self> {
        let (work, todo) = sync_channel(QUEUE);
        let run = move || {
            if let Err(error) = serve(&todo, Arc::new(chosen)) {
                eprintln!("twocan-gui: no desktop notifications: {error}");
            }
        };
        std::thread::Builder::new().name("notify".into()).spawn(run).ok()?;
        Some(Self { work })
    }

    /// Shows this. Never waits.
    pub fn show(&self, card: Card) {
        drop(self.work.try_send(Work::Show(card)));
    }

    /// Takes the notification of that call away. Never waits.
    pub fn close(&self, call: CallId) {
        drop(self.work.try_send(Work::Close(call)));
    }
}

fn serve(todo: &Receiver<Work>, chosen: Arc<dyn Fn(Chosen) + Send + Sync>) -> zbus::Result<()> {
    // The bus is asked for when there is something to show: most runs of the program need none.
    let mut desk: Option<Desk> = None;
    while let Ok(work) = todo.recv() {
        if desk.is_none() {
            desk = Some(Desk::open(Arc::clone(&chosen))?);
        }
        let Some(desk) = &desk else { continue };
        match work {
            Work::Show(card) => desk.show(&card)?,
            Work::Close(call) => desk.close(|id| *id == call)?,
        }
    }
    desk.map_or(Ok(()), |desk| desk.close(|_| true))
}

struct Desk {
    proxy: Proxy<'static>,
    shown: Shown,
}

impl Desk {
    fn open(chosen: Arc<dyn Fn(Chosen) + Send + Sync>) -> zbus::Result<Self> {
        let connection = Connection::session()?;
        let proxy = Proxy::new(&connection, SERVICE, PATH, SERVICE)?;
        let shown = Shown::default();
        let signals = proxy.receive_signal("ActionInvoked")?;
        let known = Arc::clone(&shown);
        let listen = move || {
            for message in signals {
                let Ok((id, action)) = message.body().deserialize::<(u32, String)>() else { continue };
                // Other programs' notifications are none of our business.
                let call = lock(&known).get(&id).cloned();
                if let Some(choice) = call.and_then(|call| choice(call, &action)) {
                    chosen(choice);
                }
            }
        };
        std::thread::Builder::new().name("notify-hear".into()).spawn(listen).map_err(zbus::Error::from)?;
        Ok(Self { proxy, shown })
    }

    fn show(&self, card: &Card) -> zbus::Result<()> {
        let mut actions = vec!["default", "", "answer", card.answer];
        if let Some(label) = card.answer_video {
            actions.extend(["answer-video", label]);
        }
        actions.extend(["decline", card.decline]);
        let hints = BTreeMap::from([
            ("urgency", Value::from(CRITICAL)),
            ("category", Value::from("call.incoming")),
            ("desktop-entry", Value::from("twocan-gui")),
            // The window rings.
            ("suppress-sound", Value::from(true)),
        ]);
        let id: u32 = self.proxy.call(
            "Notify",
            &("twocan", 0_u32, "twocan-gui", plain(&card.title), plain(&card.body), actions, hints, 0_i32),
        )?;
        lock(&self.shown).insert(id, card.call.clone());
        Ok(())
    }

    fn close(&self, which: impl Fn(&CallId) -> bool) -> zbus::Result<()> {
        let gone: Vec<u32> = lock(&self.shown).iter().filter(|(_, call)| which(call)).map(|(id, _)| *id).collect();
        for id in gone {
            lock(&self.shown).remove(&id);
            // It may be gone already: the person closed it.
            drop(self.proxy.call_method("CloseNotification", &(id,)));
        }
        Ok(())
    }
}

fn lock(shown: &Shown) -> MutexGuard<'_, BTreeMap<u32, CallId>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

fn choice(call: CallId, action: &str) -> Option<Chosen> {
    Some(match action {
        "answer" => Chosen::Answer(call),
        "answer-video" => Chosen::AnswerVideo(call),
        "decline" => Chosen::Decline(call),
        "default" => Chosen::Look,
        _ => return None,
    })
}

/// Foreign writing as the desktop may show it: some read marks of HTML in it.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_write_marks_and_buttons_mean_what_they_say() {
        assert_eq!(plain("<b>Bea</b> & \u{7}co"), "&lt;b&gt;Bea&lt;/b&gt; &amp; co");
        assert_eq!(plain(&"x".repeat(5000)).len(), MAX_TEXT);
        let call = || "1".to_owned();
        assert_eq!(choice(call(), "answer"), Some(Chosen::Answer(call())));
        assert_eq!(choice(call(), "default"), Some(Chosen::Look));
        assert_eq!(choice(call(), "rm -rf"), None);
    }
}
