//! "Hide my address": from a friend, or from everybody.
//!
//! Who is hidden from meets us only on a swarm of its own PeerId that exists for that, through circuits of relays; the
//! records for them (pair slots, and the contact slot while anything is hidden) name that swarm and nothing else, and
//! their calls have relayed candidates only. Who it is, the book of friends knows ([`Book::hides`]).
//!
//! [`Book::hides`]: twocan_protocol::friend::Book::hides

use twocan_control::{self as api, Privacy};
use twocan_protocol::friend::Input;

use super::Service;

impl Service {
    pub(super) fn privacy(&self) -> Privacy {
        Privacy { hide_address: self.book.hides_all() }
    }

    pub(super) fn set_privacy(&mut self, privacy: Privacy) -> api::Result<Privacy> {
        self.act(Input::Hide { friend: None, hidden: privacy.hide_address })?;
        Ok(self.privacy())
    }
}
