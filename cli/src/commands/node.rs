//! The node itself: up, down, status, unlock, passphrase, report, doctor.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use twocan_control::{Client, Code, Handle, Identity, Passphrase, SetAvailability, Status};

use crate::args;
use crate::exit::{Exit, Failure};
use crate::format::{self, Style};
use crate::output::Out;
use crate::{process, prompt};

/// How often a starting or stopping node is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long a stopping node may take: it says good-bye to friends and writes everything.
const STOP: Duration = Duration::from_secs(15);

/// Shortest passphrase for the keys: the same as for a backup.
const MIN_PASSPHRASE: usize = 8;

/// What `twocan up` tells.
#[derive(Debug, Serialize)]
struct Up {
    pid: u32,
    already_running: bool,
    first_start: bool,
    locked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
}

/// Starts the node in the background, unless one runs already, and waits until it answers.
pub async fn up(home: &Path, wait_s: u64, out: &mut Out) -> Result<Exit, Failure> {
    let wait = Duration::from_secs(wait_s);
    let ((status, identity), already_running, first_start) = match Client::connect(home).await {
        Ok(client) => (wait_for(Some(client), None, home, wait).await?, true, false),
        Err(error) if error.code == Code::NoNode => {
            let first = !home.join("identity.key").exists();
            let started = process::start(&process::find()?, home, true)?;
            (wait_for(None, Some(started), home, wait).await?, false, first)
        }
        Err(error) => return Err(error.into()),
    };
    let up = Up { pid: status.pid, already_running, first_start, locked: status.locked, identity };
    let style = Style::of(out);
    out.show(&up, |up| describe(up, style))?;
    Ok(Exit::Ok)
}

fn describe(up: &Up, style: Style) -> String {
    let running = if up.already_running { "runs already" } else { "runs" };
    let mut text = format!("The node {running} (process {}).\n", up.pid);
    if up.locked {
        text.push_str("It is locked: open it with `twocan unlock`.\n");
    }
    if let (true, Some(identity)) = (up.first_start, &up.identity) {
        text.push_str(&format!(
            "This is its first start: you are new here. Your address, to hand out to friends:\n\n{}\n\n\
             Add a friend with `twocan add ADDRESS`, set your name with `twocan name NAME`,\n\
             and keep your 24 words (`twocan phrase`) in a safe place: they are you.\n",
            style.paint(format::Colour::Bold, &identity.address)
        ));
    }
    text
}

