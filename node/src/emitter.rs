//! Tells every client what happens. The node never waits for one: whoever does not keep up loses its stream, asks for the
//! state anew and follows again.

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use twocan_control::{API_VERSION, Event};

/// Events that a client may lag behind. A burst (a call that starts with twenty friends coming online) is below 100; each
/// event is about 1 kB, so the whole queue, which all clients share, stays below 512 kB.
const BACKLOG: usize = 512;

/// The fan-out of events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Emitter {
    sender: broadcast::Sender<Event>,
    boot_id: String,
}

impl Emitter {
    /// A fan-out without listeners; `boot_id` tells clients one run of the node from another.
    pub fn new(boot_id: String) -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), boot_id }
    }

    /// Tells all who listen.
    pub fn emit(&self, event: Event) {
        // No listener is no fault.
        let _ = self.sender.send(event);
    }

    /// Everything from now on, after a [`Event::Hello`]. Ends when the reader falls too far behind, or the node stops.
    pub fn stream(&self) -> BoxStream<'static, Event> {
        let hello = Event::Hello { api_version: API_VERSION, boot_id: self.boot_id.clone() };
        let receiver = self.sender.subscribe();
        let rest = futures::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((event, receiver)),
                Err(RecvError::Lagged(_) | RecvError::Closed) => None,
            }
        });
        futures::stream::once(std::future::ready(hello)).chain(rest).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_lags_is_dropped_and_others_go_on() {
        let emitter = Emitter::new("b".to_owned());
        let mut slow = emitter.stream();
        let mut quick = emitter.stream();
        assert!(matches!(slow.next().await, Some(Event::Hello { .. })));
        assert!(matches!(quick.next().await, Some(Event::Hello { .. })));
        for _ in 0..=BACKLOG {
            emitter.emit(Event::Unlocked);
            assert_eq!(quick.next().await, Some(Event::Unlocked));
        }
        assert_eq!(slow.next().await, None);
    }
}
