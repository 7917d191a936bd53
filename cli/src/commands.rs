//! What each command does, a file per noun. Commands that need a node run on any [`Handle`]; the few that come before
//! one are separate.

pub mod audio;
pub mod backup;
pub mod calls;
pub mod events;
pub mod files;
pub mod friends;
pub mod help;
pub mod identity;
pub mod kept;
pub mod listen;
pub mod messages;
pub mod node;
pub mod record;
pub mod relay;
pub mod requests;
pub mod screens;
pub mod service;
pub mod stats;
pub mod talk;

use std::path::PathBuf;

use twocan_control::{Client, Handle, paths};
use twocan_media::settings::Store;

use crate::args::{Args, AudioAction, Command};
use crate::exit::{Exit, Failure};
use crate::output::Out;

/// Runs the command of `args`.
///
/// # Errors
/// What the command failed with; the caller tells it and ends with its exit code.
pub async fn run(args: Args, out: &mut Out) -> Result<Exit, Failure> {
    let home = home(args.home);
    match args.command {
        Command::Completions { shell } => help::completions(shell, out),
        Command::Help { topic } => help::help(topic.as_deref(), out),
        Command::Demo(demo) => crate::demo::run(demo, out).await,
        Command::Audio { action } if !matches!(action, AudioAction::Volume { .. }) => {
            audio::run(action, &Store::in_home(&home?), out).await
        }
        Command::Bench { what } => crate::demo::bench::run(what, out).await,
        Command::Record { what: crate::args::Record::Wav { file } } => record::wav(&file, out),
        Command::Up { wait } => node::up(&home?, wait, out).await,
        Command::Down => node::down(&home?, out).await,
        Command::Service { action } => service::run(&home?, action, out).await,
        Command::Restore { file } => backup::restore(&home?, file.as_deref(), out),
        Command::Screens => screens::screens(out),
        command => {
            let home = home?;
            let client = Client::connect(&home).await?;
            on(&client, command, &Store::in_home(&home), out).await
        }
    }
}

/// Runs a command that needs a node, on that node; `kept` are the settings of the clients of its home.
///
/// # Errors
/// What the command failed with.
pub async fn on<H: Handle>(node: &H, command: Command, kept: &Store, out: &mut Out) -> Result<Exit, Failure> {
    match command {
        Command::Status { availability } => node::status(node, availability, out).await,
        Command::Unlock => node::unlock(node, out).await,
        Command::Passphrase { remove } => node::passphrase(node, remove, out).await,
        Command::Report { file } => node::report(node, &file, out).await,
        Command::Doctor { friend: None } => node::doctor(node, out).await,
        Command::Doctor { friend: Some(friend) } => node::preflight(node, &friend, out).await,
        Command::Id(id) => identity::id(node, &id, out).await,
        Command::Name { name } => identity::name(node, name, out).await,
        Command::Phrase => identity::phrase(node, out).await,
        Command::Backup { file } => backup::backup(node, &file, out).await,
        Command::Add(add) => friends::add(node, add, out).await,
        Command::Friends { who } => friends::friends(node, who.as_deref(), out).await,
        Command::Rename { who, name } => friends::rename(node, &who, name, out).await,
        Command::Verify { who, yes, undo } => friends::verify(node, &who, yes, undo, out).await,
        Command::Hide { who, all, off } => friends::hide(node, who.as_deref(), all, !off, out).await,
        Command::Relay { action } => relay::relay(node, action, out).await,
        Command::Remove { who } => friends::remove(node, &who, out).await,
        Command::Lookup { whom } => friends::lookup(node, whom, out).await,
        Command::Requests => requests::requests(node, out).await,
        Command::Accept { who, name } => requests::accept(node, who.as_deref(), name, out).await,
        Command::Decline(decline) => requests::decline(node, decline, out).await,
        Command::Block { who } => requests::block(node, &who, out).await,
        Command::Unblock { id } => requests::unblock(node, &id, out).await,
        Command::Blocked => requests::blocked(node, out).await,
        Command::Calls { missed, limit } => calls::calls(node, missed, limit, out).await,
        Command::Hangup(whose) => calls::hangup(node, whose.who.as_deref(), out).await,
        Command::Mute(whose) => calls::mute(node, true, whose.who.as_deref(), out).await,
        Command::Unmute(whose) => calls::mute(node, false, whose.who.as_deref(), out).await,
        Command::Video { switch, whose } => calls::video(node, switch, whose.who.as_deref(), out).await,
        Command::Hold(whose) => calls::hold(node, true, whose.who.as_deref(), out).await,
        Command::Resume { who, media } => talk::resume(node, who.as_deref(), &media, kept, out).await,
        Command::Stats { who, watch } => stats::stats(node, who.as_deref(), watch, out).await,
        Command::Screen { switch, whose } => calls::screen(node, switch, whose.who.as_deref(), out).await,
        Command::Record { what } => record::record(node, what, out).await,
        Command::Message { who, text } => messages::message(node, &who, text, out).await,
        Command::Messages(args) => messages::messages(node, &args, out).await,
        Command::Send { who, files, detach } => files::send(node, &who, &files, detach, out).await,
        Command::Files { action } => files::files(node, action, out).await,
        Command::Events => events::events(node, out).await,
        Command::Call { who, media } => talk::call(node, who, &media, kept, out).await,
        Command::Answer { who, take, media } => talk::answer(node, who.as_deref(), take, &media, kept, out).await,
        Command::Listen(listen) => listen::listen(node, &listen, kept, out).await,
        Command::Audio { action: AudioAction::Volume { who, percent } } => {
            kept::volume(node, &who, percent, kept, out).await
        }
        Command::Completions { .. }
        | Command::Help { .. }
        | Command::Demo(_)
        | Command::Audio { .. }
        | Command::Bench { .. }
        | Command::Up { .. }
        | Command::Down
        | Command::Service { .. }
        | Command::Screens
        | Command::Restore { .. } => Err(Failure::new(Exit::Internal, "this command does not run on a node")),
    }
}

fn home(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let home = given.filter(|home| !home.as_os_str().is_empty()).or_else(paths::home).ok_or_else(|| {
        Failure::new(Exit::Storage, "no home folder: neither TWOCAN_HOME nor HOME is set")
            .hint("set TWOCAN_HOME to the folder where the node shall keep its files")
    })?;
    std::path::absolute(&home).map_err(|error| Failure::file(&home, "use the home", &error))
}
