//! What the operating system says about the network, and what the clocks say about sleep.
//!
//! Three things end connections without a word: another address, another default route, and time that passed without
//! us (the machine slept, or the process was stopped). [`start`] watches for all of them and says so in one channel, soon
//! and not too often. Addresses come as events; routes and clocks are looked at each second: a timer that fires far too
//! late tells of a stop, the boot clock running ahead of the monotonic one of sleep.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use futures::StreamExt;
use if_watch::{IfEvent, tokio::IfWatcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// How often clocks and routes are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A look that is later than this tells of time without us. A busy machine is late by less.
const LATE: Duration = Duration::from_millis(2500);
/// Sleep of less than this does not count: the clocks are read one after the other.
const SLEEP: Duration = Duration::from_millis(500);
/// Events come in bunches (an interface gets its addresses one by one): what comes within this time is one change.
const SETTLE: Duration = Duration::from_millis(60);
/// Between two changes that are told, so that an interface that flaps does not keep us busy.
const PAUSE: Duration = Duration::from_millis(400);
/// Addresses that are kept in mind; a machine with more is watched by these.
const MAX_ADDRESSES: usize = 256;
/// Changes that wait to be read; with more, the reader is told of one.
const CHANGES: usize = 4;

/// What changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Traffic leaves by another address or route than before, or an address in use is gone: running paths are broken.
    pub moved: bool,
    /// The machine slept this long.
    pub slept: Option<Duration>,
    /// The process did not run this long (it was stopped, or starved).
    pub stopped: Option<Duration>,
}

impl Change {
    /// Two changes as one.
    fn and(self, other: Self) -> Self {
        let longest = |a: Option<Duration>, b: Option<Duration>| a.max(b);
        Self {
            moved: self.moved || other.moved,
            slept: longest(self.slept, other.slept),
            stopped: longest(self.stopped, other.stopped),
        }
    }
}

