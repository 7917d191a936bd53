//! What clients see of the DHTs: our own, and the public IPFS DHT.

use twocan_control::{Health, PublicDht, PublicDhtState};

use super::{Service, small};
use crate::swarm::public::State;

impl Service {
    /// How finding and being found is doing.
    pub(super) fn health(&self) -> Health {
        let slots = *self.rendezvous.status().borrow();
        let dht = self.swarm.dht();
        let dht = dht.borrow();
        Health {
            peers: small(dht.peers),
            server: dht.server,
            slots_published: small(slots.published),
            slots_confirmed: small(slots.confirmed),
            // The swarm's own task knows; the handle asks it.
            records_stored: 0,
            discovery: self.config.network.discovery.word().to_owned(),
            public: self.public_dht(),
        }
    }

    /// How the public DHT looks from here; `None` if nothing may ask it.
    fn public_dht(&self) -> Option<PublicDht> {
        let view = self.public.as_ref()?.view().borrow().clone();
        let slots = self.rendezvous.public_status().unwrap_or_default();
        Some(PublicDht {
            state: match view.state {
                State::Resting => PublicDhtState::Resting,
                State::Reaching => PublicDhtState::Reaching,
                State::Connected => PublicDhtState::Connected,
            },
            servers: small(view.peers),
            slots_published: small(slots.published),
            slots_confirmed: small(slots.confirmed),
            last_error: view.last_error,
        })
    }
}
