//! Keeping the seat of a call: frames flow until the call is over, and when the node or the socket goes away, the seat
//! is taken again with its token, without a person's act. Following the node's events survives the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::sleep;
use twocan_control::{CallId, CallState, Code, Event, Handle, SeatToken, TakeSeat};

use crate::bridge::{Counters, End, Note, Voice};
use crate::exit::{Exit, Failure};

/// How often a node that went away is looked for.
const RETRY: Duration = Duration::from_millis(250);
/// How long: the call itself waits 30 s by default.
const GIVE_UP: Duration = Duration::from_secs(35);

/// The seat of a call.
#[derive(Debug)]
pub struct Seat<H> {
    /// The node.
    pub node: H,
    /// Which call.
    pub call: CallId,
    /// The right to the seat.
    pub token: SeatToken,
}

/// What following the node's events brings.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and nearly always an event")]
pub enum Followed {
    /// An event.
    Event(Event),
    /// The node went away; it is looked for.
    Lost,
    /// It is back.
    Back,
}

impl<H: Handle> Seat<H> {
    /// Carries frames until the call is over, taking the seat again as often as needed.
    ///
    /// # Errors
    /// Another client took the seat, or the node does not come back.
    pub async fn keep(
        mut self,
        mut voice: Voice,
        notes: mpsc::Sender<Note>,
        counters: Arc<Counters>,
    ) -> Result<(), Failure> {
        loop {
            let begin = Instant::now();
            if let Ok(channel) = self.node.media(&self.call, &self.token).await
                && voice.carry(channel, &notes, &counters).await == End::Over
            {
                return Ok(());
            }
            // A node that lets nobody keep the seat is not asked again and again without a breath.
            if begin.elapsed() < RETRY {
                sleep(RETRY).await;
            }
            if !self.take_again().await? {
                return Ok(());
            }
        }
    }

    /// True: the seat is ours again. False: the call is over.
    async fn take_again(&mut self) -> Result<bool, Failure> {
        let begin = Instant::now();
        loop {
            let trouble = match self.node.call(&self.call).await {
                Ok(call) if call.state == CallState::Ended => return Ok(false),
                Ok(_) => {
                    let take = TakeSeat { token: Some(self.token.clone()) };
                    match self.node.take_seat(&self.call, take).await {
                        Ok(seated) => {
                            self.token = seated.seat;
                            return Ok(true);
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            match trouble.code {
                Code::NotFound => return Ok(false),
                Code::SeatTaken => {
                    return Err(Failure::new(Exit::SeatTaken, "another client took your place in this call")
                        .hint("the call goes on there; `twocan answer --take` brings it back here"));
                }
                Code::Conflict => return Ok(false),
                Code::NoNode | Code::Internal if begin.elapsed() <= GIVE_UP => sleep(RETRY).await,
                Code::NoNode | Code::Internal => return Err(gone()),
                _ => return Err(trouble.into()),
            }
        }
    }
}

/// The failure of a node that does not come back.
pub fn gone() -> Failure {
    Failure::new(Exit::NoNode, "the node went away during the call")
        .hint("start it with `twocan up`; its log says what happened")
}

/// Follows the node's events, and again when the node went away and came back; ends when it does not come back.
pub fn follow<H: Handle>(node: H, events: BoxStream<'static, Event>) -> BoxStream<'static, Followed> {
    enum State {
        Following(BoxStream<'static, Event>),
        Lost(Instant),
    }
    let next = |(node, state): (H, State)| async move {
        match state {
            State::Following(mut events) => Some(match events.next().await {
                Some(event) => (Followed::Event(event), (node, State::Following(events))),
                None => (Followed::Lost, (node, State::Lost(Instant::now()))),
            }),
            State::Lost(since) => loop {
                match node.events().await {
                    Ok(events) => break Some((Followed::Back, (node, State::Following(events)))),
                    Err(_) if since.elapsed() > GIVE_UP => break None,
                    Err(_) => sleep(RETRY).await,
                }
            },
        }
    };
    stream::unfold((node, State::Following(events)), next).boxed()
}