/// The two clocks whose difference is sleep.
pub trait Clock: Send + 'static {
    /// Time that the machine was awake, from any beginning.
    fn monotonic(&self) -> Duration;
    /// Time that passed, sleep included, from any beginning.
    fn boot(&self) -> Duration;
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        since(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn boot(&self) -> Duration {
        since(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
    }

    /// The wall clock has to do, where there is no other that counts sleep: setting it forward looks like sleep, and
    /// costs a few pings.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn boot(&self) -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }
}

fn since(time: rustix::time::Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// Finds time that passed without us.
struct Jumps<C> {
    clock: C,
    monotonic: Duration,
    boot: Duration,
}

impl<C: Clock> Jumps<C> {
    fn new(clock: C) -> Self {
        Self { monotonic: clock.monotonic(), boot: clock.boot(), clock }
    }

    /// Called each [`LOOK`], as well as timers can.
    fn look(&mut self) -> Change {
        let (monotonic, boot) = (self.clock.monotonic(), self.clock.boot());
        let awake = monotonic.saturating_sub(self.monotonic);
        let slept = boot.saturating_sub(self.boot).saturating_sub(awake);
        (self.monotonic, self.boot) = (monotonic, boot);
        let late = awake.saturating_sub(LOOK);
        Change { moved: false, slept: (slept >= SLEEP).then_some(slept), stopped: (late >= LATE).then_some(late) }
    }
}

/// By which address and gateway traffic to the internet leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Route {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
    gateways: BTreeSet<String>,
}

impl Route {
    /// Asks the system; nothing is sent.
    fn now() -> Self {
        // Addresses for documentation (RFC 5737, RFC 3849): they go where everything without a route of its own goes.
        let v4 = source((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(198, 51, 100, 1), 9).into());
        let v6 = source((Ipv6Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into());
        Self { v4, v6, gateways: gateways() }
    }

    fn is_none(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

fn source(from: SocketAddr, to: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Interface and gateway of each IPv4 default route; other systems than Linux tell by the source address alone.
fn gateways() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (interface, to, gateway) = (fields.next()?, fields.next()?, fields.next()?);
        (to == "00000000").then(|| format!("{interface} {gateway}"))
    };
    table.lines().skip(1).filter_map(default).take(16).collect()
}

/// The addresses and the route as they were seen last.
#[derive(Default)]
struct Seen {
    addresses: BTreeSet<IpAddr>,
    route: Route,
}

impl Seen {
    /// Takes an event of the system; whether links are worth a look because of it, and whether paths are broken.
    fn event(&mut self, event: IfEvent, route: Route) -> Option<Change> {
        let moved = self.route != route;
        self.route = route;
        let (ip, gone) = match event {
            IfEvent::Up(net) => (net.addr(), false),
            IfEvent::Down(net) => (net.addr(), true),
        };
        if !is_of_use(ip) {
            return moved.then_some(Change { moved, ..Change::default() });
        }
        let changed = if gone {
            self.addresses.remove(&ip)
        } else {
            self.addresses.len() < MAX_ADDRESSES && self.addresses.insert(ip)
        };
        // Without a way to the internet any address may be the one that a path runs by.
        let moved = moved || (changed && (gone || self.route.is_none()));
        (changed || moved).then_some(Change { moved, ..Change::default() })
    }

    fn look(&mut self, route: Route) -> Option<Change> {
        let moved = self.route != route;
        self.route = route;
        moved.then_some(Change { moved, ..Change::default() })
    }
}

/// Whether a path to a friend can run by this address.
fn is_of_use(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

/// Starts watching, on a task that ends when the receiver is dropped.
pub fn start() -> mpsc::Receiver<Change> {
    let (changes, receiver) = mpsc::channel(CHANGES);
    tokio::spawn(watch(changes, Jumps::new(SystemClock)));
    receiver
}

async fn watch<C: Clock>(changes: mpsc::Sender<Change>, mut jumps: Jumps<C>) {
    let mut watcher = IfWatcher::new()
        .inspect_err(|error| tracing::warn!("changes of addresses are not told by the system: {error}"))
        .ok();
    let mut seen = Seen { addresses: BTreeSet::new(), route: Route::now() };
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Instant::now();
    // What the system lists at the beginning is no change.
    let beginning = told + LOOK;
    let mut waiting: Option<(Change, Instant)> = None;
    loop {
        let due = waiting.map(|(_, at)| at);
        let found = tokio::select! {
            event = next_event(&mut watcher) => match event {
                Some(event) => seen.event(event, Route::now()).filter(|_| Instant::now() >= beginning),
                None => { watcher = None; None }
            },
            _ = ticks.tick() => {
                let jump = jumps.look();
                let moved = seen.look(Route::now());
                (jump != Change::default() || moved.is_some()).then(|| jump.and(moved.unwrap_or_default()))
            }
            () = until(due) => {
                if let Some((change, _)) = waiting.take() {
                    told = Instant::now();
                    if let Err(mpsc::error::TrySendError::Closed(_)) = changes.try_send(change) {
                        return;
                    }
                }
                None
            }
            () = changes.closed() => return,
        };
        if let Some(found) = found {
            let now = Instant::now();
            // Time without us is told at once: everything waits for it.
            let settle = if found.slept.or(found.stopped).is_some() { Duration::ZERO } else { SETTLE };
            let at = (now + settle).max(told + PAUSE);
            waiting = Some(match waiting {
                Some((change, before)) => (change.and(found), before.min(at)),
                None => (found, at),
            });
        }
    }
}

async fn next_event(watcher: &mut Option<IfWatcher>) -> Option<IfEvent> {
    let Some(watcher) = watcher else { return std::future::pending().await };
    loop {
        match watcher.next().await? {
            Ok(event) => return Some(event),
            Err(error) => tracing::debug!("a change of addresses was missed: {error}"),
        }
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Hands(Arc<Mutex<(Duration, Duration)>>);

    impl Hands {
        fn pass(&self, awake: Duration, asleep: Duration) {
            let mut hands = self.0.lock().unwrap();
            hands.0 += awake;
            hands.1 += awake + asleep;
        }
    }

    impl Clock for Hands {
        fn monotonic(&self) -> Duration {
            self.0.lock().unwrap().0
        }

        fn boot(&self) -> Duration {
            self.0.lock().unwrap().1
        }
    }

    #[test]
    fn sleep_is_the_boot_clock_running_ahead() {
        let hands = Hands::default();
        let mut jumps = Jumps::new(hands.clone());
        for _ in 0..100 {
            hands.pass(LOOK, Duration::ZERO);
            assert_eq!(jumps.look(), Change::default());
        }
        let hour = Duration::from_secs(3600);
        hands.pass(LOOK / 2, hour);
        assert_eq!(jumps.look(), Change { slept: Some(hour), ..Change::default() });
        hands.pass(LOOK, Duration::ZERO);
        assert_eq!(jumps.look(), Change::default(), "it is told once");
    }

    #[test]
    fn a_stopped_process_is_a_timer_that_fires_far_too_late() {
        let hands = Hands::default();
        let mut jumps = Jumps::new(hands.clone());
        hands.pass(LOOK + Duration::from_secs(60), Duration::ZERO);
        assert_eq!(jumps.look(), Change { stopped: Some(Duration::from_secs(60)), ..Change::default() });
        hands.pass(LOOK + LATE / 2, Duration::ZERO);
        assert_eq!(jumps.look(), Change::default(), "a busy machine is no stopped one");
    }

    fn up(text: &str) -> IfEvent {
        IfEvent::Up(text.parse().unwrap())
    }

    fn down(text: &str) -> IfEvent {
        IfEvent::Down(text.parse().unwrap())
    }

    fn by(ip: &str) -> Route {
        Route { v4: ip.parse().ok(), ..Route::default() }
    }

    #[test]
    fn paths_are_broken_when_traffic_leaves_by_another_address_or_an_address_is_gone() {
        let moved = Some(Change { moved: true, ..Change::default() });
        let mut seen = Seen { addresses: BTreeSet::new(), route: by("192.0.2.1") };
        let beside = Some(Change::default());
        assert_eq!(seen.event(up("192.0.2.1/24"), by("192.0.2.1")), beside);
        assert_eq!(seen.event(up("192.0.2.1/24"), by("192.0.2.1")), None, "known already");
        assert_eq!(seen.event(up("172.17.0.1/16"), by("192.0.2.1")), beside, "a bridge beside the network");
        assert_eq!(seen.event(up("198.51.100.7/24"), by("198.51.100.7")), moved, "from Wi-Fi to cable");
        assert_eq!(seen.event(down("192.0.2.1/24"), by("198.51.100.7")), moved);
        assert_eq!(seen.look(by("198.51.100.7")), None);
        assert_eq!(seen.look(Route::default()), moved, "the route is lost");
        assert_eq!(seen.event(up("10.0.0.1/8"), Route::default()), moved, "a network without the internet");
    }

    #[test]
    fn addresses_that_no_path_runs_by_change_nothing() {
        let mut seen = Seen { addresses: BTreeSet::new(), route: by("192.0.2.1") };
        for text in ["127.0.0.1/8", "169.254.3.4/16", "fe80::1/64", "::1/128"] {
            assert_eq!(seen.event(up(text), by("192.0.2.1")), None);
            assert_eq!(seen.event(down(text), by("192.0.2.1")), None);
        }
    }

    #[tokio::test]
    async fn a_clock_that_jumps_is_told_once_by_the_watch() {
        let hands = Hands::default();
        let (changes, mut told) = mpsc::channel(CHANGES);
        let watching = tokio::spawn(watch(changes, Jumps::new(hands.clone())));
        hands.pass(Duration::ZERO, Duration::from_secs(3600));
        let change = tokio::time::timeout(Duration::from_secs(60), told.recv()).await.unwrap().unwrap();
        assert_eq!(change.slept, Some(Duration::from_secs(3600)));
        drop(told);
        tokio::time::timeout(Duration::from_secs(60), watching).await.unwrap().unwrap();
    }
}
