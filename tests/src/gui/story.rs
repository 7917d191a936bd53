//! Two people who have never heard of this program: first start, an address, a request, a call with both pictures, a
//! shared screen, the end. Told with the real program, nodes, sound and pixels; screenshots are left in a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use twocan_control::{Client, Handle};

use super::Desktop;
use crate::{Node, Options};

/// What Alice's display is painted with behind the windows: her friend sees it when she shares.
const PAINT: (&str, [u8; 3]) = ("#e61ea0", [230, 30, 160]);

/// What was done, in order, with the screenshots.
#[derive(Debug, Default)]
pub struct Told {
    /// Each step in a few words.
    pub steps: Vec<String>,
}

struct Story {
    folder: PathBuf,
    told: Told,
}

impl Story {
    fn step(&mut self, words: &str, desks: &[&Desktop]) -> Result<()> {
        let number = self.told.steps.len() + 1;
        for desk in desks {
            let name = words.replace(|c: char| !c.is_alphanumeric(), "-");
            desk.shot(&self.folder.join(format!("{number:02}-{name}-{}.png", desk.name())))?;
        }
        println!("{number:>2}  {words}");
        self.told.steps.push(words.to_owned());
        Ok(())
    }
}

/// Plays the whole story; screenshots go into `folder`.
///
/// # Errors
/// What did not happen.
pub async fn play(folder: &Path) -> Result<Told> {
    std::fs::create_dir_all(folder)?;
    let mut story = Story { folder: folder.to_owned(), told: Told::default() };
    let stranger = Node::start("stranger", &Options { dht_server: Some("on"), ..Options::default() }).await?;
    let options = Options { bootstrap: vec![stranger.bootstrap_address().await?], ..Options::default() };
    let homes = tempfile::Builder::new().prefix("twocan-story-").tempdir()?;
    let mut people = Vec::new();
    for (name, camera) in [("alice", "moving:3"), ("bob", "moving:8")] {
        let home = homes.path().join(name);
        // What a network administrator may prepare: where to find other nodes. All else the person does.
        crate::node::write_config(&home, &options)?;
        let mut desk = Desktop::start(name)?;
        desk.open(&home, camera)?;
        people.push((desk, home));
    }
    let nodes = Nodes(people.iter().map(|(_, home)| home.clone()).collect());
    let result = tell(&mut story, &mut people).await;
    if result.is_err() {
        for (desk, _) in &people {
            // What was to be seen when it went wrong says more than the words.
            drop(desk.shot(&story.folder.join(format!("failed-{}.png", desk.name()))));
        }
    }
    drop(people);
    nodes.stop().await;
    result.map(|()| story.told)
}

/// Nodes that the desktop program started, to be stopped at the end.
struct Nodes(Vec<PathBuf>);

impl Nodes {
    async fn stop(self) {
        for home in self.0 {
            if let Ok(client) = Client::connect(&home).await {
                drop(client.shutdown().await);
            }
        }
    }
}

async fn tell(story: &mut Story, people: &mut [(Desktop, PathBuf)]) -> Result<()> {
    let [(alice, alices), (bob, bobs)] = people else { anyhow::bail!("two people") };
    for (desk, name) in [(&mut *alice, "Alice"), (&mut *bob, "Bob")] {
        super::first::start(desk, name)?;
    }
    story.step("first start", &[alice, bob])?;
    let api = Client::connect(bobs).await.context("the window has started a node")?;
    let address = api.identity().await?.address;
    super::first::add(alice, &address)?;
    story.step("alice asks bob", &[alice])?;
    super::first::accept(bob)?;
    let api = Client::connect(alices).await?;
    let friend = friend_online(&api).await?;
    story.step("bob accepts", &[alice, bob])?;

    super::first::choose(alice, &friend)?;
    alice.click_on("root", "the button for a call", |thing| thing.role == "Button" && thing.name.contains("Video"))?;
    bob.see("ring", "Answer")?;
    if let Some(heard) = bob.hears() {
        // A tune has pauses: it is listened to for a second each time.
        ensure!(heard || bob.hears() == Some(true) || bob.hears() == Some(true), "nothing rings on bob's speaker");
    }
    story.step("it rings", &[alice, bob])?;
    bob.click("ring", "With camera")?;
    alice.see("root", "Leave")?;
    bob.see("root", "Leave")?;
    for desk in [&mut *alice, &mut *bob] {
        let tile = desk.until("the friend's picture", |desk| {
            desk.things("root").into_iter().find(|thing| thing.role == "Image" && thing.name.contains(", "))
        })?;
        let area = desk.area(&tile)?;
        desk.moves(area)?;
        let own = desk.see("root", "You")?;
        let area = desk.area(&own)?;
        desk.moves(area)?;
    }
    story.step("both pictures move", &[alice, bob])?;

    alice.click_on("root", "Connection details", |thing| thing.name.starts_with("Connection details"))?;
    alice.see("root", "Round trip")?;
    story.step("the numbers of the call", &[alice])?;
    alice.click_on("root", "Connection details", |thing| thing.name.starts_with("Connection details"))?;

    alice.paint_root(PAINT.0)?;
    alice.click("root", "Share screen")?;
    alice.see("root", "Screens")?;
    alice.click_on("root", "a screen to share", |thing| thing.role == "RadioButton" && thing.name == "screen")?;
    story.step("choosing what to share", &[alice])?;
    alice.click_on("root", "Share", |thing| thing.name == "Share" && thing.role == "Button" && !thing.off)?;
    let shared = bob.until("alice's screen", |desk| {
        desk.things("root").into_iter().find(|thing| thing.role == "Image" && thing.name.contains("Share screen"))
    })?;
    let area = bob.area(&shared)?;
    // Behind Alice's window stands a strip of her display on the right and below.
    bob.shows(area, PAINT.1, 0.08)?;
    story.step("a shared screen", &[alice, bob])?;
    alice.click("root", "Stop sharing")?;
    bob.until("the end of the shared screen", |desk| {
        let shared = |thing: &super::Thing| thing.role == "Image" && thing.name.contains("Share screen");
        (!desk.things("root").iter().any(shared)).then_some(())
    })?;

    alice.click("root", "Leave")?;
    for desk in [&mut *alice, &mut *bob] {
        desk.gone("root", "Leave")?;
    }
    story.step("the end", &[alice, bob])?;
    let history = api.history().await.context("what is remembered")?;
    ensure!(history.iter().any(|entry| entry.talked_ms > 0), "the call is remembered: {history:?}");
    Ok(())
}

async fn friend_online(api: &Client) -> Result<String> {
    let deadline = tokio::time::Instant::now() + super::PATIENCE;
    loop {
        if let Some(friend) = api.friends().await?.into_iter().find(|friend| friend.online) {
            return Ok(friend.name);
        }
        ensure!(tokio::time::Instant::now() < deadline, "the friends never see each other");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
