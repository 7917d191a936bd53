//! What may befall two friends, and how long it is felt: silence in a call, "reconnecting" shown, a friend gone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use twocan_control::{CallState, Event, Handle, LinkPath, PlaceCall, SeatToken, TakeSeat};

use super::ear::Ear;
use super::pair::{Pair, Setup, Talk};
use super::site::Kind;
use crate::node::Node;
use crate::seat::Seat;
use crate::world::incoming_call;

/// How long they talk before something happens: what is younger than ten seconds counts as still being set up.
const BEFORE: Duration = Duration::from_secs(11);
/// How long after it silence is looked for.
const AFTER: Duration = Duration::from_secs(15);
/// How long a cut lasts.
const CUT: Duration = Duration::from_secs(6);

/// What can befall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Story {
    /// One of two who talk directly joins another network.
    AddressDirect,
    /// One of two who talk through a relay joins another network.
    AddressRelayed,
    /// The relay of a call is killed; another friend could relay.
    RelayKilled,
    /// Nothing passes for a while between one and the rest, and nobody is told.
    Cut,
    /// Both NATs forget their mappings in a call.
    Forgotten,
    /// One node is stopped (SIGSTOP), later continued; nobody talks.
    Suspended,
    /// One node is stopped in a call for some seconds, and continued.
    SuspendedInCall,
    /// One node is killed in a call and started again at once.
    Restarted,
}

/// All stories with their names.
pub const STORIES: [(&str, Story); 8] = [
    ("address-direct", Story::AddressDirect),
    ("address-relayed", Story::AddressRelayed),
    ("relay-killed", Story::RelayKilled),
    ("cut", Story::Cut),
    ("forgotten", Story::Forgotten),
    ("suspended", Story::Suspended),
    ("suspended-in-call", Story::SuspendedInCall),
    ("restarted", Story::Restarted),
];

/// How one run went. Times in milliseconds, each for the one to whom it happened and for the other.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Whether they talk again (or see each other again, if nobody talked).
    pub survived: bool,
    /// Longest silence that each heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence_ms: Option<[f64; 2]>,
    /// From the event until each showed "reconnecting", where it did.
    pub reconnecting_ms: [Option<f64>; 2],
    /// From the end of the disturbance until each heard the other again, or saw the friend again.
    pub back_ms: [Option<f64>; 2],
    /// Path of the media before and after.
    pub paths: [Option<LinkPath>; 2],
    /// Whether the phone rang anew, which it must not.
    pub rang_again: bool,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Lets it happen once. What fails is in the outcome.
pub async fn happen(story: Story, setup: &Setup, stopped_for: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(error) = tell(story, setup, stopped_for, &mut outcome).await {
        outcome.survived = false;
        outcome.error = Some(format!("{error:#}"));
    }
    outcome
}

async fn tell(story: Story, setup: &Setup, stopped_for: Duration, outcome: &mut Outcome) -> Result<()> {
    let kind = match story {
        Story::AddressRelayed | Story::RelayKilled => "symmetric",
        _ => "port-restricted",
    };
    let kind: Kind = kind.parse()?;
    let mut setup = setup.clone();
    if story == Story::RelayKilled {
        setup.public_friends = 2;
    }
    let mut pair = Pair::linked([&kind, &kind], &setup).await.context("set-up")?;
    if story == Story::Suspended {
        return suspended(&pair, stopped_for, outcome).await;
    }
    let (talk, _) = pair.talk().await.context("the call")?;
    let wanted = if kind.to_string() == "symmetric" { LinkPath::Relayed } else { LinkPath::Direct };
    until_path(&pair, &talk, wanted).await?;
    tokio::time::sleep(BEFORE).await;
    outcome.paths[0] = path(&pair, &talk).await?;
    let mut rings = pair.nodes[1].events();
    match story {
        Story::AddressDirect | Story::AddressRelayed => {
            let elsewhere = pair.lab.site(kind)?;
            let host = pair.hosts[0].clone();
            watch(&pair, &talk, outcome, || host.move_to(elsewhere), Duration::ZERO, || Ok(())).await?;
        }
        Story::RelayKilled => {
            let busiest = busiest(&pair).await;
            let pid = pid(&pair.public[busiest]);
            watch(&pair, &talk, outcome, || Ok(kill(pid, Signal::SIGKILL)?), Duration::ZERO, || Ok(())).await?;
        }
        Story::Cut => {
            let (lab, site) = (pair.lab.clone(), pair.hosts[0].site());
            let cut = |cut| {
                lab.cut(site, cut);
                Ok(())
            };
            watch(&pair, &talk, outcome, || cut(true), CUT, || cut(false)).await?;
        }
        Story::Forgotten => {
            let (lab, sites) = (pair.lab.clone(), [pair.hosts[0].site(), pair.hosts[1].site()]);
            let forget = || {
                sites.iter().for_each(|site| lab.forget(*site));
                Ok(())
            };
            watch(&pair, &talk, outcome, forget, Duration::ZERO, || Ok(())).await?;
        }
        Story::SuspendedInCall => {
            let pid = pid(&pair.nodes[0]);
            let stop = || Ok(kill(pid, Signal::SIGSTOP)?);
            watch(&pair, &talk, outcome, stop, CUT, || Ok(kill(pid, Signal::SIGCONT)?)).await?;
        }
        Story::Restarted => return restarted(&mut pair, talk, outcome).await,
        Story::Suspended => {}
    }
    outcome.paths[1] = path(&pair, &talk).await?;
    let again = rings.wait("a ring", incoming_call);
    outcome.rang_again = tokio::time::timeout(Duration::from_millis(100), again).await.is_ok_and(|rang| rang.is_ok());
    pair.hang_up(talk).await
}