/// Waits until the node is locked or knows who it is: its API answers a little earlier.
async fn wait_for(
    mut client: Option<Client>,
    mut started: Option<process::Started>,
    home: &Path,
    limit: Duration,
) -> Result<(Status, Option<Identity>), Failure> {
    let begin = Instant::now();
    let log = || format!("its log is {}", home.join(process::LOG).display());
    loop {
        if client.is_none() {
            client = match Client::connect(home).await {
                Ok(client) => Some(client),
                Err(error) if error.code == Code::NoNode => None,
                Err(error) => return Err(error.into()),
            };
        }
        if let Some(client) = &client {
            match state(client).await {
                Ok(known) => return Ok(known),
                Err(error) if error.code == Code::NoNode => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(node) = &mut started
            && let Ok(Some(status)) = node.child.try_wait()
        {
            let words = node.last_words();
            let why = if words.is_empty() { format!("it ended with {status}") } else { words };
            return Err(Failure::new(Exit::NoNode, format!("the node did not start: {why}")).hint(log()));
        }
        if begin.elapsed() > limit {
            let text = format!("the node does not answer after {} s", limit.as_secs());
            return Err(Failure::new(Exit::NoNode, text).hint(log()));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn state(client: &Client) -> twocan_control::Result<(Status, Option<Identity>)> {
    let status = client.status().await?;
    let identity = if status.locked { None } else { Some(client.identity().await?) };
    Ok((status, identity))
}

/// Stops the node, and waits until it is gone.
pub async fn down(home: &Path, out: &mut Out) -> Result<Exit, Failure> {
    let client = match Client::connect(home).await {
        Ok(client) => client,
        Err(error) if error.code == Code::NoNode => {
            out.done("No node runs.")?;
            return Ok(Exit::Ok);
        }
        Err(error) => return Err(error.into()),
    };
    let pid = client.status().await?.pid;
    client.shutdown().await?;
    let begin = Instant::now();
    while process::alive(pid) {
        if begin.elapsed() > STOP {
            return Err(Failure::new(Exit::Conflict, format!("the node (process {pid}) does not stop"))
                .hint(format!("its log says more; `kill {pid}` stops it for good")));
        }
        tokio::time::sleep(POLL).await;
    }
    out.done("The node is down.")?;
    Ok(Exit::Ok)
}

/// How the node is; or sets the availability.
pub async fn status<H: Handle>(
    node: &H,
    availability: Option<args::Availability>,
    out: &mut Out,
) -> Result<Exit, Failure> {
    use twocan_control::Availability as Kept;
    let Some(availability) = availability else {
        let status = node.status().await?;
        let style = Style::of(out);
        out.show(&status, |status| format::node::status(status, style))?;
        return Ok(Exit::Ok);
    };
    let availability = match availability {
        args::Availability::Available => Kept::Available,
        args::Availability::Dnd => Kept::Dnd,
        args::Availability::Invisible => Kept::Invisible,
    };
    node.set_availability(SetAvailability { availability }).await?;
    out.done(&format!("You are now: {}.", format::node::availability(availability)))?;
    Ok(Exit::Ok)
}

/// Opens a locked node.
pub async fn unlock<H: Handle>(node: &H, out: &mut Out) -> Result<Exit, Failure> {
    if !node.status().await?.locked {
        out.done("The node is open already.")?;
        return Ok(Exit::Ok);
    }
    let passphrase = prompt::secret("passphrase: ")?;
    node.unlock(Passphrase { passphrase }).await?;
    out.done("The node is open.")?;
    Ok(Exit::Ok)
}

/// Puts the keys under a passphrase, or takes it off.
pub async fn passphrase<H: Handle>(node: &H, remove: bool, out: &mut Out) -> Result<Exit, Failure> {
    if remove {
        node.set_passphrase(Passphrase { passphrase: String::new() }).await?;
        out.done("The keys are no longer under a passphrase.")?;
        return Ok(Exit::Ok);
    }
    let passphrase = prompt::new_passphrase("new passphrase (at least 8 characters): ")?;
    if passphrase.chars().count() < MIN_PASSPHRASE {
        return Err(Failure::new(Exit::Usage, format!("a passphrase has at least {MIN_PASSPHRASE} characters"))
            .hint("four or more random words are good and easy to remember; `--remove` takes a passphrase off"));
    }
    node.set_passphrase(Passphrase { passphrase }).await?;
    out.done("The keys are under the passphrase: after each start, `twocan unlock` opens the node.")?;
    Ok(Exit::Ok)
}

/// Writes a redacted report into a file.
pub async fn report<H: Handle>(node: &H, file: &Path, out: &mut Out) -> Result<Exit, Failure> {
    let report = node.report().await?;
    if file == Path::new("-") {
        out.text(&report.text)?;
        return Ok(Exit::Ok);
    }
    super::backup::write_new(file, report.text.as_bytes())?;
    out.done(&format!("Written: {}. Read it before you send it to anybody.", file.display()))?;
    Ok(Exit::Ok)
}

/// Examines the node.
pub async fn doctor<H: Handle>(node: &H, out: &mut Out) -> Result<Exit, Failure> {
    let doctor = node.doctor().await?;
    let style = Style::of(out);
    out.show(&doctor, |doctor| format::doctor::doctor(doctor, style))?;
    Ok(if doctor.checks.iter().all(|check| check.ok) { Exit::Ok } else { Exit::Unwell })
}

/// Tries the path to a friend without a call.
pub async fn preflight<H: Handle>(node: &H, friend: &str, out: &mut Out) -> Result<Exit, Failure> {
    let preflight = node.preflight(friend).await?;
    let style = Style::of(out);
    out.show(&preflight, |preflight| format::doctor::preflight(preflight, style))?;
    Ok(if preflight.works { Exit::Ok } else { Exit::Unwell })
}
