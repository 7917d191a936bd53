//! Whatever else can be thrown at the socket: each attempt gets a clear answer or a closed connection, and the node
//! goes on.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use twocan_control::limits::MAX_BODY;
use twocan_control::{Client, Code, Handle};
use twocan_node::control::Limits;

use crate::support::{Bench, Reply, read_all, soon};

async fn still_well(bench: &Bench) {
    bench.client().await.status().await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_http_end_the_connection() {
    // Some of these could be the beginning of a request: the wait for its rest is short here.
    let bench = Bench::with(Limits { idle: Duration::from_millis(200), ..Limits::default() }).await;
    let mut noise = vec![0_u8; 64 * 1024];
    for (n, byte) in noise.iter_mut().enumerate() {
        *byte = u8::try_from((n * 7919 + n / 13) % 256).unwrap();
    }
    for junk in [&noise[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\n\n\n\n", b"GET\r\n\r\n", b"{\"a\":1}\r\n\r\n"]
    {
        let answer = bench.exchange(junk).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    }
    still_well(&bench).await;
}

#[tokio::test]
async fn huge_and_many_headers_are_refused() {
    let bench = Bench::new().await;
    let long = format!("GET /v1/status HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(1 << 20));
    let answer = bench.exchange(long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    let many: String = (0..1000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = bench.exchange(format!("GET /v1/status HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    still_well(&bench).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_closed() {
    let bench = Bench::with(Limits { idle: Duration::from_millis(200), ..Limits::default() }).await;
    let mut stream = bench.raw().await;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost:").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    let silent = read_all(&mut bench.raw().await).await;
    assert_eq!(silent, "");
    still_well(&bench).await;
}

#[tokio::test]
async fn a_body_that_never_ends_meets_the_deadline() {
    let bench = Bench::with(Limits { quick: Duration::from_millis(200), ..Limits::default() }).await;
    let mut stream = bench.raw().await;
    stream
        .write_all(b"POST /v1/friends HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{")
        .await
        .unwrap();
    let reply = Reply::parse(&read_all(&mut stream).await);
    assert_eq!((reply.status, reply.error().code), (500, Code::Internal));
    still_well(&bench).await;
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_given_up() {
    let bench = Bench::with(Limits { quick: Duration::from_millis(50), ..Limits::default() }).await;
    let client = bench.client().await;
    bench.node.delay(Duration::from_secs(600));
    let late = soon("the deadline", client.friends()).await.unwrap_err();
    assert_eq!(late.code, Code::Internal);
    assert!(late.message.contains("given up"));
}

#[tokio::test]
async fn an_oversized_body_is_refused_whether_it_says_so_or_not() {
    let bench = Bench::new().await;
    let head = format!(
        "POST /v1/friends HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        MAX_BODY + 1
    );
    let mut stream = bench.raw().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; MAX_BODY + 1]).await.ok();
    let reply = Reply::parse(&read_all(&mut stream).await);
    assert_eq!(reply.error().code, Code::Limit);

    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let mut chunked =
        b"POST /v1/friends HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..10 {
        chunked.extend_from_slice(chunk.as_bytes());
    }
    let mut stream = bench.raw().await;
    stream.write_all(&chunked).await.ok();
    let reply = Reply::parse(&read_all(&mut stream).await);
    assert_eq!(reply.error().code, Code::Limit);
    still_well(&bench).await;
}

#[tokio::test]
async fn wrong_bodies_paths_and_methods_are_explained_in_json() {
    let bench = Bench::new().await;
    let deep = "[".repeat(100_000);
    let long_name = format!(r#"{{"name":"{}"}}"#, "n".repeat(65));
    let long_path = format!("/v1/friends/{}", "a".repeat(2000));
    let cases = [
        ("POST", "/v1/friends", "nonsense", 400, Code::Invalid),
        ("POST", "/v1/friends", "", 400, Code::Invalid),
        ("POST", "/v1/friends", "[]", 400, Code::Invalid),
        ("POST", "/v1/friends", deep.as_str(), 400, Code::Invalid),
        ("POST", "/v1/friends", r#"{"address":7}"#, 400, Code::Invalid),
        ("POST", "/v1/friends", r#"{"address":"twocan1\u0000"}"#, 400, Code::Invalid),
        ("PUT", "/v1/identity/profile", long_name.as_str(), 400, Code::Invalid),
        ("PUT", "/v1/identity/profile", r#"{"name":"\u001b[31m"}"#, 400, Code::Invalid),
        ("PUT", "/v1/availability", r#"{"availability":"asleep"}"#, 400, Code::Invalid),
        ("GET", "/", "", 404, Code::NotFound),
        ("GET", "/v1/nothing", "", 404, Code::NotFound),
        ("GET", "/v1/friends/", "", 404, Code::NotFound),
        ("GET", "/v2/status", "", 426, Code::Version),
        ("GET", "/v0/status", "", 426, Code::Version),
        ("DELETE", "/v1/status", "", 405, Code::Invalid),
        ("GET", "/v1/unlock", "", 405, Code::Invalid),
        ("GET", "/v1/friends/%ff%fe", "", 400, Code::Invalid),
        ("GET", "/v1/friends/%00", "", 400, Code::Invalid),
        ("GET", long_path.as_str(), "", 400, Code::Invalid),
        ("GET", "/v1/calls/..%2f..%2fetc", "", 400, Code::Invalid),
        ("GET", "/v1/calls/abc", "", 404, Code::NotFound),
        ("GET", "/v1/calls/abc/media", "", 400, Code::Invalid),
        ("GET", "/v1/calls/abc/media?seat=00", "", 400, Code::Invalid),
        ("GET", "/v1/calls/abc/media?seat=%ff", "", 409, Code::SeatTaken),
    ];
    for (method, path, body, status, code) in cases {
        let reply = bench.request(method, path, "", body).await;
        let what = format!("{method} {} {}", &path[..path.len().min(40)], &body[..body.len().min(40)]);
        assert_eq!((reply.status, reply.error().code), (status, code), "{what}: {reply:?}");
        assert!(reply.head.contains("content-type: application/json"), "{what}: {}", reply.head);
        assert!(reply.head.contains("twocan-api: 1"), "{what}: {}", reply.head);
        if status == 405 {
            assert!(reply.head.contains("allow: "), "{what}: {}", reply.head);
        }
    }
    still_well(&bench).await;
}

#[tokio::test]
async fn web_pages_and_other_versions_are_refused() {
    let bench = Bench::new().await;
    let page = bench.request("GET", "/v1/status", "Origin: http://localhost:3000\r\n", "").await;
    assert_eq!((page.status, page.error().code), (403, Code::Forbidden));
    let page = bench.request("POST", "/v1/shutdown", "origin: null\r\n", "").await;
    assert_eq!(page.error().code, Code::Forbidden);
    assert!(!bench.node.stopped());
    let version = bench.request("GET", "/v1/status", "twocan-api: 2\r\n", "").await;
    assert_eq!((version.status, version.error().code), (426, Code::Version));
    let same = bench.request("GET", "/v1/status", "twocan-api: 1\r\n", "").await;
    assert_eq!(same.status, 200);
}

#[tokio::test]
async fn whoever_comes_when_all_places_are_taken_is_told_so() {
    let bench = Bench::with(Limits { connections: 2, ..Limits::default() }).await;
    let held = [bench.raw().await, bench.raw().await];
    // Both are served before the third is let in, because connections are accepted in order.
    let third = Reply::parse(&bench.exchange(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await);
    assert_eq!((third.status, third.error().code), (429, Code::Limit));
    let client = Client::connect(bench.home.path()).await.unwrap_err();
    assert_eq!(client.code, Code::Limit);
    drop(held);
    soon("a free place", async {
        while Client::connect(bench.home.path()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_let_go() {
    let bench = Bench::with(Limits { stall: Duration::from_millis(100), connections: 1, ..Limits::default() }).await;
    for n in 0..3000 {
        bench.node.befriend(&format!("friend {n}"));
    }
    let mut deaf = bench.raw().await;
    deaf.write_all(b"GET /v1/friends HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Its place is free again although it never read and never left.
    soon("a free place", async {
        while Client::connect(bench.home.path()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(deaf);
}
