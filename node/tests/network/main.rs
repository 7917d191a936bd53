//! Nodes' networks against each other, over real loopback sockets: swarm, DHT and rendezvous.

mod rendezvous;
mod support;
mod swarm;
