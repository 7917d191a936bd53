//! Files between friends, with real processes: taken, held, resumed after kills, refused, and never where they must not be.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::path::PathBuf;

use anyhow::Result;
use twocan_control::{AcceptFile, Code, FileAct, FileState, FileTransfer, Handle, OfferFile, SettingsUpdate};
use twocan_tests::{Node, World, online};

/// Bytes that no two places have in common for long.
fn bytes(size: u32) -> Vec<u8> {
    (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Alice offers a file to Bob; it lies in her home.
async fn offer(alice: &Node, name: &str, content: &[u8]) -> Result<(FileTransfer, PathBuf)> {
    let path = alice.home().join(name);
    std::fs::write(&path, content)?;
    let offer = OfferFile { path: path.display().to_string() };
    Ok((alice.api().offer_file("bob", offer).await?, path))
}

/// Waits until a transfer satisfies a condition at a node.
async fn until(
    node: &Node,
    id: &str,
    what: &str,
    condition: impl Fn(&FileTransfer) -> bool + Copy + Send,
) -> Result<FileTransfer> {
    node.eventually(what, |api| {
        let id = id.to_owned();
        async move { Ok(api.file(&id).await.ok().filter(|file| condition(file))) }
    })
    .await
}

async fn accept(node: &Node, id: &str) -> Result<()> {
    until(node, id, "the offer", |file| file.state == FileState::Offered).await?;
    node.api().file_act(id, FileAct::Accept(AcceptFile::default())).await?;
    Ok(())
}

/// Names in Bob's download folder.
async fn downloads(bob: &Node) -> Result<Vec<String>> {
    let folder = bob.api().settings().await?.download_folder;
    let mut names: Vec<String> =
        std::fs::read_dir(folder)?.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    Ok(names)
}

/// Bob's files go where the test can look.
async fn world() -> Result<World> {
    let world = World::of_friends().await?;
    let folder = world.people[1].home().join("in").display().to_string();
    let set = SettingsUpdate { download_folder: Some(folder), ..SettingsUpdate::default() };
    world.people[1].api().update_settings(set).await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_on_where_it_was_after_either_node_was_killed() -> Result<()> {
    let mut world = world().await?;
    let content = bytes(48_000_000);
    let (file, _) = offer(&world.people[0], "big.bin", &content).await?;
    accept(&world.people[1], &file.id).await?;
    for who in [0, 1] {
        until(&world.people[1], &file.id, "some bytes", |file| file.done > 0).await?;
        world.people[who].kill_and_restart().await?;
        online(&world.people[1], &world.people[0]).await?;
    }
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let done = until(bob, &file.id, "all of it", |file| file.state == FileState::Done).await?;
    assert!(std::fs::read(done.path.unwrap())? == content, "the bytes differ");
    until(alice, &file.id, "the word that it is there", |file| file.state == FileState::Done).await?;
    assert_eq!(downloads(bob).await?, ["big.bin"]);
    let line = bob.api().messages("alice", twocan_control::PageRequest::default()).await?.messages.remove(0);
    assert_eq!(line.file.unwrap().id, file.id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_can_hold_a_file_and_give_it_up() -> Result<()> {
    let world = world().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let (file, _) = offer(alice, "held.bin", &bytes(30_000_000)).await?;
    until(bob, &file.id, "the offer", |file| file.state == FileState::Offered).await?;
    alice.api().file_act(&file.id, FileAct::Pause).await?;
    until(bob, &file.id, "that it is held", |file| file.paused_there).await?;
    bob.api().file_act(&file.id, FileAct::Accept(AcceptFile::default())).await?;
    let held = until(alice, &file.id, "that it is wanted", |file| file.state == FileState::Paused).await?;
    assert_eq!((held.done, held.paused_here), (0, true));
    bob.api().file_act(&file.id, FileAct::Pause).await?;
    alice.api().file_act(&file.id, FileAct::Resume).await?;
    until(alice, &file.id, "that the other holds it", |file| file.paused_there && !file.paused_here).await?;
    bob.api().file_act(&file.id, FileAct::Cancel).await?;
    let over = until(alice, &file.id, "the end", |file| file.state == FileState::Cancelled).await?;
    assert!(over.reason.unwrap().contains("friend"));
    bob.eventually("no part of it", |_| {
        let folder = bob.home().join("in");
        async move { Ok((!folder.exists() || std::fs::read_dir(folder)?.next().is_none()).then_some(())) }
    })
    .await?;
    bob.api().forget_file(&file.id).await?;
    assert!(bob.api().files().await?.is_empty());
    let gone = bob.api().file_act(&file.id, FileAct::Resume).await.unwrap_err();
    assert_eq!(gone.code, Code::NotFound);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_sizes_and_changed_files_do_no_harm() -> Result<()> {
    let world = world().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    for (name, safe) in [(".hidden", "hidden"), ("a:b*c.txt", "a_b_c.txt"), ("a:b*c.txt", "a_b_c (2).txt")] {
        let (file, _) = offer(alice, name, b"content").await?;
        accept(bob, &file.id).await?;
        let done = until(bob, &file.id, name, |file| file.state == FileState::Done).await?;
        assert!(done.path.unwrap().ends_with(&format!("/in/{safe}")), "{name}");
    }
    let (file, path) = offer(alice, "changed.bin", &bytes(1000)).await?;
    until(bob, &file.id, "the offer", |file| file.state == FileState::Offered).await?;
    std::fs::write(path, b"another")?;
    accept(bob, &file.id).await?;
    let failed = until(bob, &file.id, "the failure", |file| file.state == FileState::Failed).await?;
    assert!(failed.reason.unwrap().contains("changed"));
    let limits =
        SettingsUpdate { max_file_bytes: Some(1000), auto_accept_bytes: Some(500), ..SettingsUpdate::default() };
    bob.api().update_settings(limits).await?;
    let (file, _) = offer(alice, "large.bin", &bytes(1001)).await?;
    let declined = until(alice, &file.id, "the decline", |file| file.state == FileState::Declined).await?;
    assert!(declined.reason.unwrap().contains("1000 bytes"));
    assert!(bob.api().file(&file.id).await.is_err(), "nothing is kept of it");
    let (file, _) = offer(alice, "small.bin", &bytes(500)).await?;
    until(bob, &file.id, "it, unasked", |file| file.state == FileState::Done).await?;
    for wrong in ["/nothing", "/", "relative"] {
        let error = alice.api().offer_file("bob", OfferFile { path: wrong.to_owned() }).await.unwrap_err();
        assert_eq!(error.code, Code::Invalid, "{wrong}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_to_somebody_who_is_away_comes_when_they_are_back() -> Result<()> {
    let mut world = world().await?;
    world.people[1].stop().await?;
    let (file, _) = offer(&world.people[0], "away.bin", &bytes(5000)).await?;
    world.people[0].kill_and_restart().await?;
    world.people[1].start_again().await?;
    accept(&world.people[1], &file.id).await?;
    until(&world.people[0], &file.id, "the word that it is there", |file| file.state == FileState::Done).await?;
    Ok(())
}
