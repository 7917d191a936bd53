//! Talking: call, answer, resume. Devices are opened before the friend is rung or answered, so that a missing microphone is told
//! to the one who can do something about it, and nobody hears silence while it opens.

use twocan_control::{AnswerCall, Handle, PlaceCall, TakeSeat};
use twocan_media::settings::Store;

use crate::args::Media;
use crate::bridge::Voice;
use crate::choose::{self, Which};
use crate::commands::calls;
use crate::commands::kept::load;
use crate::exit::{Exit, Failure};
use crate::live::options::{Plan, display, plan, unusable};
use crate::live::{self, Options};
use crate::output::Out;

/// Calls a friend and talks.
pub async fn call<H: Handle>(
    node: &H,
    who: String,
    media: &Media,
    kept: &Store,
    out: &mut Out,
) -> Result<Exit, Failure> {
    // An unknown name shall not open a microphone.
    let friend = node.friend(&who).await?;
    let (voice, options) = start(media, &friend.id, kept)?;
    let events = node.events().await?;
    let seated = node.place_call(PlaceCall { friend: friend.id, video: media.video }).await?;
    live::run(node, seated, voice, events, options, out).await
}

/// Answers a ringing call, or takes over a running one, and talks.
pub async fn answer<H: Handle>(
    node: &H,
    who: Option<&str>,
    take: bool,
    media: &Media,
    kept: &Store,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let calls = node.calls().await?;
    let which = if take { Which::Answered } else { Which::RingingHere };
    let id = choose::call(&calls, which, who)?.id.clone();
    answer_this(node, &id, take, media, kept, out).await
}

/// Answers (or takes over) the call with this id, and talks.
pub async fn answer_this<H: Handle>(
    node: &H,
    id: &str,
    take: bool,
    media: &Media,
    kept: &Store,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let friend = node.call(id).await?.friend;
    let (voice, options) = start(media, &friend, kept)?;
    let events = node.events().await?;
    let seated = if take {
        node.take_seat(id, TakeSeat { token: None }).await?
    } else {
        node.answer_call(id, AnswerCall { video: media.video }).await?
    };
    live::run(node, seated, voice, events, options, out).await
}

/// Takes a held call off hold; if none is held, goes on with the one whose connection was lost.
pub async fn resume<H: Handle>(
    node: &H,
    who: Option<&str>,
    media: &Media,
    kept: &Store,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let running = node.calls().await?;
    if !choose::calls(&running, Which::Answered, who).is_empty() {
        return calls::hold(node, false, who, out).await;
    }
    let history = node.history().await?;
    let lost = choose::lost(&history, who)?;
    let (voice, options) = start(media, &lost.friend, kept)?;
    let events = node.events().await?;
    let seated = node.resume_call(&lost.id, AnswerCall { video: media.video }).await?;
    live::run(node, seated, voice, events, options, out).await
}

/// Starts the session that the options describe, and where they are silent, what is kept.
fn start(media: &Media, friend: &str, kept: &Store) -> Result<(Voice, Options), Failure> {
    let record = media.record.as_deref().map(live::record::new_file).transpose()?;
    let settings = load(kept);
    let Plan { config, video_in, mut share, unseen } = plan(media, &settings, display())?;
    share.source = share.source.with_permit(kept.screen_permit());
    let voice = Voice::start(config).map_err(|error| unusable(&error))?;
    let volume = media.volume.unwrap_or(settings.volume(friend));
    voice.session.set_volume(0, f32::from(volume) / 100.0);
    let sharing = media.screen.is_some();
    if sharing {
        // What cannot be shared is said before anybody is rung.
        voice.session.set_screen(Some(share.clone())).map_err(|error| unusable(&error))?;
    }
    let (seconds, live, kept) = (media.seconds, !media.no_live, kept.clone());
    Ok((voice, Options { video_in, share, sharing, seconds, live, unseen, record, volume, kept }))
}
