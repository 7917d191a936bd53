//! Identities that come back (backup file, 24 words), passphrases, and homes in which something is wrong. Whatever is
//! wrong is said in one clear sentence, and nothing on the disk is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use twocan_control::{
    AddFriend, BackupRequest, Client, Code, Event, Handle, LookupRequest, Passphrase, PlaceCall, Profile, RequestAnswer,
};
use twocan_tests::{DEADLINE, Node, Options, World, ask, binary, online, talk};

fn passphrase(text: &str) -> Passphrase {
    Passphrase { passphrase: text.to_owned() }
}

/// Runs `twocand` in a home until it ends by itself.
async fn twocand(home: &Path, arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut child = Command::new(binary("twocand"))
        .args(arguments)
        .env("TWOCAN_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who refuses before reading closes the pipe.
        let _ = stdin.write_all(input).await;
    }
    timeout(DEADLINE, child.wait_with_output()).await.context("twocand does not end")?.map_err(Into::into)
}

async fn restore(home: &Path, material: &Value) -> Result<Output> {
    twocand(home, &["restore"], material.to_string().as_bytes()).await
}

/// What the program said when it refused: the line of its own, which names no file of the source and no panic.
fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "it should have refused");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let said: Vec<&str> = text.lines().filter(|line| line.starts_with("twocand: ")).collect();
    assert_eq!(said.len(), 1, "one sentence: {text}");
    assert!(!text.contains("panicked"), "{text}");
    said[0].to_owned()
}

