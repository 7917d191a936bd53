//! Messages between friends, with real processes: to somebody who is away, across restarts and kills, marks, pictures.

use anyhow::Result;
use twocan_control::{
    ChatMessage, Code, Decline, Direction, Event, Handle, MarkRead, MessageState, PageRequest, Picture, PlaceCall,
    SendMessage, SettingsUpdate,
};
use twocan_tests::{Node, World, incoming_call};

fn say(text: &str) -> SendMessage {
    SendMessage { text: text.to_owned() }
}

/// The texts of a conversation, oldest first.
async fn texts(node: &Node, friend: &str) -> Result<Vec<String>> {
    let page = PageRequest { before: None, limit: Some(100) };
    Ok(node.api().messages(friend, page).await?.messages.into_iter().map(|line| line.text).collect())
}

/// Waits until a node has so many lines with a friend.
async fn lines(node: &Node, friend: &str, count: usize) -> Result<Vec<ChatMessage>> {
    node.eventually(&format!("{count} lines with {friend}"), |api| async move {
        let page = api.messages(friend, PageRequest { before: None, limit: Some(100) }).await?;
        Ok((page.messages.len() >= count).then_some(page.messages))
    })
    .await
}

/// Waits until everything that a node wrote to a friend is in this state.
async fn marked(node: &Node, friend: &str, state: MessageState) -> Result<()> {
    node.eventually(&format!("{state:?}"), |api| async move {
        let lines = api.messages(friend, PageRequest::default()).await?.messages;
        let mut mine = lines.iter().filter(|line| line.direction == Direction::Outgoing).peekable();
        Ok((mine.peek().is_some() && mine.all(|line| line.state == state)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_shown_there_marked_here_and_stays_after_restarts() -> Result<()> {
    let mut world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let mut events = bob.events();
    let sent = alice.api().send_message("bob", say("hello\r\nBob \u{202e}\u{1b}[2J☎")).await?;
    assert_eq!(sent.text, "hello\nBob [2J☎");
    let came = |event| match event {
        Event::Message { message } => Some(message),
        _ => None,
    };
    let message = events.wait("the message", came).await?;
    assert_eq!((message.text.as_str(), message.id.as_str()), (sent.text.as_str(), sent.id.as_str()));
    assert_eq!((message.direction, message.state), (Direction::Incoming, MessageState::Delivered));
    marked(alice, "bob", MessageState::Delivered).await?;
    assert_eq!(bob.api().status().await?.unread, 1);
    bob.api().send_message("alice", say("hi")).await?;
    lines(alice, "bob", 2).await?;
    bob.api().mark_read("alice", MarkRead::default()).await?;
    marked(alice, "bob", MessageState::Read).await?;
    assert_eq!(bob.api().status().await?.unread, 0);
    world.people[0].kill_and_restart().await?;
    world.people[1].kill_and_restart().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    assert_eq!(texts(alice, "bob").await?, ["hello\nBob [2J☎", "hi"]);
    assert_eq!(texts(bob, "alice").await?, texts(alice, "bob").await?);
    assert_eq!(alice.api().conversations().await?[0].unread, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_a_friend_who_is_away_even_if_the_sender_is_killed() -> Result<()> {
    let mut world = World::of_friends().await?;
    world.people[1].stop().await?;
    for n in 0..30 {
        world.people[0].api().send_message("bob", say(&format!("message {n}"))).await?;
    }
    world.people[0].kill_and_restart().await?;
    let alice = &world.people[0];
    assert_eq!(alice.api().conversations().await?[0].waiting, 30);
    alice.api().send_message("bob", say("and one more")).await?;
    world.people[1].start_again().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let came = lines(bob, "alice", 31).await?;
    marked(alice, "bob", MessageState::Delivered).await?;
    assert_eq!(texts(bob, "alice").await?, texts(alice, "bob").await?);
    assert_eq!((came.len(), came[30].text.as_str()), (31, "and one more"));
    // Killed and back: nothing comes twice.
    world.people[1].kill_and_restart().await?;
    world.people[0].api().send_message("bob", say("last")).await?;
    let came = lines(&world.people[1], "alice", 32).await?;
    assert_eq!((came.len(), came[31].text.as_str()), (32, "last"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_pages_follow_and_a_conversation_can_be_deleted() -> Result<()> {
    let mut world = World::of_friends().await?;
    world.people[1].stop().await?;
    let alice = &world.people[0];
    assert_eq!(alice.api().send_message("bob", say(&"x".repeat(16_385))).await.unwrap_err().code, Code::Invalid);
    assert_eq!(alice.api().send_message("bob", say("\u{202e}")).await.unwrap_err().code, Code::Invalid);
    assert_eq!(alice.api().send_message("nobody", say("x")).await.unwrap_err().code, Code::NotFound);
    for n in 0..200 {
        alice.api().send_message("bob", say(&n.to_string())).await?;
    }
    let full = alice.api().send_message("bob", say("one too many")).await.unwrap_err();
    assert!(full.code == Code::Limit && full.hint.is_some(), "{full:?}");
    let last = alice.api().messages("bob", PageRequest { before: None, limit: Some(80) }).await?;
    let before = PageRequest { before: Some(last.messages[0].place), limit: Some(100) };
    let older = alice.api().messages("bob", before).await?;
    assert!(last.more && older.more);
    assert_eq!((last.messages[79].text.as_str(), older.messages[99].text.as_str()), ("199", "119"));
    let wrong = PageRequest { before: None, limit: Some(101) };
    assert_eq!(alice.api().messages("bob", wrong).await.unwrap_err().code, Code::Invalid);
    alice.api().delete_conversation("bob").await?;
    assert!(alice.api().conversations().await?.is_empty());
    world.people[0].kill_and_restart().await?;
    assert!(texts(&world.people[0], "bob").await?.is_empty());
    world.people[0].api().send_message("bob", say("after")).await?;
    world.people[1].start_again().await?;
    let came = lines(&world.people[1], "alice", 1).await?;
    assert_eq!(came.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["after"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn read_marks_are_told_only_if_the_reader_wants_it() -> Result<()> {
    let mut world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let off = SettingsUpdate { read_marks: Some(false), ..SettingsUpdate::default() };
    assert!(!bob.api().update_settings(off).await?.read_marks);
    alice.api().send_message("bob", say("secret?")).await?;
    lines(bob, "alice", 1).await?;
    bob.api().mark_read("alice", MarkRead::default()).await?;
    bob.api().send_message("alice", say("after reading")).await?;
    lines(alice, "bob", 2).await?;
    assert_eq!(alice.api().conversations().await?[0].read_until, 0);
    world.people[1].kill_and_restart().await?;
    assert!(!world.people[1].api().settings().await?.read_marks, "it is kept");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decline_with_a_text_is_read_in_the_call_and_in_the_conversation() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let mut rings = bob.events();
    let placed = alice.api().place_call(PlaceCall { friend: "bob".to_owned(), video: false }).await?;
    let id = rings.wait("the ringing", incoming_call).await?.id;
    bob.api().decline_call(&id, Decline { text: Some("in a meeting".to_owned()) }).await?;
    let line = lines(alice, "bob", 1).await?.remove(0);
    assert_eq!((line.text.as_str(), line.call), ("in a meeting", Some(placed.call.id.clone())));
    let ended = alice.eventually("the end", |api| {
        let id = placed.call.id.clone();
        async move { Ok(api.history().await?.into_iter().find(|entry| entry.id == id)) }
    });
    assert_eq!(ended.await?.reason.as_deref(), Some("in a meeting"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_calls_are_unseen_until_somebody_has_seen_them() -> Result<()> {
    let mut world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let mut rings = bob.events();
    let placed = alice.api().place_call(PlaceCall { friend: "bob".to_owned(), video: false }).await?;
    rings.wait("the ringing", incoming_call).await?;
    alice.api().hangup(&placed.call.id).await?;
    bob.until(|status| status.missed == 1).await?;
    assert!(bob.api().history().await?[0].unseen && !alice.api().history().await?[0].unseen);
    bob.api().history_seen().await?;
    assert_eq!(bob.api().status().await?.missed, 0);
    world.people[1].stop().await?;
    world.people[1].start_again().await?;
    let bob = &world.people[1];
    assert_eq!((bob.api().status().await?.missed, bob.api().history().await?.len()), (0, 1));
    bob.api().clear_history().await?;
    assert!(bob.api().history().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_reaches_the_friend_once_and_can_be_taken_away() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend((0..30_000_u32).map(|n| (n % 251) as u8));
    let hash = alice.api().set_picture(Picture::of(&png)?).await?.picture.unwrap();
    let seen = |api: twocan_control::Client| {
        let hash = hash.clone();
        async move { Ok((api.friend("alice").await?.picture == Some(hash)).then_some(())) }
    };
    bob.eventually("the picture", seen).await?;
    let picture = bob
        .eventually("its bytes", |api| async move {
            Ok(Some(api.friend_picture("alice").await?).filter(|picture| !picture.image_hex.is_empty()))
        })
        .await?;
    assert_eq!((picture.bytes()?, picture.hash.as_str()), (png, hash.as_str()));
    let wrong = Picture { hash: String::new(), image_hex: "00".repeat(100) };
    assert_eq!(alice.api().set_picture(wrong).await.unwrap_err().code, Code::Invalid);
    alice.api().set_picture(Picture::default()).await?;
    bob.eventually("no picture", |api| async move { Ok(api.friend("alice").await?.picture.is_none().then_some(())) })
        .await?;
    Ok(())
}
