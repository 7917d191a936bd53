//! What runs inside of the worker's thread: connect, ask for the state, follow events, do commands; and again, when the
//! node goes away.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;
use twocan_control::{
    AnswerCall, Call, CallId, CallUpdate, Code, Decline, Error, Event, FriendId, FriendUpdate, Handle, Passphrase,
    PlaceCall, Profile, Result, SetAvailability, TakeSeat,
};

use twocan_media::session::Share;
use twocan_media::settings::{MediaSettings, Store};
use twocan_media::video::screen;

use super::{Command, Options, Wake};
use crate::model::call::gear::{Found, Gear, Look};
use crate::model::{Snapshot, Update};
use crate::seat::{self, Act, Live, Media};

/// How often a node that is not there is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How often the numbers of the status are asked for.
const REFRESH: Duration = Duration::from_secs(5);
/// `twocan up` must have started a node within this time.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The call whose sound is here.
struct Running {
    call: CallId,
    media: Arc<Media>,
    task: AbortHandle,
}

/// How often the numbers of the call that is here are asked for.
const ASK: Duration = Duration::from_secs(1);

/// What commands share.
#[derive(Clone)]
pub(super) struct Desk {
    options: Options,
    updates: mpsc::Sender<Update>,
    wake: Wake,
    live: Live,
    running: Arc<Mutex<Option<Running>>>,
}

pub(super) struct Engine {
    desk: Desk,
}

/// How a call is entered.
enum Entry {
    /// By calling this friend.
    Place(FriendId),
    /// By answering.
    Answer(CallId),
    /// By taking the sound of a running one here.
    Join(CallId),
}

/// Why following a node ended.
enum Left {
    /// The window is gone.
    Window,
    /// The node is gone, or wants to be asked anew.
    Node,
}

impl Engine {
    pub(super) fn new(options: Options, updates: mpsc::Sender<Update>, wake: Wake, live: Live) -> Self {
        Self { desk: Desk { options, updates, wake, live, running: Arc::default() } }
    }

    pub(super) async fn run<H, C, F>(self, connect: C, mut commands: mpsc::Receiver<Command>)
    where
        H: Handle,
        C: Fn() -> F,
        F: Future<Output = Result<H>>,
    {
        loop {
            match connect().await {
                Ok(node) => match self.follow(&node, &mut commands).await {
                    Ok(Left::Window) => break,
                    Ok(Left::Node) => continue,
                    Err(error) => self.desk.tell(Update::Missing(error)).await,
                },
                Err(error) => self.desk.tell(Update::Missing(error)).await,
            }
            if self.without_node(&mut commands).await {
                break;
            }
        }
        self.desk.leave().await;
    }

