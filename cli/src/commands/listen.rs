//! Waiting for calls: rings with the terminal's bell and lets the person answer by key.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::interval;
use twocan_control::{Call, CallState, Decline, Direction, Event, Handle};
use twocan_media::settings::Store;

use super::talk;
use crate::args::{Listen, Media};
use crate::exit::{Exit, Failure};
use crate::format;
use crate::live::line::Key;
use crate::live::seat::{Followed, follow, gone};
use crate::live::terminal::Terminal;
use crate::output::Out;

/// How often the bell rings.
const BELL: Duration = Duration::from_secs(2);

/// What came of a ringing call.
enum Rung {
    /// The person takes it, with or without video.
    Answer { video: bool },
    /// It stopped ringing: declined, given up, taken elsewhere.
    Gone(Box<Call>),
    /// The person wants to leave.
    Leave,
}

/// Waits for calls until Ctrl-C.
pub async fn listen<H: Handle>(node: &H, listen: &Listen, kept: &Store, out: &mut Out) -> Result<Exit, Failure> {
    let mut events = follow(node.clone(), node.events().await?);
    // What rings already came before the events.
    let mut waiting: Vec<Call> = node.calls().await?.into_iter().filter(rings).collect();
    out_of_json(out, "Waiting for calls. Ctrl-C ends it.")?;
    loop {
        let call = match waiting.pop() {
            Some(call) => call,
            None => tokio::select! {
                followed = events.next() => match followed {
                    Some(Followed::Event(Event::CallIncoming { call })) => call,
                    Some(Followed::Event(Event::Stopping)) => return Ok(Exit::Ok),
                    Some(_) => continue,
                    None => return Err(gone()),
                },
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
            },
        };
        let rung = if listen.auto_answer {
            Rung::Answer { video: listen.media.video }
        } else {
            ring(node, &call, listen, &mut events, out).await?
        };
        let exit = match rung {
            Rung::Answer { video } => {
                let media = Media { video: video || listen.media.video, ..listen.media.clone() };
                talk::answer_this(node, &call.id, false, &media, kept, out).await?
            }
            Rung::Gone(call) => {
                if !out.json() {
                    out.line(&format::call::ending(&call))?;
                }
                Exit::of_call(call.outcome)
            }
            Rung::Leave => return Ok(Exit::Ok),
        };
        if listen.once {
            return Ok(exit);
        }
        out_of_json(out, "Waiting for calls.")?;
    }
}

fn rings(call: &Call) -> bool {
    call.state == CallState::Ringing && call.direction == Direction::Incoming
}

fn out_of_json(out: &mut Out, text: &str) -> Result<(), Failure> {
    if out.json() { Ok(()) } else { out.line(text) }
}

async fn ring<H: Handle>(
    node: &H,
    call: &Call,
    listen: &Listen,
    events: &mut futures::stream::BoxStream<'static, Followed>,
    out: &mut Out,
) -> Result<Rung, Failure> {
    if out.json() {
        out.json_line(call)?;
    }
    let mut terminal = Terminal::open(!listen.media.no_live && !out.json());
    let how = if terminal.live() {
        "a answer · v answer with video · d decline · q leave it"
    } else {
        "`twocan answer` or `twocan decline` in another terminal"
    };
    terminal.say(&format!("{} ({how})", format::call::incoming(call)));
    let mut bell = interval(BELL);
    loop {
        tokio::select! {
            _ = bell.tick() => terminal.bell(),
            followed = events.next() => match followed {
                Some(Followed::Event(Event::Call { call: now })) if now.id == call.id && !rings(&now) => return Ok(Rung::Gone(Box::new(now))),
                Some(Followed::Event(Event::CallIncoming { call: other })) => {
                    terminal.say(&format!("{}, too (`twocan answer` in another terminal)", format::call::incoming(&other)));
                }
                Some(_) => {}
                None => return Err(gone()),
            },
            key = terminal.key() => match key {
                Key::Answer => return Ok(Rung::Answer { video: false }),
                Key::Video => return Ok(Rung::Answer { video: true }),
                Key::Decline => node.decline_call(&call.id, Decline::default()).await?,
                Key::Quit | Key::Interrupt => return Ok(Rung::Leave),
                Key::Mute | Key::Camera | Key::Hold | Key::Screen | Key::Graph | Key::Record | Key::Refuse => {}
                Key::Talk | Key::Echo | Key::Noise | Key::Louder | Key::Quieter => {}
            },
            _ = tokio::signal::ctrl_c() => return Ok(Rung::Leave),
        }
    }
}