/// Lets something happen, end some time later, and notes what is heard and shown.
async fn watch(
    pair: &Pair,
    talk: &Talk,
    outcome: &mut Outcome,
    happen: impl FnOnce() -> Result<()>,
    lasts: Duration,
    end: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let begin = Instant::now();
    happen()?;
    let shown = pair.until_state(&talk.id, &[CallState::Reconnecting], lasts.max(AFTER));
    let heard = async {
        tokio::time::sleep(lasts).await;
        let over = Instant::now();
        end()?;
        // What was under way when it happened is not the voice that came back.
        let from = over.max(begin + Duration::from_millis(300));
        let back = talk.heard(from, AFTER).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        anyhow::Ok((over, from, back))
    };
    tokio::pin!(shown);
    tokio::pin!(heard);
    // Once they talk again, nobody need wait for "reconnecting" any longer.
    let ((over, from, back), shown) = tokio::select! {
        shown = &mut shown => (heard.await?, shown),
        heard = &mut heard => {
            let shown = tokio::time::timeout(Duration::from_millis(1), &mut shown).await.unwrap_or_default();
            (heard?, shown)
        }
    };
    let now = Instant::now();
    outcome.silence_ms = Some(talk.silence(begin, now).map(millis));
    outcome.reconnecting_ms = shown.map(|at| at.map(|at| millis(at.saturating_duration_since(begin))));
    outcome.back_ms = back.map(|back| back.map(|back| millis(from + back - over)));
    let last = now - Duration::from_secs(1);
    outcome.survived = talk.ears.iter().all(|ear| ear.count(last, now) >= super::matrix::TALKED);
    Ok(())
}

/// One is stopped for a while: how soon after its end do both see each other again, and does a call ring?
async fn suspended(pair: &Pair, stopped_for: Duration, outcome: &mut Outcome) -> Result<()> {
    let [awake, asleep] = [&pair.nodes[0], &pair.nodes[1]];
    let root = asleep.api().identity().await?.root;
    kill(pid(asleep), Signal::SIGSTOP)?;
    let mut events = awake.events();
    tokio::time::sleep(stopped_for).await;
    let gone = !awake.api().friend(&root).await?.online;
    kill(pid(asleep), Signal::SIGCONT)?;
    let over = Instant::now();
    if gone {
        events
            .wait("the friend online again", |event| match event {
                Event::Friend { friend } if friend.id == root && friend.online => Some(()),
                _ => None,
            })
            .await?;
    }
    outcome.back_ms[1] = Some(millis(over.elapsed()));
    // The one who slept proves that it sees the other, by a call.
    let mut rings = awake.events();
    asleep.api().place_call(PlaceCall { friend: "alice".to_owned(), video: false }).await?;
    rings.wait("the ring after waking up", incoming_call).await?;
    outcome.back_ms[0] = Some(millis(over.elapsed()));
    outcome.survived = true;
    Ok(())
}

/// One node is killed and started again: its client takes the seat again with its token.
async fn restarted(pair: &mut Pair, talk: Talk, outcome: &mut Outcome) -> Result<()> {
    let begin = Instant::now();
    let token: SeatToken = talk.seat.clone();
    pair.nodes[0].kill_and_restart().await?;
    let api_again = Instant::now();
    let id = talk.id.clone();
    let seated = pair.nodes[0]
        .eventually("the call in the restarted node", |api| {
            let (id, token) = (id.clone(), token.clone());
            async move { Ok(api.take_seat(&id, TakeSeat { token: Some(token) }).await.ok()) }
        })
        .await?;
    let ear = Ear::of(Seat::take(pair.nodes[0].api(), seated).await?);
    let (mine, theirs) = tokio::join!(ear.after(api_again, AFTER), talk.ears[1].after(api_again, AFTER));
    outcome.back_ms = [mine, theirs].map(|back| back.map(millis));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let now = Instant::now();
    outcome.silence_ms = Some([ear.silence(begin, now), talk.ears[1].silence(begin, now)].map(millis));
    let last = now - Duration::from_secs(1);
    outcome.survived = [&ear, &talk.ears[1]].iter().all(|ear| ear.count(last, now) >= super::matrix::TALKED);
    Ok(())
}

/// Waits until the call runs over a kind of path.
pub async fn until_path(pair: &Pair, talk: &Talk, wanted: LinkPath) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = path(pair, talk).await?;
        if now == Some(wanted) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the media path is {now:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The path of the media, as the caller's node says.
pub async fn path(pair: &Pair, talk: &Talk) -> Result<Option<LinkPath>> {
    Ok(pair.nodes[0].api().call(&talk.id).await?.quality.and_then(|quality| quality.path))
}

/// Which public friend carries most at present.
async fn busiest(pair: &Pair) -> usize {
    let counts = || -> Vec<u64> {
        let out = |host: &super::Host| pair.lab.with_site(host.site(), |site| site.up.packets);
        pair.public_hosts.iter().map(out).collect()
    };
    let before = counts();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = counts().into_iter().zip(before).map(|(now, before)| now - before);
    sent.enumerate().max_by_key(|(_, sent)| *sent).map_or(0, |(at, _)| at)
}

fn pid(node: &Node) -> Pid {
    Pid::from_raw(i32::try_from(node.pid()).unwrap_or_default())
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

impl std::str::FromStr for Story {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match STORIES.iter().find(|(known, _)| *known == name) {
            Some((_, story)) => Ok(*story),
            None => {
                let names: Vec<&str> = STORIES.iter().map(|(name, _)| *name).collect();
                bail!("{name:?} is no story; there are: {}", names.join(", "))
            }
        }
    }
}
