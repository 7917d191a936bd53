//! What people see of relays.

use twocan_control as api;
use twocan_protocol::wire::Endpoint;

use super::super::{Service, view};
use super::own::{policy_of, word_of};
use crate::relay::Policy;

fn policy_out(policy: Policy) -> api::RelayPolicy {
    match policy {
        Policy::Auto => api::RelayPolicy::Auto,
        Policy::Off => api::RelayPolicy::Off,
        Policy::Friends => api::RelayPolicy::Friends,
        Policy::Anyone => api::RelayPolicy::Anyone,
    }
}
