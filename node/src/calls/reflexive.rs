//! The addresses of the calls' port as the world sees them: asked of public twocan nodes (STUN binding, RFC 8489) from
//! the port itself, so that the answer is the mapping that calls will use.
//!
//! Two servers are asked in each address family: answers that differ show a NAT that gives each destination another
//! mapping. Behind a NAT the question is repeated often enough to keep the mapping (RFC 4787 asks for two minutes, home
//! routers are known to forget after 30 s); elsewhere seldom. Cost while idle behind a NAT: 2 packets of 28 + 28 bytes
//! each way in 25 s.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::mux::Mux;
use super::stun::{Class, Message, Transaction, Writer};

/// Servers that are kept to choose from.
pub(super) const MAX_SERVERS: usize = 8;
/// Servers asked in each address family.
const ASKED: usize = 2;
/// Questions under way.
const MAX_OPEN: usize = 64;
/// When a question is repeated, milliseconds after the one before (a first one is often lost while a NAT or a cache of
/// neighbours warms up).
const REPEAT: [u64; 4] = [150, 300, 600, 1200];
/// Behind a NAT the mapping is used at least this often.
const KEEP: Duration = Duration::from_secs(25);
/// After nobody answered.
const AGAIN: Duration = Duration::from_secs(30);
/// How often it is asked without NAT.
const SELDOM: Duration = Duration::from_secs(240);

/// What a server saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflexive {
    /// Who was asked.
    pub server: SocketAddr,
    /// From where the question came.
    pub mapped: SocketAddr,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions and answers.
#[derive(Debug)]
pub(super) struct Asker {
    servers: Mutex<Vec<SocketAddr>>,
    /// How often in a row each was asked in vain: those that answer, or were not asked yet, come first.
    silent: Mutex<HashMap<SocketAddr, u32>>,
    open: Mutex<HashMap<Transaction, (SocketAddr, Instant)>>,
    /// Who answered in this round.
    heard: Mutex<Vec<SocketAddr>>,
    answers: watch::Sender<Vec<Reflexive>>,
    /// Ask at once.
    hasten: Notify,
    /// Somebody has answered.
    answer: Notify,
    /// Whether UDP passes: known once a server was asked to the end.
    passes: Mutex<Option<bool>>,
}

impl Default for Asker {
    fn default() -> Self {
        Self {
            servers: Mutex::default(),
            silent: Mutex::default(),
            open: Mutex::default(),
            heard: Mutex::default(),
            answers: watch::channel(Vec::new()).0,
            hasten: Notify::new(),
            answer: Notify::new(),
            passes: Mutex::default(),
        }
    }
}

