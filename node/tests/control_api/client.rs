//! Every operation through client, socket and server, and back.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use futures::StreamExt;
use twocan_control::testing::{FakeNode, PHRASE, sample_address, sample_id};
use twocan_control::*;
use twocan_node::control::{BindError, Limits, Listener, Server};

use crate::support::{Bench, soon};

fn passphrase(text: &str) -> Passphrase {
    Passphrase { passphrase: text.to_owned() }
}

#[tokio::test]
async fn identity_goes_through_the_socket() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    assert_eq!(client.status().await.unwrap(), bench.node.status().await.unwrap());
    let before = client.identity().await.unwrap();
    assert_eq!(before, bench.node.identity().await.unwrap());
    let after = client.rotate_token().await.unwrap();
    assert_ne!(before.address, after.address);
    let named = client.set_profile(Profile { name: "Ana ö".to_owned() }).await.unwrap();
    assert_eq!(named.name, "Ana ö");
    assert_eq!(client.phrase().await.unwrap().words, PHRASE);
    let backup = client.backup(BackupRequest { passphrase: passphrase("long enough") }).await.unwrap();
    assert_eq!(backup.file_hex.len(), 256);
    let short = client.backup(BackupRequest { passphrase: passphrase("short") }).await.unwrap_err();
    assert_eq!(short.code, Code::Invalid);
    client.set_passphrase(passphrase("secret")).await.unwrap();
}

#[tokio::test]
async fn a_locked_node_says_so_until_it_is_unlocked() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    bench.node.lock("open sesame");
    assert!(client.status().await.unwrap().locked);
    assert_eq!(client.friends().await.unwrap_err().code, Code::Locked);
    assert_eq!(client.unlock(passphrase("wrong")).await.unwrap_err().code, Code::WrongPassphrase);
    client.unlock(passphrase("open sesame")).await.unwrap();
    assert_eq!(client.friends().await.unwrap(), Vec::new());
}

#[tokio::test]
async fn friends_go_through_the_socket_under_any_name() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let odd = "Zoë / 50 % ?#&\\ \u{1f426}";
    let bob = client
        .add_friend(AddFriend { address: sample_address("bob"), name: Some(odd.to_owned()), message: None })
        .await
        .unwrap();
    assert_eq!(bob.state, FriendState::Requested);
    assert_eq!(client.friends().await.unwrap(), vec![bob.clone()]);
    assert_eq!(client.friend(odd).await.unwrap(), bob);
    assert_eq!(client.friend(&bob.id[..8]).await.unwrap(), bob);
    let again = AddFriend { address: sample_address("bob"), name: None, message: None };
    assert_eq!(client.add_friend(again).await.unwrap_err().code, Code::Exists);
    let wrong = AddFriend { address: "twocan1oops".to_owned(), name: None, message: None };
    let wrong = client.add_friend(wrong).await.unwrap_err();
    assert_eq!((wrong.code, wrong.hint.is_some()), (Code::BadAddress, true));
    let update = FriendUpdate { name: Some("Bob".to_owned()), verified: Some(true), hide_address: Some(true) };
    let renamed = client.update_friend(odd, update).await.unwrap();
    assert!(renamed.verified && renamed.hide_address && renamed.name == "Bob");
    assert!(!client.privacy().await.unwrap().hide_address);
    assert!(client.set_privacy(Privacy { hide_address: true }).await.unwrap().hide_address);
    assert_eq!(client.friend(odd).await.unwrap_err().code, Code::NotFound);
    client.remove_friend("Bob").await.unwrap();
    let eve = bench.node.befriend("eve");
    client.block("eve").await.unwrap();
    assert_eq!(client.blocked().await.unwrap(), vec![eve.id.clone()]);
    client.unblock(&eve.id).await.unwrap();
    assert_eq!(client.blocked().await.unwrap(), Vec::<String>::new());
    assert_eq!(client.friends().await.unwrap(), Vec::new());
}

#[tokio::test]
async fn names_that_mean_something_in_a_path_are_refused_by_the_client() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    for name in ["", ".", ".."] {
        assert_eq!(client.friend(name).await.unwrap_err().code, Code::Invalid, "{name:?}");
    }
}

#[tokio::test]
async fn requests_go_through_the_socket() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let [a, b, c] = ["ann", "ben", "cem"].map(|name| bench.node.stranger_asks(name, "it's me"));
    assert_eq!(client.requests().await.unwrap(), vec![a.clone(), b.clone(), c.clone()]);
    client.answer_request(&a.id, RequestAnswer::Accept { name: Some("Ann".to_owned()) }).await.unwrap();
    client.answer_request(&b.id, RequestAnswer::Decline).await.unwrap();
    client.answer_request(&c.id, RequestAnswer::Block).await.unwrap();
    assert_eq!(client.requests().await.unwrap(), Vec::new());
    assert_eq!(client.friend("Ann").await.unwrap().id, a.id);
    assert_eq!(client.blocked().await.unwrap(), vec![c.id]);
    let unknown = client.answer_request(&sample_id("dan"), RequestAnswer::Decline).await.unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
}

