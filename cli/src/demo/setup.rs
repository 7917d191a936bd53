//! From nothing to friends: nodes, identities, request, acceptance, link; and finding each other again.

use std::path::{Path, PathBuf};

use serde_json::json;
use twocan_control::{
    AddFriend, BackupRequest, Event, Friend, Handle, Identity, LookupRequest, Passphrase, Profile, RequestAnswer,
};
use twocan_media::now_ns;

use super::node::{Node, Role, configure, since};
use super::story::Story;
use crate::commands::backup::hand_over;
use crate::exit::{Exit, Failure};
use crate::format::short;

/// Passphrase of the backup that the restored home is made from.
const PASSPHRASE: &str = "correct horse battery staple";

/// The three nodes, once Alice and Bob are friends.
#[derive(Debug)]
pub struct World {
    /// Alice's node and identity.
    pub alice: Node,
    /// Alice.
    pub alice_is: Identity,
    /// Bob's node; taken out while it is restarted.
    bob: Option<Node>,
    /// Bob.
    pub bob_is: Identity,
    /// The stranger: a DHT node and nothing else.
    pub stranger: Node,
    /// How to reach the stranger.
    pub bootstrap: Vec<String>,
    /// Folder of all homes.
    pub folder: PathBuf,
    /// What was measured on the way.
    pub numbers: Numbers,
}

/// What becoming friends took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// First start until ready: Alice, Bob.
    pub ready_ms: (f64, f64),
    /// First start until the API answered: Alice, Bob.
    pub api_ms: (f64, f64),
    /// From adding Bob to his client being told.
    pub request_ms: f64,
    /// From accepting to both clients showing the friend online.
    pub accept_to_link_ms: f64,
}

impl World {
    /// Starts the nodes and makes Alice and Bob friends. Nothing but the stranger's network address and Bob's address
    /// is given to anybody.
    ///
    /// # Errors
    /// Whatever did not happen in time.
    pub async fn create(folder: &Path, story: &mut Story<'_>) -> Result<Self, Failure> {
        story.chapter("Three nodes, each a process of its own")?;
        let home = |name: &str| folder.join(name);
        configure(&home("stranger"), Role::Server, &[])?;
        let stranger = Node::start("the stranger", &home("stranger")).await?;
        let bootstrap = stranger.addresses().await?;
        story.tell(&format!(
            "a stranger runs a node (process {}): a place in the DHT, nobody's friend",
            stranger.pid()
        ))?;
        configure(&home("alice"), Role::Person, &bootstrap)?;
        configure(&home("bob"), Role::Person, &bootstrap)?;
        let (alice, alice_ready) = ready("Alice", &home("alice"), story).await?;
        let (bob, bob_ready) = ready("Bob", &home("bob"), story).await?;
        let alice_is = alice.client.set_profile(Profile { name: "Alice".into() }).await?;
        let bob_is = bob.client.set_profile(Profile { name: "Bob".into() }).await?;
        story.chapter("Becoming friends")?;
        story.tell(&format!("Alice is {}", alice_is.address))?;
        story.tell(&format!("Bob is   {}", bob_is.address))?;
        let numbers =
            Numbers { ready_ms: (alice_ready, bob_ready), api_ms: (alice.api_ms, bob.api_ms), ..Numbers::default() };
        let folder = folder.to_owned();
        let mut world = Self { alice, alice_is, bob: Some(bob), bob_is, stranger, bootstrap, folder, numbers };
        world.request(story).await?;
        world.accept(story).await?;
        world.compare_words(story).await?;
        Ok(world)
    }

    /// Bob's node.
    ///
    /// # Errors
    /// It is down.
    pub fn bob(&self) -> Result<&Node, Failure> {
        self.bob.as_ref().ok_or_else(|| Failure::new(Exit::Internal, "Bob's node is down"))
    }

    async fn request(&mut self, story: &mut Story<'_>) -> Result<(), Failure> {
        let (alice, bob) = (&self.alice, self.bob()?);
        let asked = now_ns();
        let add = AddFriend {
            address: self.bob_is.address.clone(),
            name: None,
            message: Some("it's Alice, from the demo".into()),
        };
        alice.client.add_friend(add).await?;
        let pick = |event: &Event| match event {
            Event::Request { request } if request.id == self.alice_is.root => Some(request.message.clone()),
            _ => None,
        };
        let (message, told) = bob.diary.wait("Alice's request to reach Bob's client", pick).await?;
        let took = since(asked, told);
        story
            .tell(&format!("Alice adds Bob by his address; Bob's client is told after {took:.1} ms: \"{message}\""))?;
        found(alice, &self.bob_is.root, "Alice found Bob", story)?;
        self.numbers.request_ms = took;
        Ok(())
    }

    async fn accept(&mut self, story: &mut Story<'_>) -> Result<(), Failure> {
        let (alice, bob) = (&self.alice, self.bob()?);
        let accepted = now_ns();
        bob.client.answer_request(&self.alice_is.root, RequestAnswer::Accept { name: None }).await?;
        let at_alice = alice.sees_online(&self.bob_is.root).await?;
        let at_bob = bob.sees_online(&self.alice_is.root).await?;
        let took = since(accepted, at_alice.max(at_bob));
        story.tell(&format!("Bob accepts; both see each other online after {took:.1} ms, over an encrypted link"))?;
        self.numbers.accept_to_link_ms = took;
        Ok(())
    }

