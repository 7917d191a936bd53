//! What a relayed call costs the relay, and how much later it is heard than over a direct path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use twocan_control::LinkPath;

use super::net::{Verdict, Way};
use super::packet;
use super::pair::{Pair, RING, Setup, Talk};
use super::site::Kind;
use super::survive::until_path;
use crate::node::Node;

/// Video of each side, bits per second; with audio and what is around it about 1.5 Mbit/s.
const VIDEO: u32 = 1_440_000;
/// From the answer to the measured window.
const SETTLE: Duration = Duration::from_secs(3);
/// How many packets may wait in the relay at most while its delay is measured.
const MAX_WAITING: usize = 10_000;
/// By what a packet is known again: the end of its sealed bytes, which a relay does not change.
const TAIL: usize = 12;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Share of one core that the relay's process used, in percent.
    pub relay_cpu_percent: f64,
    /// Bits per second into the relay, both directions of the call together.
    pub relay_bits_in: f64,
    /// From a packet into the relay's host to the same out of it: median, 99th percentile, milliseconds.
    pub relay_delay_ms: [f64; 2],
    /// Packets by which that was measured.
    pub relay_packets: usize,
    /// From a frame into one node to the same out of the other, median, milliseconds: relayed.
    pub relayed_ms: f64,
    /// The same over a direct path.
    pub direct_ms: f64,
    /// Resident memory of the relay during the call, KiB.
    pub relay_kib: u64,
}

/// Measures for so long, with no delay on any line.
pub async fn measure(setup: &Setup, window: Duration) -> Result<Cost> {
    let setup = Setup { rtt: Duration::ZERO, ..setup.clone() };
    let (direct, talk) = talking("open", &setup, LinkPath::Direct).await.context("the direct call")?;
    let direct_ms = delay(&talk, window).await;
    direct.hang_up(talk).await?;
    drop(direct);

    let (pair, talk) = talking("symmetric", &setup, LinkPath::Relayed).await.context("the relayed call")?;
    let site = pair.public_hosts[0].site();
    let bytes = || pair.lab.with_site(site, |site| site.down.bytes);
    let waiting: Arc<Mutex<HashMap<Vec<u8>, Instant>>> = Arc::default();
    let delays: Arc<Mutex<Vec<f64>>> = Arc::default();
    pair.lab.tamper(
        site,
        Some(Box::new({
            let (waiting, delays) = (Arc::clone(&waiting), Arc::clone(&delays));
            move |way, packet| {
                let payload = packet::udp_payload(packet).unwrap_or_default();
                if let Some(tail) = payload.len().checked_sub(TAIL).and_then(|from| payload.get(from..)) {
                    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    match way {
                        Way::In if waiting.len() < MAX_WAITING => drop(waiting.insert(tail.to_vec(), Instant::now())),
                        Way::In => {}
                        Way::Out => {
                            if let Some(came) = waiting.remove(tail) {
                                let mut delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
                                delays.push(came.elapsed().as_secs_f64() * 1e3);
                            }
                        }
                    }
                }
                Verdict::Pass
            }
        })),
    );
    let (cpu, before, begin) = (cpu(&pair.public[0])?, bytes(), Instant::now());
    let relayed_ms = delay(&talk, window).await;
    let seconds = begin.elapsed().as_secs_f64();
    let used = (self::cpu(&pair.public[0])? - cpu).as_secs_f64();
    let bits = (bytes() - before) as f64 * 8.0 / seconds;
    pair.lab.tamper(site, None);
    let mut delays = std::mem::take(&mut *delays.lock().unwrap_or_else(PoisonError::into_inner));
    delays.sort_by(f64::total_cmp);
    let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).copied().map_or(f64::NAN, round);
    let cost = Cost {
        relay_cpu_percent: round(used / seconds * 100.0),
        relay_bits_in: bits.round(),
        relay_delay_ms: [at(0.5), at(0.99)],
        relay_packets: delays.len(),
        relayed_ms,
        direct_ms,
        relay_kib: pair.public[0].resident_kib()?,
    };
    pair.hang_up(talk).await?;
    Ok(cost)
}

async fn talking(kind: &str, setup: &Setup, path: LinkPath) -> Result<(Pair, Talk)> {
    let kind: Kind = kind.parse()?;
    let pair = Pair::linked([&kind, &kind], setup).await?;
    let (ringing, _) = pair.ring_with_video(VIDEO).await?;
    tokio::time::sleep(RING).await;
    let talk = pair.answer(ringing).await?;
    until_path(&pair, &talk, path).await?;
    tokio::time::sleep(SETTLE).await;
    Ok((pair, talk))
}

/// The median delay of frames from the caller's client to the callee's, over a window from now.
async fn delay(talk: &Talk, window: Duration) -> f64 {
    let from = Instant::now();
    tokio::time::sleep(window).await;
    let mut delays = talk.ears[1].delays(&talk.sent[0], from, Instant::now());
    delays.sort();
    delays.get(delays.len() / 2).map_or(f64::NAN, |delay| round(delay.as_secs_f64() * 1e3))
}

/// Processor time of all threads of a node.
fn cpu(node: &Node) -> Result<Duration> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", node.pid()))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        sum += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(sum))
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
