//! The command line: every command with its arguments. The words here are the interface; `docs/cli.md` explains them.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub mod measure;
pub mod media;

pub use measure::{Bench, Demo};
pub use media::{AudioAction, AudioSet, AudioTest, Choice, Media, Processing, Talk};

/// Calls between friends without servers.
#[derive(Debug, Parser)]
#[command(
    name = "twocan",
    version,
    disable_help_subcommand = true,
    after_help = "Start with `twocan up`, then `twocan id`. `twocan demo` shows a whole call on this machine.\n\
                  `twocan help exit-codes` lists the exit codes."
)]
pub struct Args {
    /// Folder of the node: identity, friends, settings (default: ~/.local/share/twocan)
    #[arg(long, global = true, value_name = "DIR", env = "TWOCAN_HOME", hide_env_values = true)]
    pub home: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do about the start at login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ServiceAction {
    /// Start the node at every login, and now if it does not run (systemd user unit, else an autostart entry)
    Install,
    /// Do not start it any more; a node that runs goes on
    Uninstall,
    /// Who starts it, if anybody does
    Status,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the node in the background
    Up {
        /// Seconds to wait until it answers
        #[arg(long, default_value_t = 15, value_name = "SECONDS")]
        wait: u64,
    },
    /// Stop the node
    Down,
    /// Have the node started at login, so that calls arrive while no window is open
    Service {
        /// What to do
        #[command(subcommand)]
        action: ServiceAction,
    },
    /// How the node is; or set what friends see: available, dnd, invisible
    Status {
        /// The new availability
        availability: Option<Availability>,
    },
    /// My address, to hand out
    Id(Id),
    /// My name as friends see it, or a new one
    Name {
        /// The new name (at most 64 characters)
        name: Option<String>,
    },
    /// Ask somebody to be a friend; delivered now or when they are next online
    Add(Add),
    /// What strangers asked
    Requests,
    /// Accept a request
    Accept {
        /// Whose: name or beginning of the id; not needed if there is only one
        who: Option<String>,
        /// A name to show here
        #[arg(long)]
        name: Option<String>,
    },
    /// Decline a ringing call, or a request
    Decline(Decline),
    /// Block somebody: a request, a friend, an id or an address. Silent for them
    Block {
        /// Whom
        who: String,
    },
    /// Lift a block
    Unblock {
        /// Id, or its beginning, as `twocan blocked` lists it
        id: String,
    },
    /// Who is blocked
    Blocked,
    /// Friends: who is there; or everything about one
    Friends {
        /// Only this one, with the safety words
        who: Option<String>,
    },
    /// Give a friend another name here
    Rename {
        /// Who: name, or beginning of the id
        who: String,
        /// The new name
        name: String,
    },
    /// Compare the safety words by voice, and remember that they are right
    Verify {
        /// Who
        who: String,
        /// They are the same; do not ask
        #[arg(long, conflicts_with = "undo")]
        yes: bool,
        /// Forget that they were compared
        #[arg(long)]
        undo: bool,
    },
    /// Hide your network address: links and calls then run through relays only
    Hide {
        /// From whom; without it, says how it is set
        #[arg(conflicts_with = "all")]
        who: Option<String>,
        /// From everybody
        #[arg(long)]
        all: bool,
        /// Show it again
        #[arg(long)]
        off: bool,
    },
    /// What my node relays for friends, and friends for me; or set for whom
    Relay {
        /// Show, or set
        #[arg(default_value = "status")]
        action: RelayAction,
    },
    /// End a friendship, or withdraw a request
    Remove {
        /// Who
        who: String,
    },
    /// Call a friend
    Call {
        /// Who: name, beginning of the id, or address
        who: String,
        /// Devices
        #[command(flatten)]
        media: Media,
    },
    /// Answer a ringing call, or take over one that runs in another client (`--take`)
    Answer {
        /// Whose, if several ring
        who: Option<String>,
        /// Take the seat of a running call from wherever it is
        #[arg(long)]
        take: bool,
        /// Devices
        #[command(flatten)]
        media: Media,
    },
    /// Wait for calls: ring here and answer by key
    Listen(Listen),
    /// End a call, or give up calling
    Hangup(Whose),
    /// Mute the microphone
    Mute(Whose),
    /// Unmute the microphone
    Unmute(Whose),
    /// Send video, or stop sending it
    Video {
        /// On or off
        switch: Switch,
        /// Whose
        #[command(flatten)]
        whose: Whose,
    },
    /// Share a screen, or stop sharing it
    Screen {
        /// On or off
        switch: Switch,
        /// Whose
        #[command(flatten)]
        whose: Whose,
    },
    /// Record a call, while everybody in it agrees
    Record {
        /// What
        #[command(subcommand)]
        what: Record,
    },
    /// Put a call on hold
    Hold(Whose),
    /// Take a call off hold, or go on with one whose connection was lost
    Resume {
        /// Whose, if there are several
        who: Option<String>,
        /// Devices, for a call that was lost
        #[command(flatten)]
        media: Media,
    },
    /// Running calls and the history
    Calls {
        /// Only calls that were missed
        #[arg(long)]
        missed: bool,
        /// How many of the history
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
    },
    /// How running calls go: delay, loss, bitrates, pictures, and a level from 0 to 5
    Stats {
        /// Whose, if there are several
        who: Option<String>,
        /// Every second, with a graph of the last minute, until the call ends
        #[arg(long)]
        watch: bool,
    },
    /// Screens and windows that can be shared in a call
    Screens,
    /// Send a message; it is kept until your friend's node has it
    Message {
        /// Who: name, beginning of the id, or address
        who: String,
        /// What to say (at most 16384 bytes); `-` or nothing: what stands on standard input
        text: Option<String>,
    },
    /// Conversations; or one of them, which is then marked as read
    Messages(Messages),
    /// Offer files to a friend, and wait until they are through
    Send {
        /// Who: name, beginning of the id, or address
        who: String,
        /// The files; they must stay where they are until they are through
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Do not wait
        #[arg(long)]
        detach: bool,
    },
    /// Files on their way, and those that were; or take, hold or give up one
    Files {
        /// What to do with one
        #[command(subcommand)]
        action: Option<FilesAction>,
    },
    /// Everything that happens, as JSON lines
    Events,
    /// Open a node that is under a passphrase
    Unlock,
    /// Put the keys under a passphrase
    Passphrase {
        /// Take the passphrase off
        #[arg(long)]
        remove: bool,
    },
    /// Write an encrypted backup: identity, friends, settings
    Backup {
        /// The file; it must not exist yet
        file: PathBuf,
    },
    /// Show the 24 words that are the identity
    Phrase,
    /// Get an identity back: from a backup file, or from the 24 words (asked for). Before `twocan up`
    Restore {
        /// The backup file; without it the words are asked for
        file: Option<PathBuf>,
    },
    /// Write a redacted file for a bug report: no keys, names, addresses
    Report {
        /// The file; it must not exist yet. `-` is standard output
        file: PathBuf,
    },
    /// Look for what stands in the way: NAT, firewall, relays, clock
    Doctor {
        /// Try the very path to this friend, without a call: 3 seconds of silence each way
        #[arg(long)]
        friend: Option<String>,
    },
    /// Look a friend or an address up in the DHT afresh
    #[command(hide = true)]
    Lookup {
        /// Friend or address
        whom: String,
    },
    /// Sound devices: which there are, which calls use, and whether they work
    Audio {
        /// What
        #[command(subcommand)]
        action: AudioAction,
    },
    /// Watch a whole call on this machine: three nodes, from nothing to talking, with measurements
    Demo(Demo),
    /// Measure
    Bench {
        /// What
        #[command(subcommand)]
        what: Bench,
    },
    /// Completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Help about a command, or `exit-codes`
    Help {
        /// The command
        topic: Option<String>,
    },
}

/// What to do with a file. Each is named by its id, or the beginning of it.
#[derive(Clone, Debug, Subcommand)]
pub enum FilesAction {
    /// Take what a friend offers
    Accept {
        /// Which
        file: String,
        /// Folder to put it into, instead of the download folder
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
    /// Do not take it
    Decline {
        /// Which
        file: String,
    },
    /// Hold it
    Pause {
        /// Which
        file: String,
    },
    /// Go on with it
    Resume {
        /// Which
        file: String,
    },
    /// Give it up, from either side
    Cancel {
        /// Which
        file: String,
    },
    /// Take one that is over off the list
    Forget {
        /// Which
        file: String,
    },
}

/// Conversations.
#[derive(Debug, ClapArgs)]
pub struct Messages {
    /// Only with this friend
    pub who: Option<String>,
    /// How many lines (1 to 100)
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
    /// Only lines before this place of the conversation (`place` in the JSON)
    #[arg(long, value_name = "PLACE", requires = "who")]
    pub before: Option<u64>,
    /// Go on with what comes, until interrupted
    #[arg(long)]
    pub follow: bool,
    /// Do not mark what is shown as read
    #[arg(long)]
    pub keep_unread: bool,
}

/// Own availability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Availability {
    /// Calls ring
    Available,
    /// Do not disturb: calls are declined at once, and listed as missed
    Dnd,
    /// Friends see you as offline
    Invisible,
}

/// What to do about relaying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RelayAction {
    /// Who relays how much, now and today
    Status,
    /// Relay for nobody
    Off,
    /// Relay for friends, and for whom they call
    Friends,
    /// Relay for friends, and with small limits for any node that asks
    Anyone,
    /// Relay for friends where the internet can reach this node
    Auto,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// My address.
#[derive(Debug, ClapArgs)]
pub struct Id {
    /// What to do instead of showing it
    #[command(subcommand)]
    pub action: Option<IdAction>,
    /// Draw it as a QR code, too
    #[arg(long)]
    pub qr: bool,
    /// As a twocan: URI, with hints where to find the network
    #[arg(long)]
    pub uri: bool,
}

/// What to do with the address.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum IdAction {
    /// Make a new contact token: the old address stops working for strangers, friends stay
    Rotate,
}

