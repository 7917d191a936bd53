//! One measured call: two people, a line with conditions, a window of time.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;
use twocan_control::{AnswerCall, Handle, PlaceCall};
use twocan_media::audio::AudioSource;
use twocan_media::session::Stats;
use twocan_media::{now_ns, video};

use super::cells::{BASE_RTT, Cell, Cross};
use super::person::{Notes, Person, Plan};
use super::speech;
use super::wire::Wire;
use crate::lab::link::Conditions;
use crate::lab::pair::{Pair, Setup};
use crate::lab::site::Kind;
use crate::world::incoming_call;

/// What a node says to others when it starts has been said after this time: it is no part of a call.
const STARTED: Duration = Duration::from_secs(3);
/// How long it rings: the path is built meanwhile.
const RING: Duration = Duration::from_millis(700);
/// How long the first sound may take, on a bad line.
const FIRST: Duration = Duration::from_secs(20);
/// How often the nodes' numbers are read.
const ASK: Duration = Duration::from_millis(500);
/// Bytes of one packet of other traffic.
const CROSS_PACKET: usize = 1_200;

/// Two linked nodes with their lines, for one call after the other.
#[derive(Debug)]
pub struct Bench {
    /// The nodes and the lab.
    pub pair: Pair,
    /// What each of the two sends.
    pub wires: [Wire; 2],
}

/// How one call is measured.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The line.
    pub cell: Cell,
    /// From the first sound to the window.
    pub settle: Duration,
    /// The window.
    pub window: Duration,
    /// What each of the two sends.
    pub plans: [Plan; 2],
    /// The caller's line behaves so from these times in the window on.
    pub steps: Vec<(Duration, Conditions)>,
}

/// What a node said of a call at some time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When, ns.
    pub at_ns: u64,
    /// Bits per second that the path is believed to carry.
    pub target: f64,
}

/// What was measured, not judged yet.
#[derive(Debug)]
pub struct Raw {
    /// What each of the two said, heard and saw.
    pub notes: [Notes; 2],
    /// The window, ns.
    pub window: (u64, u64),
    /// The sessions' counts at its begin and end.
    pub stats: [(Stats, Stats); 2],
    /// What each node said in the window.
    pub samples: [Vec<Sample>; 2],
}

impl Bench {
    /// Makes a lab, lets two nodes and a public friend of both meet, and taps their lines.
    ///
    /// # Errors
    /// There can be no lab, or the nodes do not meet.
    pub async fn start(seed: u64, keep: Option<&Path>) -> Result<Self> {
        let setup = Setup { rtt: BASE_RTT, seed, keep: keep.map(Path::to_owned), ..Setup::default() };
        let open = Kind::open();
        let pair = Pair::linked([&open, &open], &setup).await?;
        sleep(STARTED).await;
        let wires = [0, 1].map(|at: usize| Wire::tap(&pair.lab, pair.hosts[at].site()));
        Ok(Self { pair, wires })
    }

    /// Lets them talk, and measures. The line is good while it rings, and again afterwards.
    ///
    /// # Errors
    /// The call does not come about, or breaks.
    pub async fn call(&self, measure: &Measure) -> Result<Raw> {
        let site = self.pair.hosts[0].site();
        let result = self.talk(measure).await;
        self.pair.lab.set_uplink(site, self.pair.lab.uplink());
        for call in self.pair.nodes[0].api().calls().await.unwrap_or_default() {
            // One that is over already needs nothing.
            let _ = self.pair.nodes[0].api().hangup(&call.id).await;
        }
        result
    }

