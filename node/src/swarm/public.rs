//! The public IPFS DHT (`/ipfs/kad/1.0.0`), asked and written to as a client, from a swarm of its own.
//!
//! It serves two ends (`specs/02-rendezvous.md`, "The public DHT"): slots can be mirrored there as IPNS records, and a
//! node that knows no other twocan node finds its first ones there. Neither is on the way of ringing, so this swarm
//! exists only while something is asked of it, and rests a minute after ([`actor`]): a resting client costs one task.
//! It has a key of its own, new at every start, listens nowhere, serves nothing, and speaks no protocol but the DHT's:
//! a server learns our network address, which names we ask for, and nothing of the node behind.

mod actor;
mod behaviour;

use std::{fmt, time::Duration};

use libp2p::{
    Multiaddr, PeerId,
    multiaddr::{self, Protocol},
};
use tokio::sync::{mpsc, oneshot, watch};
use twocan_protocol::rendezvous::{FIRST_KEY_LEN, IpnsName};

use super::{
    scope::{is_dialable, scope_of},
    types::StartError,
};
use actor::{Actor, Command};

/// Well-known nodes of the public DHT, as its other implementations have them. Names are resolved when they are dialled.
pub const WELL_KNOWN: [&str; 6] = [
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "/dnsaddr/va1.bootstrap.libp2p.io/p2p/12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8",
    "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
];
/// Addresses to start from at most.
pub const MAX_START: usize = 32;
/// Operations that may wait for the task; who asks for more waits itself.
const COMMANDS: usize = 32;
/// Copies or providers of one lookup that may wait for their reader; servers send at most twenty each.
const FOUND: usize = 64;
/// No operation takes longer: about twenty nodes in sequence that answer slowly.
const OPERATION_LIMIT: Duration = Duration::from_secs(90);

/// How the client is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not asked for anything at present; no swarm exists.
    #[default]
    Resting,
    /// Asked, and no server has answered yet.
    Reaching,
    /// Servers answer.
    Connected,
}

/// What the rest of the node sees of the public DHT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicDhtView {
    /// How it is doing.
    pub state: State,
    /// Servers connected at present.
    pub peers: usize,
    /// What went wrong last, in a few words; `None` once something went well after.
    pub last_error: Option<String>,
}

/// Why an operation came to nothing. Names no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicError {
    /// No server could be reached.
    #[error("no server of the public DHT could be reached")]
    Unreachable,
    /// Servers were reached and took nothing.
    #[error("no server of the public DHT took it")]
    Refused,
    /// More was asked than the limits on traffic allow.
    #[error("too much was asked of the public DHT in a short time")]
    TooMuch,
    /// The node is stopping.
    #[error("the client of the public DHT has stopped")]
    Stopped,
}

/// A node of the public DHT to start from: its PeerId and one address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
}

/// Reads an address to start from.
///
/// # Errors
/// [`StartError::Bootstrap`], which says what is wrong with it.
fn start_of(text: &str) -> Result<Start, StartError> {
    let refused = |reason: &str| StartError::PublicBootstrap { address: text.to_owned(), reason: reason.to_owned() };
    let mut address: Multiaddr = text.parse().map_err(|error: multiaddr::Error| refused(&error.to_string()))?;
    let Some(Protocol::P2p(peer)) = address.pop() else {
        return Err(refused("it must end with /p2p/ and a PeerId"));
    };
    let by_name = matches!(address.iter().next(), Some(Protocol::Dnsaddr(_)));
    if scope_of(&address).is_none() || !(by_name || is_dialable(&address)) {
        return Err(refused("it takes /dnsaddr, or /ip4, /ip6 or /dns with /tcp/PORT or /udp/PORT/quic-v1"));
    }
    Ok(Start { peer, address })
}

/// Whether an address that a person wrote down can be one of the public DHT.
///
/// # Errors
/// [`StartError::PublicBootstrap`], which says what is wrong with it.
pub fn check_start(address: &str) -> Result<(), StartError> {
    start_of(address).map(|_| ())
}

/// The client. Cheap to clone; its swarm ends when the last one is dropped.
#[derive(Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<PublicDhtView>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&*self.view.borrow()).finish()
    }
}

impl Client {
    /// A client that starts from `addresses` (multiaddr texts with `/p2p/…`) when it is first asked for something, on
    /// the current tokio runtime. Only servers at least as far in [`super::Scope`] as the nearest of `addresses` are
    /// asked: a client that starts from a public node never dials a private address.
    ///
    /// # Errors
    /// If an address cannot be understood.
    pub fn new(addresses: &[String]) -> Result<Self, StartError> {
        Self::start(addresses, false)
    }

    /// One that can announce ([`Client::provide`]). It says in identify at which addresses the announced node is:
    /// servers of before 2024 take a provider's addresses from there alone. Not to be used for anything else, so that
    /// an announcement is not linked to what this node asks for.
    ///
    /// # Errors
    /// If an address cannot be understood.
    pub fn announcer(addresses: &[String]) -> Result<Self, StartError> {
        Self::start(addresses, true)
    }