/// Asks somebody to be a friend.
#[derive(Debug, ClapArgs)]
pub struct Add {
    /// Their address: twocan1… or twocan:…
    pub address: String,
    /// A name to show here
    #[arg(long)]
    pub name: Option<String>,
    /// A line about yourself for them (at most 280 characters)
    #[arg(long, short)]
    pub message: Option<String>,
    /// Wait until it was delivered and answered
    #[arg(long)]
    pub wait: bool,
}

/// Declines.
#[derive(Debug, ClapArgs)]
pub struct Decline {
    /// Who: name, or beginning of the id. Without: the call that rings, else the only request
    pub who: Option<String>,
    /// A line for the caller
    #[arg(long, conflicts_with = "request")]
    pub text: Option<String>,
    /// A call is meant
    #[arg(long, conflicts_with = "request")]
    pub call: bool,
    /// A request is meant
    #[arg(long)]
    pub request: bool,
}

/// Whose call.
#[derive(Debug, ClapArgs)]
pub struct Whose {
    /// The friend's name, or the beginning of the call's id; not needed if there is only one
    pub who: Option<String>,
}

/// What to do about recording.
#[derive(Clone, Debug, Subcommand)]
pub enum Record {
    /// Ask the friend to agree; the program that is in the call then writes one Matroska file
    Start {
        /// The file; it must not exist yet (default: twocan-FRIEND-TIME.mkv where the call runs)
        file: Option<PathBuf>,
        /// Whose call, if there are several
        #[arg(long)]
        who: Option<String>,
    },
    /// End a recording, whoever made it, or withdraw a request
    Stop {
        /// Whose call, if there are several
        who: Option<String>,
    },
    /// Agree to what the friend asks
    Allow {
        /// Whose call, if there are several
        who: Option<String>,
    },
    /// Do not agree, or no longer: the recording ends
    Refuse {
        /// Whose call, if there are several
        who: Option<String>,
    },
    /// Write the voices of a recording as WAV files beside it, one for each person
    Wav {
        /// The recording
        file: PathBuf,
    },
}

/// Waits for calls.
#[derive(Debug, ClapArgs)]
pub struct Listen {
    /// Answer every call at once (microphone and all), without asking
    #[arg(long)]
    pub auto_answer: bool,
    /// End after the first call
    #[arg(long)]
    pub once: bool,
    /// Devices
    #[command(flatten)]
    pub media: Media,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_may_follow_the_command() {
        let args = Args::try_parse_from(["twocan", "friends", "--json", "--home", "/h"]).unwrap();
        assert!(args.json && args.home == Some("/h".into()));
    }
}