#[tokio::test]
async fn calls_go_through_the_socket() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    bench.node.befriend("bob");
    let unknown = client.place_call(PlaceCall { friend: "bib".to_owned(), video: false }).await.unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
    let placed = client.place_call(PlaceCall { friend: "bob".to_owned(), video: true }).await.unwrap();
    assert_eq!(placed.call.state, CallState::Calling);
    assert_eq!(client.calls().await.unwrap().len(), 1);
    bench.node.friend_answers(&placed.call.id);
    assert_eq!(client.call(&placed.call.id).await.unwrap().state, CallState::Active);
    let update = CallUpdate { muted: Some(true), held: Some(true), video: None, screen: Some(true) };
    let changed = client.update_call(&placed.call.id, update).await.unwrap();
    assert!(changed.muted && changed.held && changed.video);
    let again = client.take_seat(&placed.call.id, TakeSeat { token: Some(placed.seat.clone()) }).await.unwrap();
    assert_ne!(again.seat, placed.seat);
    let old = client.take_seat(&placed.call.id, TakeSeat { token: Some(placed.seat) }).await.unwrap_err();
    assert_eq!(old.code, Code::SeatTaken);
    client.hangup(&placed.call.id).await.unwrap();

    let ringing = bench.node.friend_calls("bob", false);
    let answered = client.answer_call(&ringing.id, AnswerCall { video: false }).await.unwrap();
    assert_eq!(answered.call.direction, Direction::Incoming);
    assert_eq!(client.answer_call(&ringing.id, AnswerCall::default()).await.unwrap_err().code, Code::Conflict);
    client.hangup(&ringing.id).await.unwrap();

    let ringing = bench.node.friend_calls("bob", false);
    client.decline_call(&ringing.id, Decline { text: Some("later".to_owned()) }).await.unwrap();
    let history = client.history().await.unwrap();
    let outcomes: Vec<_> = history.iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Outcome::Declined, Outcome::Completed, Outcome::Completed]);
    assert_eq!(history[0].reason.as_deref(), Some("later"));
}

#[tokio::test]
async fn the_rest_goes_through_the_socket_too() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    bench.node.befriend("bob");
    client.set_availability(SetAvailability { availability: Availability::Dnd }).await.unwrap();
    assert_eq!(client.status().await.unwrap().availability, Availability::Dnd);
    assert_eq!(client.lookup(LookupRequest { whom: "bob".to_owned() }).await.unwrap().copies, 3);
    assert!(client.doctor().await.unwrap().checks[0].ok);
    assert_eq!(client.report().await.unwrap().text, "nothing to report");
    client.shutdown().await.unwrap();
    assert!(bench.node.stopped());
}

#[tokio::test]
async fn a_home_without_a_node_says_how_to_start_one() {
    let home = tempfile::tempdir().unwrap();
    let missing = Client::connect(home.path()).await.unwrap_err();
    assert_eq!(missing.code, Code::NoNode);
    assert!(missing.hint.unwrap().contains("twocan up"));
    // A node that died without removing its socket.
    let dead = std::os::unix::net::UnixListener::bind(paths::socket(home.path())).unwrap();
    drop(dead);
    assert_eq!(Client::connect(home.path()).await.unwrap_err().code, Code::NoNode);
}

#[tokio::test]
async fn a_stopped_server_leaves_nothing_behind_and_its_clients_are_told() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let mut events = client.events().await.unwrap();
    assert!(matches!(events.next().await, Some(Event::Hello { .. })));
    let (home, socket) = (bench.home, bench.socket);
    soon("the stop", bench.server.stop()).await;
    assert!(!socket.exists());
    assert_eq!(soon("the end of the events", events.next()).await, None);
    let gone = client.status().await.unwrap_err();
    assert_eq!(gone.code, Code::NoNode);
    drop(home);
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_a_second_server_is_refused() {
    let bench = Bench::new().await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&bench.socket), 0o600);
    assert_eq!(mode(bench.socket.parent().unwrap()), 0o700);
    let second = Server::start(bench.home.path(), FakeNode::new()).await.unwrap_err();
    assert!(matches!(second, BindError::InUse(_)), "{second}");
    // The refused one has not taken the socket away from the first.
    bench.client().await.status().await.unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_replaced_but_no_other_file() {
    let home = tempfile::tempdir().unwrap();
    let socket = paths::socket(home.path());
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let server = Server::start(home.path(), FakeNode::new()).await.unwrap();
    Client::connect(home.path()).await.unwrap();
    server.stop().await;
    std::fs::write(&socket, "precious").unwrap();
    let refused = Listener::bind(home.path()).await.unwrap_err();
    assert!(matches!(refused, BindError::Io { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[tokio::test]
async fn a_folder_that_others_may_enter_is_closed_first() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let _server = Server::start(home.path(), FakeNode::new()).await.unwrap();
    assert_eq!(std::fs::metadata(home.path()).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_node_of_another_version_is_noticed_by_the_client() {
    let home = tempfile::tempdir().unwrap();
    let socket = paths::socket(home.path());
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let newer = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntwocan-api: 2\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    });
    let error = Client::connect(home.path()).await.unwrap_err();
    assert_eq!(error.code, Code::Version);
    assert!(error.hint.unwrap().contains("update it"));
    newer.await.unwrap();
}

#[tokio::test]
async fn loopback_tcp_wants_the_token_from_the_file() {
    let home = tempfile::tempdir().unwrap();
    let file = paths::token_file(home.path());
    let listener = Listener::tcp(&file).await.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let node = FakeNode::new();
    node.befriend("bob");
    let server = Server::serve(listener, node.clone(), Limits::default());
    let endpoint = Endpoint::from_token_file(&file).unwrap();
    let client = Client::open(endpoint.clone()).await.unwrap();
    client.status().await.unwrap();
    let placed = client.place_call(PlaceCall { friend: "bob".to_owned(), video: false }).await.unwrap();
    let media = client.media(&placed.call.id, &placed.seat).await.unwrap();
    assert!(node.far_end(&placed.call.id).is_some());
    drop(media);
    let Endpoint::Tcp { port, .. } = endpoint else { panic!("not TCP") };
    let wrong = Endpoint::Tcp { port, token: Token::new("0".repeat(64)).unwrap() };
    assert_eq!(Client::open(wrong).await.unwrap_err().code, Code::Forbidden);
    server.stop().await;
    assert!(!file.exists());
}