    fn start(addresses: &[String], announces: bool) -> Result<Self, StartError> {
        let start = addresses.iter().take(MAX_START).map(|text| start_of(text)).collect::<Result<Vec<_>, _>>()?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (view, view_of) = watch::channel(PublicDhtView::default());
        tokio::spawn(Actor::new(start, announces, inbox, view).run());
        Ok(Self { commands, view: view_of })
    }

    /// Puts an IPNS record to the twenty servers closest to its name, which verify it. Returns how many took it.
    ///
    /// # Errors
    /// If none did.
    pub async fn put(&self, name: IpnsName, record: Vec<u8>) -> Result<u32, PublicError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Put { name, record, reply }, answer).await
    }

    /// Asks for the record with this name. Copies come unverified.
    ///
    /// # Errors
    /// If the node is stopping.
    pub async fn get(&self, name: IpnsName) -> Result<Lookup<Vec<u8>>, PublicError> {
        let (reply, found) = mpsc::channel(FOUND);
        self.commands.send(Command::Get { name, reply }).await.map_err(|_| PublicError::Stopped)?;
        Ok(Lookup { found })
    }

    /// Announces `addresses` (of this node's other swarm) under a key, at the twenty servers closest to it, which do not
    /// answer to that.
    ///
    /// # Errors
    /// If none could be reached.
    pub async fn provide(&self, key: [u8; FIRST_KEY_LEN], addresses: Vec<String>) -> Result<(), PublicError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Provide { key, addresses, reply }, answer).await.map(|_| ())
    }

    /// Asks who announced themselves under a key. Each found item is one provider's addresses: unverified, within the
    /// client's scope, at most eight.
    ///
    /// # Errors
    /// If the node is stopping.
    pub async fn providers(&self, key: [u8; FIRST_KEY_LEN]) -> Result<Lookup<Vec<String>>, PublicError> {
        let (reply, found) = mpsc::channel(FOUND);
        self.commands.send(Command::Providers { key, reply }).await.map_err(|_| PublicError::Stopped)?;
        Ok(Lookup { found })
    }

    /// Ends the swarm now rather than after a minute without a question, unless something is still asked.
    pub async fn rest(&self) {
        let _ = self.commands.send(Command::Rest).await;
    }

    /// How it is doing, now and as it changes.
    pub fn view(&self) -> watch::Receiver<PublicDhtView> {
        self.view.clone()
    }

    async fn ask(&self, command: Command, answer: oneshot::Receiver<Answer>) -> Answer {
        self.commands.send(command).await.map_err(|_| PublicError::Stopped)?;
        let answer = tokio::time::timeout(OPERATION_LIMIT, answer).await;
        answer.map_or(Err(PublicError::Unreachable), |answer| answer.unwrap_or(Err(PublicError::Stopped)))
    }
}

/// How an operation ended: how many servers answered to it.
type Answer = Result<u32, PublicError>;

/// What a lookup finds, as it comes. Dropping it ends the lookup.
#[derive(Debug)]
pub struct Lookup<T> {
    found: mpsc::Receiver<T>,
}

impl<T> Lookup<T> {
    /// The next that is found; `None` when the lookup has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<T> {
        self.found.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_nodes_and_lab_addresses_can_be_started_from_and_mistakes_are_named() {
        WELL_KNOWN.iter().for_each(|address| check_start(address).unwrap());
        let peer = PeerId::random();
        check_start(&format!("/ip4/127.0.0.1/tcp/4001/p2p/{peer}")).unwrap();
        check_start(&format!("/ip4/9.9.9.9/udp/4001/quic-v1/p2p/{peer}")).unwrap();
        for bad in ["", "hello", "/ip4/127.0.0.1/tcp/4001", &format!("/ip4/9.9.9.9/p2p/{peer}"), "/dnsaddr/example.org"]
        {
            let text = check_start(bad).unwrap_err().to_string();
            assert!(text.contains(&format!("“{bad}”")) && text.contains("ipfs_bootstrap"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_client_that_reaches_nobody_says_so_and_rests() {
        // Port 9 of loopback: nobody listens there.
        let address = format!("/ip4/127.0.0.1/tcp/9/p2p/{}", PeerId::random());
        let client = Client::new(&[address]).unwrap();
        assert_eq!(*client.view().borrow(), PublicDhtView::default());
        let told = client.provide([7; FIRST_KEY_LEN], vec!["/ip4/127.0.0.1/tcp/1".to_owned()]).await;
        assert_eq!(told, Err(PublicError::Unreachable));
        let mut found = client.providers([7; FIRST_KEY_LEN]).await.unwrap();
        assert_eq!(found.next().await, None);
        client.rest().await;
        let mut view = client.view();
        let resting = view.wait_for(|view| view.state == State::Resting).await.unwrap();
        assert_eq!(resting.last_error.as_deref(), Some("no server of the public DHT could be reached"));
    }
}