    /// Waits a little, or until a command makes looking again worthwhile. True when the window is gone.
    async fn without_node(&self, commands: &mut mpsc::Receiver<Command>) -> bool {
        let pause = tokio::time::sleep(LOOK);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return false,
                command = commands.recv() => match command {
                    None => return true,
                    Some(Command::Restore { secret, file }) => {
                        let home = &self.desk.options.home;
                        let restored = restore(home, &secret, file.as_deref()).await;
                        let told = match restored {
                            Ok(()) => start_node(home).await,
                            Err(error) => Err(error),
                        };
                        if let Err(error) = told {
                            self.desk.tell(Update::Refused(error)).await;
                        }
                        return false;
                    }
                    Some(Command::RestartNode) => {
                        let home = &self.desk.options.home;
                        // If there is nothing to be stopped, starting says what is the matter.
                        drop(run_twocan(home, &["down"], None).await);
                        if let Err(error) = start_node(home).await {
                            self.desk.tell(Update::Refused(error)).await;
                        }
                        return false;
                    }
                    Some(Command::StartNode) => {
                        if let Err(error) = start_node(&self.desk.options.home).await {
                            self.desk.tell(Update::Refused(error)).await;
                        }
                        return false;
                    }
                    Some(_) => {
                        let error = Error::new(Code::NoNode, "your node does not run");
                        self.desk.tell(Update::Refused(error)).await;
                    }
                },
            }
        }
    }

    async fn follow<H: Handle>(&self, node: &H, commands: &mut mpsc::Receiver<Command>) -> Result<Left> {
        if node.status().await?.locked {
            return self.locked(node, commands).await;
        }
        // Events first: what changes while the state is asked for is told after it.
        let mut events = node.events().await?;
        let snapshot = Snapshot {
            identity: node.identity().await?,
            status: node.status().await?,
            friends: node.friends().await?,
            requests: node.requests().await?,
            calls: node.calls().await?,
        };
        self.desk.tell(Update::Connected(snapshot)).await;
        let mut refresh = tokio::time::interval_at(tokio::time::Instant::now() + REFRESH, REFRESH);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    None | Some(Event::Stopping) => return Ok(Left::Node),
                    Some(event) => {
                        if let Event::Call { call } = &event {
                            self.desk.follow_call(node, call).await;
                        }
                        self.desk.tell(Update::Event(event)).await;
                    }
                },
                command = commands.recv() => match command {
                    None => return Ok(Left::Window),
                    Some(command) => {
                        let (desk, node) = (self.desk.clone(), node.clone());
                        drop(tokio::spawn(async move { desk.execute(node, command).await }));
                    }
                },
                _ = refresh.tick() => self.desk.refresh(node).await,
            }
        }
    }

    async fn locked<H: Handle>(&self, node: &H, commands: &mut mpsc::Receiver<Command>) -> Result<Left> {
        self.desk.tell(Update::Locked).await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {
                    if !node.status().await?.locked {
                        return Ok(Left::Node);
                    }
                }
                command = commands.recv() => match command {
                    None => return Ok(Left::Window),
                    Some(Command::Unlock(passphrase)) => match node.unlock(passphrase).await {
                        Ok(()) => return Ok(Left::Node),
                        Err(error) => self.desk.tell(Update::Refused(error)).await,
                    },
                    Some(_) => {
                        let error = Error::new(Code::Locked, "the node is locked; give its passphrase first");
                        self.desk.tell(Update::Refused(error)).await;
                    }
                },
            }
        }
    }
}

impl Desk {
    pub(super) fn home(&self) -> &Path {
        &self.options.home
    }

    pub(super) async fn tell(&self, update: Update) {
        // Without a window there is nobody to tell.
        drop(self.updates.send(update).await);
        (self.wake)();
    }

    pub(super) async fn refresh<H: Handle>(&self, node: &H) {
        // If the node is gone the event stream says so.
        if let (Ok(identity), Ok(status)) = (node.identity().await, node.status().await) {
            self.tell(Update::Refreshed { identity, status }).await;
        }
    }

    async fn execute<H: Handle>(&self, node: H, command: Command) {
        if let Err(error) = self.attempt(node, command).await {
            self.tell(Update::Refused(error)).await;
        }
    }

    async fn attempt<H: Handle>(&self, node: H, command: Command) -> Result<()> {
        match command {
            Command::Call { friend, video } => self.take_part(&node, Entry::Place(friend), video).await,
            Command::Answer { call, video } => self.take_part(&node, Entry::Answer(call), video).await,
            Command::Join { call } => self.take_part(&node, Entry::Join(call), false).await,
            Command::Decline { call, text } => node.decline_call(&call, Decline { text }).await,
            Command::Hangup { call } => node.hangup(&call).await,
            Command::Mute { call, muted } => {
                if let Some(media) = self.media_of(&call).await {
                    media.set_muted(muted);
                }
                node.update_call(&call, CallUpdate { muted: Some(muted), ..CallUpdate::default() }).await.map(drop)
            }
            Command::Video { call, on } => self.set_video(&node, &call, on).await,
            Command::Hold { call, held } => hold(&node, &call, held).await,
            Command::InCall { call, act } => self.act(&node, call, act).await,
            Command::Look(look) => {
                self.look(look).await;
                Ok(())
            }
            Command::Add(add) => {
                let friend = node.add_friend(add).await?;
                self.tell(Update::Done(format!("{} is asked as soon as both of you are online", friend.name))).await;
                Ok(())
            }
            Command::AnswerRequest { id, answer } => node.answer_request(&id, answer).await,
            Command::Rename { friend, name } => node
                .update_friend(&friend, FriendUpdate { name: Some(name), ..FriendUpdate::default() })
                .await
                .map(drop),
            Command::Verify { friend, verified } => node
                .update_friend(&friend, FriendUpdate { verified: Some(verified), ..FriendUpdate::default() })
                .await
                .map(drop),
            Command::Remove { friend } => node.remove_friend(&friend).await,
            Command::SetAvailability(availability) => node.set_availability(SetAvailability { availability }).await,
            Command::SetName(name) => {
                node.set_profile(Profile { name }).await?;
                self.refresh(&node).await;
                Ok(())
            }
            Command::Node(command) => self.page(&node, command).await,
            Command::Unlock(_) | Command::StartNode | Command::RestartNode | Command::Restore { .. } => Ok(()),
        }
    }

