//! Two friends at sites of any kind, with a public friend of both, and the calls between them.
//!
//! They meet at an open site, are stopped, moved to where they belong, and started there: so each of them begins with
//! what a node knows that was restarted somewhere else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twocan_control::{AnswerCall, Call, CallState, Event, Friend, Handle, PlaceCall, SeatToken};

use super::ear::Ear;
use super::people::{self, befriend};
use super::site::Kind;
use super::{Host, Lab};
use crate::node::Node;
use crate::seat::{Seat, Sent};
use crate::world::incoming_call;

/// How long it rings before the answer, as in `twocan demo`: nobody is faster, and the path is built meanwhile.
pub const RING: Duration = Duration::from_secs(1);

/// How a pair is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Round trip between two sites.
    pub rtt: Duration,
    /// What chance does.
    pub seed: u64,
    /// How many public friends there are.
    pub public_friends: usize,
    /// Whether they are strangers: nodes to start from, and nobody's friends.
    pub strangers: bool,
    /// Lines of `config.toml` of the public friends.
    pub public_config: String,
    /// Lines of `config.toml` of the two.
    pub config: String,
    /// Where the homes of all nodes go, and stay; nothing: they go when the nodes do.
    pub keep: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        let rtt = Duration::from_millis(50);
        Self {
            rtt,
            seed: 1,
            public_friends: 1,
            strangers: false,
            public_config: people::PUBLIC_CONFIG.to_owned(),
            config: String::new(),
            keep: None,
        }
    }
}

/// Two friends and their public friends.
#[derive(Debug)]
pub struct Pair {
    /// Where all of them are.
    pub lab: Lab,
    /// The public friends.
    pub public: Vec<Node>,
    /// Their hosts.
    pub public_hosts: Vec<Host>,
    /// The two: the first one calls.
    pub nodes: [Node; 2],
    /// Their hosts.
    pub hosts: [Host; 2],
    /// How others reach the public friends.
    pub bootstrap: Vec<String>,
}

impl Pair {
    /// Lets two people and a public friend meet at open sites, and leaves the two stopped at sites of the given kinds.
    pub async fn stopped(kinds: [&Kind; 2], setup: &Setup) -> Result<Self> {
        let lab = Lab::start(setup.rtt, setup.seed)?;
        let (mut public, mut public_hosts, mut bootstrap) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=setup.public_friends {
            let name = format!("public{number}");
            let host = lab.host_at("dual")?;
            let options = people::public_options(&host, &bootstrap, &setup.public_config);
            let node = begin(&name, &options, setup.keep.as_deref()).await?;
            bootstrap.extend(people::addresses(&node, &host).await?);
            public.push(node);
            public_hosts.push(host);
        }
        let nursery = lab.site(Kind::dual())?;
        let hosts = [lab.host(nursery)?, lab.host(nursery)?];
        let starting = ["alice", "bob"].into_iter().zip(&hosts).map(|(name, host)| {
            let options = people::options(host, &bootstrap, &setup.config);
            async move { begin(name, &options, setup.keep.as_deref()).await }
        });
        let nodes = futures::future::try_join_all(starting).await?;
        let Ok([mut alice, mut bob]) = <[Node; 2]>::try_from(nodes) else { anyhow::bail!("two nodes were started") };
        befriend(&alice, &bob).await?;
        for friend in public.iter().filter(|_| !setup.strangers) {
            befriend(&alice, friend).await?;
            befriend(&bob, friend).await?;
        }
        tokio::try_join!(alice.stop(), bob.stop())?;
        for (host, kind) in hosts.iter().zip(kinds) {
            host.move_to(lab.site(kind.clone())?)?;
        }
        Ok(Self { lab, public, public_hosts, nodes: [alice, bob], hosts, bootstrap })
    }

    /// The same, with both started and seeing each other.
    pub async fn linked(kinds: [&Kind; 2], setup: &Setup) -> Result<Self> {
        let mut pair = Self::stopped(kinds, setup).await?;
        pair.start().await?;
        pair.online().await?;
        Ok(pair)
    }

    /// Starts both nodes, until their APIs answer.
    pub async fn start(&mut self) -> Result<()> {
        let [alice, bob] = &mut self.nodes;
        tokio::try_join!(alice.start_again(), bob.start_again())?;
        Ok(())
    }

    /// Stops both nodes.
    pub async fn stop(&mut self) -> Result<()> {
        let [alice, bob] = &mut self.nodes;
        tokio::try_join!(alice.stop(), bob.stop())?;
        Ok(())
    }

    /// Waits until both see each other online.
    pub async fn online(&self) -> Result<()> {
        let [alice, bob] = &self.nodes;
        tokio::try_join!(crate::world::online(alice, bob), crate::world::online(bob, alice))?;
        Ok(())
    }

    /// How the first one sees the second.
    pub async fn friend(&self) -> Result<Friend> {
        Ok(self.nodes[0].api().friend("bob").await?)
    }

    /// Calls and waits for the ring: the call, and how long that took.
    pub async fn ring(&self) -> Result<(Ringing, Duration)> {
        self.ring_with_video(0).await
    }