    async fn compare_words(&self, story: &mut Story<'_>) -> Result<(), Failure> {
        let at_alice = self.alice.client.friend(&self.bob_is.root).await?;
        let at_bob = self.bob()?.client.friend(&self.alice_is.root).await?;
        if at_alice.safety_words != at_bob.safety_words {
            return Err(Failure::new(
                Exit::Unwell,
                "Alice and Bob see different safety words: somebody sits between them",
            ));
        }
        let words = crate::format::clean_line(&at_alice.safety_words);
        story.tell(&format!("both see the same safety words, to compare by voice: {words}"))
    }

    /// Looks Bob's address up from a node that has never heard of anybody: milliseconds to the first valid copy.
    ///
    /// # Errors
    /// It was not found.
    pub async fn lookup(&self, story: &mut Story<'_>) -> Result<f64, Failure> {
        let home = tempfile::tempdir_in(&self.folder).map_err(|error| Failure::file(&self.folder, "write", &error))?;
        configure(home.path(), Role::Person, &self.bootstrap)?;
        let fresh = Node::start("a newcomer", home.path()).await?;
        fresh.joined().await?;
        let lookup = fresh.client.lookup(LookupRequest { whom: self.bob_is.address.clone() }).await?;
        story.tell(&format!(
            "a newcomer's node looks Bob's address up in the DHT: {:.1} ms to the first valid copy ({} slot, query {})",
            lookup.first_ms, lookup.slot, lookup.query
        ))?;
        fresh.stop().await?;
        Ok(lookup.first_ms)
    }

    /// Restarts Bob's node: milliseconds from the start of the process until it shows Alice online.
    ///
    /// # Errors
    /// They did not find each other.
    pub async fn relink(&mut self, story: &mut Story<'_>) -> Result<f64, Failure> {
        let home = self.stop_bob().await?;
        self.start_bob(&home, "with the addresses it remembers", story).await
    }

    /// Gives Bob a new home from a backup, which holds his friends but nobody's network address, and starts there:
    /// the DHT alone leads to Alice.
    ///
    /// # Errors
    /// They did not find each other.
    pub async fn relink_by_dht(&mut self, story: &mut Story<'_>) -> Result<f64, Failure> {
        let passphrase = Passphrase { passphrase: PASSPHRASE.into() };
        let backup = self.bob()?.client.backup(BackupRequest { passphrase }).await?;
        let old = self.stop_bob().await?;
        let number = old.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("bob-restored-"));
        let next = number.and_then(|number| number.parse::<u32>().ok()).unwrap_or(0) + 1;
        let home = self.folder.join(format!("bob-restored-{next}"));
        configure(&home, Role::Person, &self.bootstrap)?;
        hand_over(&home, &json!({ "file_hex": backup.file_hex, "passphrase": PASSPHRASE }))?;
        self.start_bob(&home, "in a home restored from a backup, that knows no addresses", story).await
    }

    async fn stop_bob(&mut self) -> Result<PathBuf, Failure> {
        let bob = self.bob.take().ok_or_else(|| Failure::new(Exit::Internal, "Bob's node is down"))?;
        self.alice.diary.clear();
        let home = bob.home.clone();
        bob.stop().await?;
        let gone = |event: &Event| match event {
            Event::Friend { friend } if friend.id == self.bob_is.root => (!friend.online).then_some(()),
            _ => None,
        };
        self.alice.diary.wait("Alice to see Bob offline", gone).await?;
        Ok(home)
    }

    async fn start_bob(&mut self, home: &Path, how: &str, story: &mut Story<'_>) -> Result<f64, Failure> {
        let bob = Node::start("Bob", home).await?;
        let online = bob.sees_online(&self.alice_is.root).await?;
        let took = since(bob.started_ns, online);
        story.tell(&format!("Bob's node starts again {how}: Alice is online after {took:.1} ms"))?;
        found(&bob, &self.alice_is.root, "Bob found Alice", story)?;
        self.alice.sees_online(&self.bob_is.root).await?;
        self.bob = Some(bob);
        Ok(took)
    }

    /// Alice's friend Bob as her node shows him.
    ///
    /// # Errors
    /// He is no friend.
    pub async fn bob_at_alice(&self) -> Result<Friend, Failure> {
        Ok(self.alice.client.friend(&self.bob_is.root).await?)
    }
}

async fn ready(name: &str, home: &Path, story: &mut Story<'_>) -> Result<(Node, f64), Failure> {
    let node = Node::start(name, home).await?;
    let ready = node.ready().await?;
    story.tell(&format!(
        "{name}'s node (process {}): API after {:.1} ms; ready after {ready:.1} ms: identity made, DHT peer connected, own slots read back",
        node.pid(),
        node.api_ms
    ))?;
    Ok((node, ready))
}

/// Tells how somebody was found, if the node said so.
fn found(node: &Node, whom: &str, who: &str, story: &mut Story<'_>) -> Result<(), Failure> {
    let told = node.diary.find(|event| match event {
        Event::Found { id, via, query, took_ms } if id == whom => Some((via.clone(), query.clone(), *took_ms)),
        _ => None,
    });
    let Some(((via, query, took), _)) = told else { return Ok(()) };
    let place = match via.as_str() {
        "memory" => "at a remembered address".to_owned(),
        "lan" => "on the local network".to_owned(),
        slot => format!("through the DHT ({slot} slot)"),
    };
    let query = query.map(|query| format!(", query {}", short(&query))).unwrap_or_default();
    story.tell(&format!("{who} {place} in {took:.1} ms{query}"))
}