    /// Opens the devices while the node works on the call, and joins the two. A call that is here already is held: who
    /// is in it hears nothing of the other one.
    async fn take_part<H: Handle>(&self, node: &H, entry: Entry, video: bool) -> Result<()> {
        let (devices, wake) = (self.options.devices.clone(), Arc::clone(&self.wake));
        self.put_aside(node, &entry).await;
        let settings = self.settings().await;
        let chosen = settings.clone();
        let opening = tokio::task::spawn_blocking(move || Media::open(&devices, &chosen, video, &wake));
        let resumed = matches!(entry, Entry::Join(_));
        let seated = match entry {
            Entry::Place(friend) => node.place_call(PlaceCall { friend, video }).await?,
            Entry::Answer(call) => node.answer_call(&call, AnswerCall { video }).await?,
            Entry::Join(call) => node.take_seat(&call, TakeSeat::default()).await?,
        };
        let call = seated.call.id.clone();
        let opened = opening.await.map_err(|_| Error::new(Code::Internal, "the devices cannot be opened"))?;
        let (media, outgoing, trouble) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // A call without sound helps nobody; the refusal says why.
                node.hangup(&call).await?;
                return Err(error);
            }
        };
        media.set_muted(seated.call.muted);
        media.set_volume(settings.gain(&seated.call.friend));
        let media = Arc::new(media);
        let mut running = self.running.lock().await;
        let carrying = {
            let (desk, node, media, call) = (self.clone(), node.clone(), Arc::clone(&media), call.clone());
            async move {
                let kept = seat::keep(node.clone(), call.clone(), seated.seat, media, outgoing, desk.updates.clone());
                let lost = tokio::select! {
                    lost = kept => lost,
                    never = desk.watch(&node, &call) => never,
                };
                if let Some(error) = lost {
                    desk.tell(Update::Refused(error)).await;
                }
                desk.left(&call).await;
            }
        };
        self.live.set(Some(Arc::clone(&media)));
        let task = tokio::spawn(carrying).abort_handle();
        *running = Some(Running { call: call.clone(), media, task });
        drop(running);
        self.tell(Update::Seat(Some(call.clone()))).await;
        if let Some(trouble) = trouble {
            self.tell(trouble).await;
        }
        if resumed {
            self.take_up(node, &seated.call, video).await?;
        }
        Ok(())
    }

    /// Holds the call that is here, if it is another one, and gives its devices up: one call has them at a time.
    async fn put_aside<H: Handle>(&self, node: &H, entry: &Entry) {
        let old = self.running.lock().await.as_ref().map(|running| running.call.clone());
        let same = |old: &CallId| matches!(entry, Entry::Answer(new) | Entry::Join(new) if new == old);
        if let Some(old) = old.filter(|old| !same(old)) {
            // A call that is just ending cannot be held, and need not be.
            drop(hold(node, &old, true).await);
        }
        self.leave().await;
    }

    /// A call that was put aside goes on: heard again, and with the picture as it was.
    async fn take_up<H: Handle>(&self, node: &H, call: &Call, video: bool) -> Result<()> {
        if call.held {
            hold(node, &call.id, false).await?;
        }
        if call.screen {
            // No screen is shown to anybody without a person's act.
            let update = CallUpdate { screen: Some(false), ..CallUpdate::default() };
            node.update_call(&call.id, update).await?;
        }
        if call.video && !video { self.set_video(node, &call.id, true).await } else { Ok(()) }
    }

    /// Tells the numbers of a call as long as it is here.
    async fn watch<H: Handle>(&self, node: &H, call: &CallId) -> Option<Error> {
        let mut ask = tokio::time::interval_at(tokio::time::Instant::now() + ASK, ASK);
        loop {
            ask.tick().await;
            if let Ok(now) = node.call(call).await
                && let Some(quality) = now.quality
            {
                self.tell(Update::Quality { call: call.clone(), quality }).await;
            }
        }
    }

    /// What anybody changed in the call that is here reaches its devices and its recording.
    async fn follow_call<H: Handle>(&self, node: &H, call: &Call) {
        let Some(media) = self.media_of(&call.id).await else { return };
        let own = node.identity().await.map(|identity| identity.name).unwrap_or_default();
        let (call, folder) = (call.clone(), seat::record::folder(&self.options.home));
        let id = call.id.clone();
        let followed = tokio::task::spawn_blocking(move || media.follow(&call, &own, &folder)).await;
        let Ok(step) = followed else { return };
        if let Some(text) = step.trouble {
            self.tell(Update::Refused(Error::new(Code::Storage, text))).await;
        }
        if let Some(report) = step.finished {
            self.tell(Update::Recorded(report.path)).await;
        }
        if let Some(act) = step.tell
            && let Err(error) = node.record_call(&id, act).await
        {
            self.tell(Update::Refused(error)).await;
        }
    }

    /// What a person does in a call.
    async fn act<H: Handle>(&self, node: &H, call: CallId, act: Act) -> Result<()> {
        if let Act::Record(record) = &act {
            return node.record_call(&call, record.clone()).await.map(drop);
        }
        self.keep(&act).await?;
        let Some(media) = self.media_of(&call).await else { return Ok(()) };
        let sharing = match &act {
            Act::Share(share) => Some(share.is_some()),
            _ => None,
        };
        let permit = Store::in_home(&self.options.home).screen_permit();
        let work = move || match act {
            // Where the desktop asks what may be seen, its permit is kept, so that it need not ask again.
            Act::Share(share) => {
                media.share(share.map(|share| Share { source: share.source.with_permit(permit), ..share }))
            }
            act => media.act(&act),
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Error::new(Code::Internal, "the device cannot be opened"))??;
        match sharing {
            Some(on) => {
                let update = CallUpdate { screen: Some(on), ..CallUpdate::default() };
                node.update_call(&call, update).await.map(drop)
            }
            None => Ok(()),
        }
    }

    /// What a person chose is kept for the next calls.
    async fn keep(&self, act: &Act) -> Result<()> {
        if matches!(act, Act::Share(_) | Act::Talk(_) | Act::Record(_)) {
            return Ok(());
        }
        let (act, store) = (act.clone(), Store::in_home(&self.options.home));
        let change = move |settings: &mut MediaSettings| match act {
            Act::Microphone(id) => settings.audio.microphone = id,
            Act::Speaker(id) => settings.audio.speaker = id,
            Act::Camera(name) => settings.video.camera = name,
            Act::Volume { friend, percent } => settings.set_volume(&friend, percent),
            Act::Processing(processing) => settings.set_processing(processing),
            Act::Share(_) | Act::Talk(_) | Act::Record(_) => {}
        };
        let kept = tokio::task::spawn_blocking(move || store.update(change)).await;
        match kept {
            Ok(Err(error)) => Err(Error::new(Code::Storage, error.to_string())),
            _ => Ok(()),
        }
    }

    /// What people chose for sound and picture. A broken file is as none here: the settings page tells of it.
    async fn settings(&self) -> MediaSettings {
        let store = Store::in_home(&self.options.home);
        tokio::task::spawn_blocking(move || store.load().settings).await.unwrap_or_default()
    }

    /// Looks what there is to choose from.
    async fn look(&self, look: Look) {
        let found = match look {
            Look::Screens => {
                let offer = tokio::task::spawn_blocking(|| screen::offer().map_err(|error| error.to_string())).await;
                Found::Screens(offer.unwrap_or_else(|_| Ok(screen::Offer::default())))
            }
            Look::Gear => {
                let store = Store::in_home(&self.options.home);
                let gear = tokio::task::spawn_blocking(move || Gear::of_machine(store.load().settings)).await;
                Found::Gear(Box::new(gear.unwrap_or_default()))
            }
        };
        self.tell(Update::Found(found)).await;
    }

    async fn media_of(&self, call: &str) -> Option<Arc<Media>> {
        let running = self.running.lock().await;
        running.as_ref().filter(|running| running.call == call).map(|running| Arc::clone(&running.media))
    }

    async fn set_video<H: Handle>(&self, node: &H, call: &str, on: bool) -> Result<()> {
        let mut on = on;
        if let Some(media) = self.media_of(call).await {
            let settings = self.settings().await;
            let source = on.then(|| self.options.devices.camera(&settings));
            let set = tokio::task::spawn_blocking(move || media.set_video(source)).await;
            match set.map_err(|_| Error::new(Code::Internal, "the camera cannot be opened"))? {
                Some(trouble) => {
                    on = false;
                    self.tell(trouble).await;
                }
                None => self.tell(Update::Device { part: "camera", trouble: None }).await,
            }
        }
        node.update_call(call, CallUpdate { video: Some(on), ..CallUpdate::default() }).await.map(drop)
    }

    /// That call's media are over.
    async fn left(&self, call: &str) {
        let mut running = self.running.lock().await;
        if running.as_ref().is_some_and(|running| running.call == call) {
            self.live.set(None);
            let old = running.take();
            drop(running);
            if let Some(report) = old.as_ref().and_then(|old| old.media.stop_recording()) {
                self.tell(Update::Recorded(report.path)).await;
            }
            close(old);
            self.tell(Update::Seat(None)).await;
        }
    }

    /// Whatever call has its media here gives them up.
    async fn leave(&self) {
        let old = self.running.lock().await.take();
        if let Some(old) = old {
            old.task.abort();
            if let Some(report) = old.media.stop_recording() {
                self.tell(Update::Recorded(report.path)).await;
            }
            self.live.set(None);
            close(Some(old));
            self.tell(Update::Seat(None)).await;
        }
    }
}

