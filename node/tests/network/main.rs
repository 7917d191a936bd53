//! Nodes' networks against each other, over real loopback sockets: swarm, DHT and rendezvous.

#[cfg(test)]
mod relays;
#[cfg(test)]
mod rendezvous;
#[cfg(test)]
mod support;
#[cfg(test)]
mod swarm;
