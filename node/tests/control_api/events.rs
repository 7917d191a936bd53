//! The event stream: nothing is missed, and nobody is waited for.

use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twocan_control::testing::sample_friend;
use twocan_control::{Availability, Event, Handle, SetAvailability};
use twocan_node::control::Limits;

use crate::support::{Bench, read_all, soon};

#[tokio::test]
async fn every_change_after_the_hello_is_told_in_order() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let mut events = client.events().await.unwrap();
    assert!(matches!(events.next().await, Some(Event::Hello { api_version: 1, .. })));
    for availability in [Availability::Dnd, Availability::Invisible, Availability::Available] {
        client.set_availability(SetAvailability { availability }).await.unwrap();
    }
    let call = {
        bench.node.befriend("bob");
        bench.node.friend_calls("bob", true)
    };
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(soon("an event", events.next()).await.unwrap());
    }
    let expected = [
        Event::Availability { availability: Availability::Dnd },
        Event::Availability { availability: Availability::Invisible },
        Event::Availability { availability: Availability::Available },
        Event::Friend { friend: sample_friend("bob") },
        Event::CallIncoming { call },
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_longer_followed() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let mut events = client.events().await.unwrap();
    assert!(events.next().await.is_some());
    assert_eq!(bench.node.followers(), 1);
    drop(events);
    drop(client);
    soon("the end of the subscription", async {
        while bench.node.followers() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_client_is_dropped_while_another_goes_on() {
    let bench = Bench::with(Limits { event_queue: 8, ..Limits::default() }).await;
    let mut slow = bench.raw().await;
    slow.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    slow.read_exact(&mut first).await.unwrap();
    let client = bench.client().await;
    let mut quick = client.events().await.unwrap();
    assert!(matches!(quick.next().await, Some(Event::Hello { .. })));
    assert_eq!(bench.node.followers(), 2);

    // More than a socket and all queues on the way hold, by far.
    let notice = Event::Notice { text: "x".repeat(4096) };
    let mut told = 0;
    soon("the drop of the slow client", async {
        while bench.node.followers() > 1 {
            bench.node.emit(&notice);
            told += 1;
            assert_eq!(quick.next().await, Some(notice.clone()));
        }
    })
    .await;
    assert!(told < 4096, "the slow client was given {told} events before it was dropped");
    bench.node.emit(&Event::Unlocked);
    assert_eq!(soon("an event", quick.next()).await, Some(Event::Unlocked));
    // The slow one finds its connection closed.
    let rest = read_all(&mut slow).await;
    assert!(rest.len() < 8 << 20);
}

#[tokio::test]
async fn a_quiet_event_stream_outlives_every_deadline() {
    let short = Duration::from_millis(50);
    let bench = Bench::with(Limits { quick: short, slow: short, idle: short, stall: short, ..Limits::default() }).await;
    let client = bench.client().await;
    let mut events = client.events().await.unwrap();
    assert!(matches!(events.next().await, Some(Event::Hello { .. })));
    // Several times each of them: nothing is waited for, time has to pass.
    tokio::time::sleep(10 * short).await;
    bench.node.emit(&Event::Unlocked);
    assert_eq!(soon("an event", events.next()).await, Some(Event::Unlocked));
}