impl Asker {
    pub(super) fn set_servers(&self, mut servers: Vec<SocketAddr>) {
        servers.truncate(MAX_SERVERS);
        let changed = {
            let mut known = lock(&self.servers);
            std::mem::replace(&mut *known, servers.clone()) != servers
        };
        if changed {
            self.hasten.notify_one();
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Vec<Reflexive>> {
        self.answers.subscribe()
    }

    /// The network has changed: everything is asked anew.
    pub(super) fn hasten(&self) {
        *lock(&self.passes) = None;
        lock(&self.silent).clear();
        self.hasten.notify_one();
    }

    /// Whether UDP reaches anybody, as far as is known.
    pub(super) fn passes(&self) -> Option<bool> {
        *lock(&self.passes)
    }

    /// Takes an answer from the port; false if nobody asked this.
    pub(super) fn answered(&self, now: Instant, id: &Transaction, from: SocketAddr, packet: &[u8]) -> bool {
        {
            let mut open = lock(&self.open);
            open.retain(|_, (_, asked)| now.saturating_duration_since(*asked) < Duration::from_secs(10));
            if open.get(id).is_none_or(|(server, _)| *server != from) {
                return false;
            }
            open.remove(id);
        }
        let mapped = Message::read(packet).filter(|m| m.class == Class::Success).and_then(|m| m.mapped);
        // An address that nobody can have is no news.
        if let Some(mapped) = mapped.filter(|mapped| mapped.port() != 0 && !mapped.ip().is_unspecified()) {
            *lock(&self.passes) = Some(true);
            let told = Reflexive { server: from, mapped };
            self.answers.send_if_modified(|answers| {
                if answers.contains(&told) {
                    return false;
                }
                answers.retain(|known| known.server != from);
                answers.push(told);
                true
            });
            lock(&self.heard).push(from);
            self.answer.notify_one();
        }
        true
    }

    fn ask(&self, mux: &Mux, server: SocketAddr) {
        let id: Transaction = rand::random();
        {
            let mut open = lock(&self.open);
            if open.len() >= MAX_OPEN {
                open.clear();
            }
            open.insert(id, (server, Instant::now()));
        }
        mux.send(None, server, &Writer::request(id).plain());
    }

    /// Notes who answered of those that were asked; `true` if nobody did, and others were not asked yet.
    fn judge(&self, asked: &[SocketAddr], heard: &[SocketAddr], v6: bool) -> bool {
        let servers = lock(&self.servers).clone();
        let mut silent = lock(&self.silent);
        silent.retain(|server, _| servers.contains(server));
        for server in asked.iter().filter(|server| servers.contains(server)) {
            if heard.contains(server) {
                silent.remove(server);
            } else {
                *silent.entry(*server).or_default() += 1;
            }
        }
        let new = |server: &&SocketAddr| (v6 || server.is_ipv4()) && !silent.contains_key(server);
        heard.is_empty() && servers.iter().find(new).is_some_and(|server| !asked.contains(server))
    }

    /// Two servers of each family, of different networks where there are any.
    fn chosen(&self, v6: bool) -> Vec<SocketAddr> {
        let mut servers = lock(&self.servers).clone();
        {
            let silent = lock(&self.silent);
            servers.sort_by_key(|server| silent.get(server).copied().unwrap_or(0));
        }
        let mut chosen: Vec<SocketAddr> = Vec::new();
        for family in [true, false] {
            let of = |server: &&SocketAddr| server.is_ipv4() == family && (family || v6);
            let Some(first) = servers.iter().find(of) else { continue };
            chosen.push(*first);
            let other = |server: &&SocketAddr| of(server) && server.ip() != first.ip();
            chosen.extend(servers.iter().filter(other).take(ASKED - 1));
        }
        chosen
    }
}

/// One round of questions; gives who answered.
async fn round(mux: &Mux, servers: &[SocketAddr]) -> Vec<SocketAddr> {
    let asker = &mux.asker;
    lock(&asker.heard).clear();
    let open = || -> Vec<SocketAddr> {
        let heard = lock(&asker.heard);
        servers.iter().copied().filter(|server| !heard.contains(server)).collect()
    };
    for wait in REPEAT {
        open().into_iter().for_each(|server| asker.ask(mux, server));
        let end = tokio::time::Instant::now() + Duration::from_millis(wait);
        while !open().is_empty() {
            tokio::select! {
                () = asker.answer.notified() => {}
                () = tokio::time::sleep_until(end) => break,
            }
        }
        if open().is_empty() {
            break;
        }
    }
    let heard = lock(&asker.heard);
    heard.clone()
}

/// Asks for ever. `own` tells whether an address is one of this machine's.
pub(super) async fn run(mux: Arc<Mux>, own: impl Fn(IpAddr) -> bool + Send) {
    let asker = &mux.asker;
    loop {
        let v6 = mux.local().is_ipv6();
        let servers = asker.chosen(v6);
        let heard = round(&mux, &servers).await;
        let others = asker.judge(&servers, &heard, v6);
        // What a server said before the network changed must not outlive the change.
        asker.answers.send_if_modified(|answers| {
            let before = answers.len();
            answers.retain(|known| heard.contains(&known.server));
            before != answers.len()
        });
        if !servers.is_empty() && !others {
            let passes = !heard.is_empty();
            if lock(&asker.passes).replace(passes) != Some(passes) && !passes {
                tracing::info!("no STUN server answers: UDP may be blocked here");
            }
        }
        let behind_nat = asker.answers.borrow().iter().any(|known| !own(known.mapped.ip()));
        let lost = !servers.is_empty() && heard.is_empty();
        if others {
            continue;
        }
        let pause = match (behind_nat, lost) {
            (true, _) => KEEP,
            (_, true) => AGAIN,
            _ => SELDOM,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asker.hasten.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A STUN server that says that questions come from here.
    async fn server(mapped: SocketAddr) -> SocketAddr {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut buffer, mut asked) = ([0; 200], 0);
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                asked += 1;
                let Some(question) = Message::read(&buffer[..length]) else { continue };
                // The first question gets lost, and somebody else's answer comes first.
                if asked > 1 {
                    let forged = Writer::success([9; 12], "192.0.2.66:1".parse().unwrap()).plain();
                    socket.send_to(&forged, from).await.unwrap();
                    socket.send_to(&Writer::success(question.transaction, mapped).plain(), from).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn two_servers_tell_the_mappings_and_a_change_of_network_asks_again() {
        let mux = Arc::new(Mux::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap());
        tokio::spawn(mux.clone().run());
        tokio::spawn(run(mux.clone(), |ip| ip.is_loopback()));
        let mut told = mux.asker.watch();
        let mapped: Vec<SocketAddr> = vec!["203.0.113.1:1000".parse().unwrap(), "203.0.113.1:2000".parse().unwrap()];
        let servers = vec![server(mapped[0]).await, server(mapped[1]).await];
        mux.asker.set_servers(servers.clone());
        let expected = |answers: &Vec<Reflexive>| {
            // Both servers have one address here; only one of a network is asked.
            answers.iter().any(|a| a.server == servers[0] && a.mapped == mapped[0])
        };
        tokio::time::timeout(Duration::from_secs(20), told.wait_for(expected)).await.unwrap().unwrap();
        assert_eq!(mux.asker.passes(), Some(true));
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        mux.asker.set_servers(vec![silent.local_addr().unwrap()]);
        tokio::time::timeout(Duration::from_secs(20), told.wait_for(Vec::is_empty)).await.unwrap().unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while mux.asker.passes() != Some(false) {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn servers_that_are_silent_make_room_for_others_until_they_answer() {
        let asker = Asker::default();
        let servers: Vec<SocketAddr> = (1..=4).map(|n| SocketAddr::new([192, 0, 2, n].into(), 3478)).collect();
        asker.set_servers(servers.clone());
        assert_eq!(asker.chosen(true), servers[..2]);
        assert!(asker.judge(&servers[..2], &[], true), "two were not asked yet");
        assert_eq!(asker.chosen(true), servers[2..]);
        assert!(!asker.judge(&servers[2..], &servers[3..], true));
        assert_eq!(asker.chosen(true), [servers[3], servers[0]]);
        assert!(!asker.judge(&[servers[3], servers[0]], &[servers[0]], true));
        assert_eq!(asker.chosen(true), servers[..2], "the first again, then one of those that were silent once");
        asker.hasten();
        assert_eq!(asker.chosen(true), servers[..2]);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_asked_for_changes_nothing() {
        let mux = Arc::new(Mux::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap());
        let server: SocketAddr = "192.0.2.1:3478".parse().unwrap();
        mux.asker.ask(&mux, server);
        let id = *lock(&mux.asker.open).keys().next().unwrap();
        let answer = Writer::success(id, "203.0.113.1:1000".parse().unwrap()).plain();
        let now = Instant::now();
        assert!(!mux.asker.answered(now, &id, "192.0.2.2:3478".parse().unwrap(), &answer));
        assert!(!mux.asker.answered(now, &[1; 12], server, &answer));
        assert!(mux.asker.watch().borrow().is_empty());
        assert!(mux.asker.answered(now, &id, server, &answer));
        assert!(!mux.asker.answered(now, &id, server, &answer));
        assert_eq!(mux.asker.watch().borrow().len(), 1);
    }
}