/// Every file of a home with its content. The lock holds the process id of whoever came last.
fn files(home: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && !path.ends_with("lock") && !path.ends_with("node.log") {
                found.insert(path.clone(), std::fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// A folder with the home of a node that ran once and was stopped.
async fn used_home() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let mut node = Node::start_in("alice", folder.path(), &Options::default(), None).await?;
    node.api().set_profile(Profile { name: "alice".to_owned() }).await?;
    node.stop().await?;
    Ok(folder)
}

/// Starts the node in a home where something is wrong: what it says. Nothing may have changed.
async fn refused_in(home: &Path) -> Result<String> {
    let before = files(home)?;
    let said = refusal(&twocand(home, &[], b"").await?);
    assert_eq!(files(home)?.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(files(home)? == before, "a file was changed");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_somebody_back_online_with_friends_who_do_nothing() -> Result<()> {
    let mut world = World::of_friends().await?;
    let root = world.people[1].api().identity().await?.root;
    let request = BackupRequest { passphrase: passphrase("correct horse") };
    let backup = world.people[1].api().backup(request).await?.file_hex;
    world.people[1].stop().await?;

    let folder = tempfile::tempdir()?;
    let home = folder.path().join("again");
    let wrong = refusal(&restore(&home, &json!({ "file_hex": backup, "passphrase": "wrong horse" })).await?);
    assert!(wrong.contains("passphrase"), "{wrong}");
    assert!(!home.join("identity.key").exists(), "nothing is written before the backup opens");
    let damaged = format!("{}00{}", &backup[..400], &backup[402..]);
    assert!(
        damaged == backup
            || !restore(&home, &json!({ "file_hex": damaged, "passphrase": "correct horse" })).await?.status.success()
    );
    assert!(!home.join("identity.key").exists());

    let material = json!({ "file_hex": backup, "passphrase": "correct horse" });
    let restored = restore(&home, &material).await?;
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let before = files(&home)?;
    let twice = refusal(&restore(&home, &material).await?);
    assert!(twice.contains("has an identity already"), "{twice}");
    assert!(files(&home)? == before, "a refused restore changes nothing");

    let options = world.options().await?;
    world.people[1] = Node::start_in("bob", &home, &options, Some(folder)).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    assert_eq!(bob.api().identity().await?.root, root);
    assert_eq!(bob.api().identity().await?.name, "bob");
    assert_eq!(online(bob, alice).await?.own_name.as_deref(), Some("alice"));
    online(alice, bob).await?;
    talk(alice, bob).await?;
    Ok(())
}

/// Bob loses everything but his words.
async fn bob_with_nothing_but_words(world: &mut World) -> Result<()> {
    let root = world.people[1].api().identity().await?.root;
    let words = world.people[1].api().phrase().await?.words.clone();
    assert_eq!(words.split_whitespace().count(), 24);
    world.people[1].stop().await?;
    let folder = tempfile::tempdir()?;
    let home = folder.path().join("again");
    let mut wrong: Vec<&str> = words.split_whitespace().collect();
    wrong.swap(0, 23);
    if wrong[0] != wrong[23] {
        let output = restore(&home, &json!({ "words": wrong.join(" ") })).await?;
        // One in 256 orders of words has a right checksum; then it is another identity and not an error.
        if !output.status.success() {
            assert!(!home.join("identity.key").exists());
        } else {
            std::fs::remove_dir_all(&home)?;
        }
    }
    let restored = restore(&home, &json!({ "words": words })).await?;
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let options = world.options().await?;
    world.people[1] = Node::start_in("bob", &home, &options, Some(folder)).await?;
    assert_eq!(world.people[1].api().identity().await?.root, root);
    assert!(world.people[1].api().friends().await?.is_empty(), "words are the identity alone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_words_an_old_friend_is_one_again_by_adding_her() -> Result<()> {
    let mut world = World::of_friends().await?;
    bob_with_nothing_but_words(&mut world).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    // Alice is not asked anew: for her, Bob never went.
    ask(bob, alice).await?;
    online(bob, alice).await?;
    online(alice, bob).await?;
    assert!(alice.api().requests().await?.is_empty());
    talk(bob, alice).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_words_an_old_friend_who_searches_shows_up_as_a_request_that_says_friends() -> Result<()> {
    let mut world = World::of_friends().await?;
    bob_with_nothing_but_words(&mut world).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let asks = |api: Client| async move { Ok(api.requests().await?.into_iter().next()) };
    // Alice's node tries the contact slot after some searches in vain, which takes half a minute or so.
    let request = match bob.eventually("the old friend", asks).await {
        Ok(request) => request,
        Err(_) => bob.eventually("the old friend, for another while", asks).await?,
    };
    assert_eq!(request.id, alice.api().identity().await?.root);
    assert!(request.says_friends);
    bob.api().answer_request(&request.id, RequestAnswer::Accept { name: None }).await?;
    online(bob, alice).await?;
    online(alice, bob).await?;
    talk(alice, bob).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_under_a_passphrase_says_locked_until_it_is_given() -> Result<()> {
    let mut world = World::of_friends().await?;
    world.people[1].api().set_passphrase(passphrase("open sesame")).await?;
    world.people[1].kill_and_restart().await?;
    let bob = &world.people[1];
    let status = bob.until(|status| status.locked).await?;
    assert!(status.peer_id.is_empty() && status.listen.is_empty(), "no network before the passphrase");
    let api = bob.api();
    let address = world.people[0].api().identity().await?.address;
    let add = AddFriend { address, name: None, message: None };
    let place = PlaceCall { friend: "alice".to_owned(), video: false };
    let backup = BackupRequest { passphrase: passphrase("correct horse") };
    for (what, refused) in [
        ("identity", api.identity().await.map(drop)),
        ("rotate", api.rotate_token().await.map(drop)),
        ("phrase", api.phrase().await.map(drop)),
        ("backup", api.backup(backup).await.map(drop)),
        ("set passphrase", api.set_passphrase(passphrase("another one")).await),
        ("friends", api.friends().await.map(drop)),
        ("friend", api.friend("alice").await.map(drop)),
        ("add", api.add_friend(add).await.map(drop)),
        ("remove", api.remove_friend("alice").await),
        ("requests", api.requests().await.map(drop)),
        ("place call", api.place_call(place).await.map(drop)),
        ("calls", api.calls().await.map(drop)),
        ("history", api.history().await.map(drop)),
        ("lookup", api.lookup(LookupRequest { whom: "alice".to_owned() }).await.map(drop)),
        ("doctor", api.doctor().await.map(drop)),
        ("report", api.report().await.map(drop)),
    ] {
        assert_eq!(refused.expect_err(what).code, Code::Locked, "{what}");
    }
    let wrong = api.unlock(passphrase("open barley")).await.unwrap_err();
    assert_eq!(wrong.code, Code::WrongPassphrase);
    assert!(api.status().await?.locked);
    let mut events = bob.events();
    api.unlock(passphrase("open sesame")).await?;
    events.wait("the word that it is open", |event| matches!(event, Event::Unlocked).then_some(())).await?;
    assert!(!api.status().await?.locked);
    online(bob, &world.people[0]).await?;
    online(&world.people[0], bob).await?;
    assert_eq!(api.unlock(passphrase("open sesame")).await.unwrap_err().code, Code::Conflict);
    api.set_passphrase(passphrase("")).await?;
    world.people[1].kill_and_restart().await?;
    online(&world.people[1], &world.people[0]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_node_can_be_stopped() -> Result<()> {
    let mut node = Node::start("alice", &Options::default()).await?;
    node.api().set_passphrase(passphrase("open sesame")).await?;
    node.kill_and_restart().await?;
    node.until(|status| status.locked).await?;
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_newer_key_file_is_named_and_left_alone() -> Result<()> {
    let home = used_home().await?;
    let key = home.path().join("identity.key");
    let whole = std::fs::read(&key)?;
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    std::fs::write(&key, &damaged)?;
    let said = refused_in(home.path()).await?;
    assert!(said.contains("identity.key") && said.contains("damaged") && said.contains("twocan restore"), "{said}");
    std::fs::write(&key, b"")?;
    let said = refused_in(home.path()).await?;
    assert!(said.contains("identity.key") && said.contains("damaged"), "{said}");
    let mut newer = whole.clone();
    newer[7] = 9;
    std::fs::write(&key, &newer)?;
    let said = refused_in(home.path()).await?;
    assert!(said.contains("newer twocan"), "{said}");
    // With the right file all is as it was.
    std::fs::write(&key, &whole)?;
    let node = Node::start_in("alice", home.path(), &Options::default(), None).await?;
    assert_eq!(node.api().identity().await?.name, "alice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_newer_or_cannot_be_read_is_named_and_left_alone() -> Result<()> {
    let home = used_home().await?;
    let store = home.path().join("store");
    std::fs::write(store.join("format"), "2\n")?;
    let said = refused_in(home.path()).await?;
    assert!(said.contains("format 2") && said.contains("update twocan"), "{said}");
    std::fs::write(store.join("format"), "1\n")?;

    let aside = home.path().join("store-aside");
    std::fs::rename(&store, &aside)?;
    std::fs::write(&store, "no folder")?;
    let said = refused_in(home.path()).await?;
    assert!(said.contains("store"), "{said}");
    std::fs::remove_file(&store)?;

    // Of another identity: neither is this one's to touch.
    let other = used_home().await?;
    std::fs::rename(other.path().join("store"), &store)?;
    let said = refusal(&twocand(home.path(), &[], b"").await?);
    assert!(said.contains("key"), "{said}");
    std::fs::remove_dir_all(&store)?;

    std::fs::rename(&aside, &store)?;
    let node = Node::start_in("alice", home.path(), &Options::default(), None).await?;
    assert_eq!(node.api().identity().await?.name, "alice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_named_with_file_and_line_before_anything_is_touched() -> Result<()> {
    let home = used_home().await?;
    let config = home.path().join("config.toml");
    for (text, expected) in [
        ("[network]\nmdsn = true\n", &["config.toml", "line 2", "mdsn"][..]),
        ("[calls]\ngrace_s = 100000\n", &["config.toml", "calls.grace_s", "5 to 600"]),
        ("[media]\nport = 70000\n", &["config.toml", "line 2"]),
        ("\u{1b}[31m = ", &["config.toml", "line 1"]),
        ("[network]\nlisten = [\"/ip4/127.0.0.1/udp/99999/quic-v1\"]\n", &["127.0.0.1"]),
        ("[network]\nlisten = [\"localhost:80\"]\n", &["localhost:80"]),
    ] {
        std::fs::write(&config, text)?;
        let key = std::fs::read(home.path().join("identity.key"))?;
        let output = twocand(home.path(), &[], b"").await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text:?} was accepted");
        for part in expected {
            assert!(said.contains(part), "{text:?}: {said}");
        }
        assert!(!said.contains("panicked") && !said.contains('\u{1b}'), "{said}");
        assert_eq!(std::fs::read(home.path().join("identity.key"))?, key);
    }
    std::fs::write(&config, b"\xff\xfe")?;
    let said = refused_in(home.path()).await?;
    assert!(said.contains("config.toml"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_of_calls_is_told_and_another_one_serves() -> Result<()> {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let options = Options { extra: format!("[media]\nport = {port}\n"), ..Options::default() };
    let mut world = World::with(&["alice", "bob"], &options).await?;
    world.befriend(0, 1).await?;
    for node in &world.people {
        let status = node.api().status().await?;
        assert_ne!(status.media_port, port);
        assert!(status.notices.iter().any(|notice| notice.contains(&port.to_string())), "{:?}", status.notices);
    }
    talk(&world.people[0], &world.people[1]).await?;
    drop(taken);
    world.people[0].kill_and_restart().await?;
    assert_eq!(world.people[0].until(|status| status.media_port != 0).await?.media_port, port);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_of_the_network_ends_the_start_with_the_address() -> Result<()> {
    let home = used_home().await?;
    let taken = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let text = format!("[network]\nlisten = [\"/ip4/127.0.0.1/udp/{port}/quic-v1\"]\nmdns = false\n");
    std::fs::write(home.path().join("config.toml"), text)?;
    let said = refusal(&twocand(home.path(), &[], b"").await?);
    assert!(said.contains("cannot listen on") && said.contains(&port.to_string()), "{said}");
    Ok(())
}