    /// The same, with so many bits of video a second from both sides.
    pub async fn ring_with_video(&self, bits: u32) -> Result<(Ringing, Duration)> {
        let [alice, bob] = &self.nodes;
        let mut rings = bob.events();
        let started = Instant::now();
        let seated = alice.api().place_call(PlaceCall { friend: "bob".to_owned(), video: bits > 0 }).await?;
        let id = rings.wait("the ringing", incoming_call).await?.id;
        let took = started.elapsed();
        let seat = seated.seat.clone();
        let caller = Seat::take_with_video(alice.api(), seated, bits).await?;
        Ok((Ringing { id, seat, caller, video: bits }, took))
    }

    /// Calls, lets it ring for [`RING`], answers, and waits until both hear each other.
    pub async fn talk(&self) -> Result<(Talk, Duration)> {
        let (ringing, rang) = self.ring().await?;
        // The caller's path is built while it rings; a person takes at least this long.
        tokio::time::sleep(RING).await;
        Ok((self.answer(ringing).await?, rang))
    }

    /// Answers a call that rings, and waits until both hear each other.
    pub async fn answer(&self, ringing: Ringing) -> Result<Talk> {
        let bob = &self.nodes[1];
        let mut sent = vec![ringing.caller.sent()];
        let at_caller = Ear::of(ringing.caller);
        let answered = Instant::now();
        let seated = bob.api().answer_call(&ringing.id, AnswerCall { video: ringing.video > 0 }).await?;
        let callee = Seat::take_with_video(bob.api(), seated, ringing.video).await?;
        sent.push(callee.sent());
        let at_callee = Ear::of(callee);
        let deadline = Duration::from_secs(30);
        let (caller, callee) = tokio::join!(at_caller.after(answered, deadline), at_callee.after(answered, deadline));
        let first = [caller.context("the caller hears nothing")?, callee.context("the callee hears nothing")?];
        Ok(Talk { id: ringing.id, seat: ringing.seat, ears: [at_caller, at_callee], sent, answered, first })
    }

    /// The call as each of the two sees it.
    pub async fn calls(&self, id: &str) -> Result<[Call; 2]> {
        Ok([self.nodes[0].api().call(id).await?, self.nodes[1].api().call(id).await?])
    }

    /// When each of the two first shows a call in one of these states; waits at most so long.
    pub async fn until_state(&self, id: &str, states: &[CallState], at_most: Duration) -> [Option<Instant>; 2] {
        let wait = |node: &Node| {
            let (mut events, api, id) = (node.events(), node.api().clone(), id.to_owned());
            async move {
                if api.call(&id).await.is_ok_and(|call| states.contains(&call.state)) {
                    return Some(Instant::now());
                }
                let seen = events.wait("a state of the call", |event| match event {
                    Event::Call { call } if call.id == id && states.contains(&call.state) => Some(Instant::now()),
                    _ => None,
                });
                tokio::time::timeout(at_most, seen).await.ok()?.ok()
            }
        };
        let (one, two) = tokio::join!(wait(&self.nodes[0]), wait(&self.nodes[1]));
        [one, two]
    }

    /// Hangs up and waits until both say that the call is over.
    pub async fn hang_up(&self, talk: Talk) -> Result<()> {
        self.nodes[0].api().hangup(&talk.id).await?;
        let over = self.until_state(&talk.id, &[CallState::Ended], Duration::from_secs(10)).await;
        anyhow::ensure!(over.iter().all(Option::is_some), "the call does not end on both sides");
        Ok(())
    }
}

async fn begin(name: &str, options: &crate::node::Options, keep: Option<&Path>) -> Result<Node> {
    use twocan_control::Profile;
    let node = match keep {
        Some(folder) => Node::start_in(name, &folder.join(name), options, None).await?,
        None => Node::start(name, options).await?,
    };
    node.api().set_profile(Profile { name: name.to_owned() }).await?;
    Ok(node)
}

/// A call that rings at the second of a pair.
#[derive(Debug)]
pub struct Ringing {
    /// Its id.
    pub id: String,
    seat: SeatToken,
    caller: Seat,
    video: u32,
}

/// A call in which both hear each other.
#[derive(Debug)]
pub struct Talk {
    /// Its id.
    pub id: String,
    /// The caller's seat.
    pub seat: SeatToken,
    /// What the caller and the callee hear.
    pub ears: [Ear; 2],
    /// When the caller and the callee sent each frame.
    pub sent: Vec<Sent>,
    /// When the answer was given.
    pub answered: Instant,
    /// From the answer to the first frame: at the caller, at the callee.
    pub first: [Duration; 2],
}

impl Talk {
    /// Waits until both hear something after a moment: how long after it.
    pub async fn heard(&self, from: Instant, at_most: Duration) -> [Option<Duration>; 2] {
        let (one, two) = tokio::join!(self.ears[0].after(from, at_most), self.ears[1].after(from, at_most));
        [one, two]
    }

    /// The longest silence that either heard in a window.
    pub fn silence(&self, from: Instant, to: Instant) -> [Duration; 2] {
        [self.ears[0].silence(from, to), self.ears[1].silence(from, to)]
    }
}