    async fn talk(&self, measure: &Measure) -> Result<Raw> {
        let [alice, bob] = &self.pair.nodes;
        self.pair.online().await?;
        self.wires.iter().for_each(Wire::clear);
        let mut people = [Person::start(&measure.plans[0])?, Person::start(&measure.plans[1])?];
        let video = measure.plans.iter().map(|plan| plan.picture.is_some()).collect::<Vec<_>>();
        let mut rings = bob.events();
        let seated = alice.api().place_call(PlaceCall { friend: "bob".to_owned(), video: video[0] }).await?;
        let id = seated.call.id.clone();
        people[0].sit(alice.api(), seated)?;
        rings.wait("the ringing", incoming_call).await?;
        sleep(RING).await;
        let (lab, site) = (&self.pair.lab, self.pair.hosts[0].site());
        lab.set_uplink(site, measure.cell.uplink());
        let _cross = match &measure.cell.cross {
            Some(cross) => Some(self.cross(*cross)?),
            None => None,
        };
        let seated = bob.api().answer_call(&id, AnswerCall { video: video[1] }).await?;
        people[1].sit(bob.api(), seated)?;
        let deadline = Instant::now() + FIRST;
        while people.iter().any(|person| person.first_sound_ns().is_none()) {
            if measure.plans.iter().any(|plan| !plan.watched || plan.voice == AudioSource::Silence) {
                break;
            }
            if Instant::now() > deadline {
                bail!("they do not hear each other after {} s", FIRST.as_secs());
            }
            sleep(Duration::from_millis(20)).await;
        }
        sleep(measure.settle).await;
        people.iter().for_each(Person::keep_pictures);
        let before = [people[0].stats(), people[1].stats()];
        let (from, begun) = (now_ns(), Instant::now());
        let mut samples = [Vec::new(), Vec::new()];
        let mut steps = measure.steps.iter();
        let mut next = steps.next();
        let mut ask = tokio::time::interval(ASK);
        while begun.elapsed() < measure.window {
            ask.tick().await;
            if let Some((at, line)) = next
                && begun.elapsed() >= *at
            {
                lab.set_uplink(site, Conditions { delay: measure.cell.uplink().delay, ..*line });
                next = steps.next();
            }
            for (node, samples) in self.pair.nodes.iter().zip(&mut samples) {
                if let Some(quality) = node.api().call(&id).await?.quality {
                    samples.push(Sample { at_ns: now_ns(), target: quality.target_bitrate as f64 });
                }
            }
        }
        let window = (from, now_ns());
        let after = [people[0].stats(), people[1].stats()];
        let state = alice.api().call(&id).await?.state;
        if state != twocan_control::CallState::Active {
            bail!("the call is {state:?} at the end");
        }
        alice.api().hangup(&id).await?;
        let [one, other] = people;
        let notes = [one.finish().await, other.finish().await];
        let mut stats = before.into_iter().zip(after);
        let stats = [stats.next().context("two people")?, stats.next().context("two people")?];
        Ok(Raw { notes, window, stats, samples })
    }

    /// Lets another machine of the caller's home send through the same uplink until what is returned is dropped.
    fn cross(&self, cross: Cross) -> Result<Traffic> {
        let host = self.pair.lab.host(self.pair.hosts[0].site())?;
        let socket = host.udp(false, 0)?;
        let to = self.pair.public_hosts.first().and_then(crate::lab::Host::v4).context("no host to send to")?;
        // The discard port: nobody listens there.
        socket.connect((to, 9))?;
        Ok(Traffic::start(socket, cross))
    }
}

/// Sends until dropped.
#[derive(Debug)]
struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    fn start(socket: UdpSocket, cross: Cross) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let gap = Duration::from_secs_f64(CROSS_PACKET as f64 * 8.0 / cross.rate.max(1) as f64);
            let (begun, mut due) = (Instant::now(), Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                due += gap;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if begun.elapsed().as_secs_f64() % (2.0 * cross.period_s) < cross.period_s {
                    // Refusals of the other side come back as errors; nothing follows from them.
                    let _ = socket.send(&[0xff; CROSS_PACKET]);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only sends; if it panicked, the cell shows it by its numbers.
            let _ = thread.join();
        }
    }
}

/// What the two of an ordinary cell send: different voices, moving pictures at the usual size.
///
/// # Errors
/// espeak-ng fails.
pub fn plans(seed: usize, folder: &Path, pictures: bool) -> Result<[Plan; 2]> {
    let plan = |at: usize| -> Result<Plan> {
        Ok(Plan {
            voice: AudioSource::Wav { path: speech::speak(2 * seed + at, folder)?, repeat: true },
            picture: pictures.then(|| (2 * seed as u64 + at as u64 + 1, video::Settings::default())),
            film: None,
            watched: true,
        })
    };
    Ok([plan(0)?, plan(1)?])
}