async fn hold<H: Handle>(node: &H, call: &str, held: bool) -> Result<()> {
    node.update_call(call, CallUpdate { held: Some(held), ..CallUpdate::default() }).await.map(drop)
}

/// Closing devices waits for their threads, which is not for the runtime's thread.
fn close(running: Option<Running>) {
    drop(tokio::task::spawn_blocking(move || drop(running)));
}

/// Runs `twocan up`, which comes with this program.
async fn start_node(home: &Path) -> Result<()> {
    run_twocan(home, &["up"], None).await
}

/// Brings an identity back by `twocan restore`: from the 24 words, or from a backup with its passphrase.
async fn restore(home: &Path, secret: &Passphrase, file: Option<&Path>) -> Result<()> {
    let file = file.map(|path| path.to_string_lossy().into_owned());
    let args: Vec<&str> = std::iter::once("restore").chain(file.as_deref()).collect();
    run_twocan(home, &args, Some(&secret.passphrase)).await
}

/// Runs the program `twocan`, which comes with this one, for this home.
pub(super) async fn run_twocan(home: &Path, args: &[&str], input: Option<&str>) -> Result<()> {
    let words = args.first().copied().unwrap_or_default();
    let failed =
        |text: String| Error::new(Code::NoNode, text).hint(format!("`twocan {words}` in a terminal says more"));
    let here = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let program = here.with_file_name(format!("twocan{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        return Err(failed(format!("the program twocan is not where twocan-gui is ({})", program.display())));
    }
    let mut command = tokio::process::Command::new(program);
    command.args(args).env(twocan_control::paths::HOME_VARIABLE, home).kill_on_drop(true);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().map_err(|e| failed(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take()
        && let Some(input) = input
    {
        // If it does not read, it says why in its own words.
        drop(tokio::io::AsyncWriteExt::write_all(&mut stdin, format!("{input}\n").as_bytes()).await);
    }
    let output = tokio::time::timeout(START_TIMEOUT, child.wait_with_output()).await;
    let output = output.map_err(|_| failed("it does not end".into()))?.map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.trim().lines().next().unwrap_or("it failed without a word").to_owned()))
}
