//! People for a story: a stranger who only keeps the DHT alive, and friends who know nothing but each other's address.

use anyhow::{Context, Result};
use futures::future::try_join_all;
use twocan_control::{AddFriend, AnswerCall, Event, Friend, FriendState, Handle, PlaceCall, Profile, RequestAnswer};

use crate::node::{Node, Options};
use crate::seat::Seat;

/// A stranger's node and the nodes of some people.
#[derive(Debug)]
pub struct World {
    /// The node that only serves the DHT.
    pub stranger: Node,
    /// The people, in the order of their names.
    pub people: Vec<Node>,
}

impl World {
    /// Starts a stranger and the named people, who know the stranger's network address and nothing else.
    pub async fn of(names: &[&str]) -> Result<Self> {
        Self::with(names, &Options::default()).await
    }

    /// The same, with options for the people.
    pub async fn with(names: &[&str], options: &Options) -> Result<Self> {
        let stranger = Node::start("stranger", &Options { dht_server: Some("on"), ..Options::default() }).await?;
        let options = Options { bootstrap: vec![stranger.bootstrap_address().await?], ..options.clone() };
        let people = try_join_all(names.iter().map(|name| Node::start(name, &options))).await?;
        for (name, node) in names.iter().zip(&people) {
            node.api().set_profile(Profile { name: (*name).to_owned() }).await?;
        }
        Ok(Self { stranger, people })
    }

    /// Alice and Bob, friends, with a link between them.
    pub async fn of_friends() -> Result<Self> {
        let world = Self::of(&["alice", "bob"]).await?;
        world.befriend(0, 1).await?;
        Ok(world)
    }

    /// Options with which another person joins this world.
    pub async fn options(&self) -> Result<Options> {
        Ok(Options { bootstrap: vec![self.stranger.bootstrap_address().await?], ..Options::default() })
    }

    /// `a` asks, `b` accepts, both see each other online.
    pub async fn befriend(&self, a: usize, b: usize) -> Result<()> {
        let (asker, asked) = (&self.people[a], &self.people[b]);
        ask(asker, asked).await?;
        let request = incoming_request(asked, asker).await?;
        asked.api().answer_request(&request, RequestAnswer::Accept { name: None }).await?;
        online(asker, asked).await?;
        online(asked, asker).await?;
        Ok(())
    }
}

/// `asker` adds `asked` by address.
pub async fn ask(asker: &Node, asked: &Node) -> Result<Friend> {
    let address = asked.api().identity().await?.address;
    let add = AddFriend { address, name: Some(asked.name().to_owned()), message: Some("it is me".to_owned()) };
    Ok(asker.api().add_friend(add).await?)
}

/// The id of the request by `asker` that waits at `asked`; waits for it.
pub async fn incoming_request(asked: &Node, asker: &Node) -> Result<String> {
    let root = asker.api().identity().await?.root;
    asked
        .eventually("a contact request", |api| {
            let root = root.clone();
            async move { Ok(api.requests().await?.into_iter().find(|request| request.id == root).map(|found| found.id)) }
        })
        .await
}

/// Waits until `one` sees `other` as an accepted friend who is online.
pub async fn online(one: &Node, other: &Node) -> Result<Friend> {
    let root = other.api().identity().await.context("asking who the other is")?.root;
    one.eventually(&format!("{} online", other.name()), |api| {
        let root = root.clone();
        async move {
            let found = api.friends().await?.into_iter().find(|friend| friend.id == root);
            Ok(found.filter(|friend| friend.online && friend.state == FriendState::Accepted))
        }
    })
    .await
}

/// Waits until `one` sees `other` as offline.
pub async fn offline(one: &Node, root: &str) -> Result<()> {
    one.eventually("the friend offline", |api| async move {
        Ok(api.friends().await?.into_iter().find(|friend| friend.id == root && !friend.online).map(drop))
    })
    .await
}

/// Picks an incoming call out of the events.
pub fn incoming_call(event: Event) -> Option<twocan_control::Call> {
    match event {
        Event::CallIncoming { call } => Some(call),
        _ => None,
    }
}

/// `caller` calls `callee`, who answers; both have heard the other when this returns.
pub async fn talk(caller: &Node, callee: &Node) -> Result<(Seat, Seat)> {
    let friend = callee.api().identity().await?.root;
    let mut rings = callee.events();
    let seated = caller.api().place_call(PlaceCall { friend, video: false }).await?;
    let id = rings.wait("the ringing", incoming_call).await?.id;
    let mut at_caller = Seat::take(caller.api(), seated).await?;
    let answered = callee.api().answer_call(&id, AnswerCall { video: false }).await?;
    let mut at_callee = Seat::take(callee.api(), answered).await?;
    at_callee.hear().await?;
    at_caller.hear().await?;
    Ok((at_caller, at_callee))
}
