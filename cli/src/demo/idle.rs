//! What it costs to be online: traffic and memory of nodes that do nothing but keep their friend.

use std::collections::HashSet;
use std::time::Duration;

use super::setup::World;
use super::story::Story;
use super::traffic::{self, Capture};
use super::usage::CpuWindow;
use crate::exit::Failure;

/// What an idle node costs.
#[derive(Clone, Debug)]
pub struct Idle {
    /// IP bytes a second, both directions, of the busier of the two nodes.
    pub bytes_per_s: Option<f64>,
    /// How they were counted, or why not.
    pub method: String,
    /// The larger resident memory of the two.
    pub rss_mb: Option<f64>,
    /// The larger share of a core.
    pub cpu_percent: Option<f64>,
    /// Length of the window.
    pub seconds: f64,
}

/// The larger resident memory of Alice's and Bob's nodes, megabytes.
///
/// # Errors
/// A node is down.
pub fn rss_mb(world: &World) -> Result<Option<f64>, Failure> {
    let both = [world.alice.rss_mb(), world.bob()?.rss_mb()];
    Ok(both.into_iter().flatten().reduce(f64::max))
}

/// Watches Alice's and Bob's nodes for a while in which nobody does anything.
///
/// # Errors
/// A node is down.
pub async fn watch(world: &World, length: Duration, story: &mut Story<'_>) -> Result<Idle, Failure> {
    let pids = [world.alice.pid(), world.bob()?.pid()];
    story.tell(&format!("for {} s nobody does anything, to see what being online costs", length.as_secs()))?;
    let capture = Capture::start();
    let mut ports: Vec<HashSet<u16>> = pids.iter().map(|pid| traffic::ports(*pid)).collect();
    let cpu = CpuWindow::open(&pids);
    tokio::time::sleep(length).await;
    let cpu_percent = pids.iter().filter_map(|pid| cpu.percent(*pid)).reduce(f64::max);
    let rss_mb = rss_mb(world)?;
    for (ports, pid) in ports.iter_mut().zip(pids) {
        ports.extend(traffic::ports(pid));
    }
    let (bytes_per_s, method) = match capture {
        Ok(capture) => {
            let counted = capture.stop();
            let rates = ports.iter().map(|ports| counted.bytes_per_s(ports));
            (rates.reduce(f64::max), "IP packets of the busier node, captured on loopback".to_owned())
        }
        Err(error) => (None, format!("not counted: capturing packets needs root or CAP_NET_RAW ({error})")),
    };
    let rate = bytes_per_s.map(|rate| format!("{rate:.0} bytes a second")).unwrap_or_else(|| method.clone());
    let memory = rss_mb.map(|mb| format!(", {mb:.1} MB of memory")).unwrap_or_default();
    story.tell(&format!("an idle node with a friend online: {rate}{memory}"))?;
    Ok(Idle { bytes_per_s, method, rss_mb, cpu_percent, seconds: length.as_secs_f64() })
}
