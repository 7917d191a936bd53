//! Friends at sites of every kind who have nothing to say for a while: which links are kept?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use twocan_control::{Event, Handle, PlaceCall};

use super::matrix::KINDS;
use super::nat::Memory;
use super::pair::Setup;
use super::people::{self, befriend};
use super::site::Kind;
use super::{Host, Lab};
use crate::node::Node;
use crate::world;

/// Links are young for this long: paths may still become better.
const SETTLE: Duration = Duration::from_secs(30);

/// Between two waits that are in vain; what happens meanwhile is heard in the next.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of the links.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// How long nobody said anything.
    pub seconds: u64,
    /// Links between people of all kinds of sites.
    pub links: usize,
    /// Those of which no end saw the friend offline in that time, and that were up at its end.
    pub kept: usize,
    /// Who saw whom go, and how many seconds after the beginning.
    pub lost: Vec<(String, String, f64)>,
    /// Over which kinds of paths the links ran at the end.
    pub paths: BTreeMap<String, usize>,
    /// Bytes a second that left each person's site, and how many packets a minute.
    pub traffic: BTreeMap<String, (f64, f64)>,
    /// Calls placed at the end over each link of the first person that rang.
    pub rang: usize,
}

/// One person of each kind, every two of them friends, and their public friend.
struct Crowd {
    lab: Lab,
    hosts: Vec<Host>,
    nodes: Vec<Node>,
    _public: (Host, Node),
}

/// Lets one person of each kind be idle with all others, behind NATs that remember as `memory` says.
pub async fn measure(setup: &Setup, memory: Memory, time: Duration) -> Result<Outcome> {
    let crowd = Crowd::gather(setup, memory).await?;
    tokio::time::sleep(SETTLE).await;
    let mut outcome = Outcome { seconds: time.as_secs(), ..Outcome::default() };
    let before = crowd.sent();
    let began = Instant::now();
    let names = crowd.names().await?;
    let watches = crowd.nodes.iter().map(|node| watch(node, &names, began, time));
    outcome.lost = futures::future::join_all(watches).await.into_iter().flatten().collect();
    outcome.lost.sort_by(|a, b| a.2.total_cmp(&b.2));
    for ((name, (bytes, packets)), (_, (bytes_then, packets_then))) in crowd.sent().into_iter().zip(before) {
        #[expect(clippy::cast_precision_loss, reason = "counts of minutes of an idle node")]
        let per = |now: u64, then: u64| (now - then) as f64 / time.as_secs_f64();
        outcome.traffic.insert(name, (per(bytes, bytes_then), per(packets, packets_then) * 60.0));
    }
    crowd.look(&mut outcome).await?;
    Ok(outcome)
}

impl Crowd {
    async fn gather(setup: &Setup, memory: Memory) -> Result<Self> {
        let lab = Lab::start(setup.rtt, setup.seed)?;
        let (host, node, bootstrap) = people::public_node(&lab, "public", &[], &setup.public_config).await?;
        let nursery = lab.site(Kind::dual())?;
        let (mut hosts, mut nodes) = (Vec::new(), Vec::new());
        for name in KINDS {
            let host = lab.host(nursery)?;
            nodes.push(people::person(&host, name, &bootstrap, &setup.config).await?);
            hosts.push(host);
        }
        for (at, one) in nodes.iter().enumerate() {
            befriend(one, &node).await?;
            for other in &nodes[at + 1..] {
                befriend(one, other).await?;
            }
        }
        for ((node, host), kind) in nodes.iter_mut().zip(&hosts).zip(KINDS) {
            node.stop().await?;
            let site = lab.site(kind.parse()?)?;
            lab.with_site(site, |site| site.nats.iter_mut().for_each(|nat| nat.remember(memory)));
            host.move_to(site)?;
        }
        for node in &mut nodes {
            node.start_again().await?;
        }
        let crowd = Self { lab, hosts, nodes, _public: (host, node) };
        for (at, one) in crowd.nodes.iter().enumerate() {
            for other in crowd.nodes.iter().skip(at + 1) {
                tokio::try_join!(world::online(one, other), world::online(other, one))
                    .with_context(|| format!("{} and {} do not find each other", one.name(), other.name()))?;
            }
        }
        Ok(crowd)
    }

    /// Who has which id.
    async fn names(&self) -> Result<BTreeMap<String, String>> {
        let mut names = BTreeMap::new();
        for node in &self.nodes {
            names.insert(node.api().identity().await?.root, node.name().to_owned());
        }
        Ok(names)
    }

    /// Bytes and packets that have left each site.
    fn sent(&self) -> Vec<(String, (u64, u64))> {
        let sent = |host: &Host| self.lab.with_site(host.site(), |site| (site.up.bytes, site.up.packets));
        self.nodes.iter().zip(&self.hosts).map(|(node, host)| (node.name().to_owned(), sent(host))).collect()
    }

    /// What is there at the end; the first person calls all others.
    async fn look(&self, outcome: &mut Outcome) -> Result<()> {
        for (at, one) in self.nodes.iter().enumerate() {
            for other in &self.nodes[at + 1..] {
                outcome.links += 1;
                let ends = [one.api().friend(other.name()).await?, other.api().friend(one.name()).await?];
                let between = |(a, b, _): &&(String, String, f64)| {
                    [a, b] == [one.name(), other.name()] || [b, a] == [one.name(), other.name()]
                };
                let lost = outcome.lost.iter().find(between).is_some();
                outcome.kept += usize::from(!lost && ends.iter().all(|end| end.online));
                let path = ends[0].link.as_ref().map_or_else(
                    || "none".to_owned(),
                    |link| format!("{} {}", super::matrix::name(link.path), link.transport),
                );
                *outcome.paths.entry(path).or_default() += 1;
            }
        }
        let caller = &self.nodes[0];
        for callee in &self.nodes[1..] {
            let mut rings = callee.events();
            let friend = callee.name().to_owned();
            let seated = caller.api().place_call(PlaceCall { friend, video: false }).await?;
            rings.wait("the ringing", world::incoming_call).await?;
            caller.api().hangup(&seated.call.id).await?;
            outcome.rang += 1;
        }
        Ok(())
    }
}

/// Notes whom a node sees going offline.
async fn watch(
    node: &Node,
    names: &BTreeMap<String, String>,
    began: Instant,
    time: Duration,
) -> Vec<(String, String, f64)> {
    let mut events = node.events();
    let mut lost = Vec::new();
    let end = tokio::time::Instant::from_std(began + time);
    let gone = |event| match event {
        Event::Friend { friend } if !friend.online => names.get(&friend.id).cloned(),
        _ => None,
    };
    while tokio::time::Instant::now() < end {
        let waited = tokio::time::timeout_at(end, events.wait("somebody gone", gone)).await;
        // That a wait is in vain is what is hoped for.
        if let Ok(Ok(friend)) = waited {
            lost.push((node.name().to_owned(), friend, began.elapsed().as_secs_f64()));
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }
    lost
}
