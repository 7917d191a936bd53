//! The other end as webrtc's own agent sees it: inside this process, always there, once there is a path.
//!
//! webrtc sends checks to one address that is nobody's; here they are answered with the friend's password, as the
//! friend would. So webrtc's connection comes up one tick after our path, and never goes down with it.

use std::sync::Arc;

use rtc::crypto::RTCCryptoProvider;

use super::Credentials;
use crate::calls::stun::{Class, Message, Transaction, Writer};

/// Media kept for webrtc while its agent is not done: the first flight of a handshake (its repetition takes a second).
const MAX_HELD: usize = 32;

/// State of the stand-in.
pub(super) struct StandIn {
    crypto: Arc<dyn RTCCryptoProvider>,
    own: Option<Credentials>,
    friend: Option<Credentials>,
    /// There is a path: webrtc may connect.
    open: bool,
    /// webrtc has chosen its pair.
    done: bool,
    tie_breaker: u64,
    asked: Option<Transaction>,
    held: Vec<Vec<u8>>,
}

impl StandIn {
    pub(super) fn new(crypto: Arc<dyn RTCCryptoProvider>) -> Self {
        Self {
            crypto,
            own: None,
            friend: None,
            open: false,
            done: false,
            tie_breaker: rand::random(),
            asked: None,
            held: Vec::new(),
        }
    }

    pub(super) fn set_own(&mut self, own: Credentials) {
        self.own.get_or_insert(own);
    }

    pub(super) fn set_friend(&mut self, friend: Credentials) {
        self.friend.get_or_insert(friend);
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// There is a path.
    pub(super) fn open(&mut self) {
        self.open = true;
    }

    /// Media for webrtc: given back if it can be handed on, kept if webrtc would drop it.
    pub(super) fn pass(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        if self.done {
            return Some(packet);
        }
        if self.held.len() < MAX_HELD {
            self.held.push(packet);
        }
        None
    }

    /// Takes a check or answer of webrtc's agent; gives what is to be handed to it, in order.
    pub(super) fn input(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let (Some(own), Some(friend), Some(message), true) =
            (&self.own, &self.friend, Message::read(packet), self.open)
        else {
            return out;
        };
        let crypto = &*self.crypto;
        let mut done = self.done;
        match message.class {
            Class::Request => {
                let answer = Writer::success(message.transaction, super::paths::INSIDE_OWN);
                out.extend(answer.sealed(crypto, friend.password.as_bytes()));
                done |= message.use_candidate;
                if message.controlled.is_some() && !self.done {
                    // It waits for the controlling side's choice.
                    let id = rand::random();
                    self.asked = Some(id);
                    let choice = Writer::request(id)
                        .username(&format!("{}:{}", own.ufrag, friend.ufrag))
                        .priority(u32::MAX >> 1)
                        .role(true, self.tie_breaker)
                        .use_candidate();
                    out.extend(choice.sealed(crypto, own.password.as_bytes()));
                }
            }
            Class::Success => done |= self.asked == Some(message.transaction),
            Class::Error => {}
        }
        if done && !self.done {
            self.done = true;
            out.append(&mut self.held);
        }
        out
    }
}
