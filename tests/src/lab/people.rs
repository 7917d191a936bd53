//! Nodes in a lab: a friend whose node everybody can reach, and people at sites of any kind.

use std::net::IpAddr;

use anyhow::Result;
use twocan_control::{Handle, Profile};

use super::{Host, Lab};
use crate::node::{Node, Options};

/// The port of a public node, UDP and TCP: what even strict firewalls let out. On TCP its relay listens there, which
/// passes on to the swarm what is not TLS.
pub const PUBLIC_PORT: u16 = 443;
/// The swarm's own TCP port in a public node.
const SWARM_PORT: u16 = 4001;

/// What a public friend's `config.toml` says besides.
pub const PUBLIC_CONFIG: &str = "[relay]\ntls_port = 443\n";

/// How a node at a host listens: everywhere, at ports that the system chooses, as by default.
pub fn options(host: &Host, bootstrap: &[String], extra: &str) -> Options {
    Options {
        bootstrap: bootstrap.to_vec(),
        extra: extra.to_owned(),
        dht_server: None,
        listen: Some(listen(0, 0)),
        launcher: Vec::new(),
        namespace: Some(host.namespace().clone()),
    }
}

/// The same for a node with a public address, at ports that others can know.
pub fn public_options(host: &Host, bootstrap: &[String], extra: &str) -> Options {
    Options { listen: Some(listen(PUBLIC_PORT, SWARM_PORT)), dht_server: Some("on"), ..options(host, bootstrap, extra) }
}

fn listen(udp: u16, tcp: u16) -> Vec<String> {
    let any = |ip: &str| [format!("/{ip}/udp/{udp}/quic-v1"), format!("/{ip}/tcp/{tcp}")];
    [any("ip4/0.0.0.0"), any("ip6/::")].concat()
}

/// Where a node made with [`public_options`] is reached.
pub async fn addresses(node: &Node, host: &Host) -> Result<Vec<String>> {
    let status = node.until(|status| !status.peer_id.is_empty() && !status.listen.is_empty()).await?;
    let peer = status.peer_id;
    let of = |address: IpAddr| {
        let ip = if address.is_ipv4() { format!("ip4/{address}") } else { format!("ip6/{address}") };
        let with = |transport: &str| format!("/{ip}/{transport}/p2p/{peer}");
        [with(&format!("udp/{PUBLIC_PORT}/quic-v1")), with(&format!("tcp/{PUBLIC_PORT}"))]
    };
    Ok(host.addresses().into_iter().flat_map(of).collect())
}

/// A public friend's node, at a dual-stack site of its own; with how others reach it.
pub async fn public_node(
    lab: &Lab,
    name: &str,
    bootstrap: &[String],
    extra: &str,
) -> Result<(Host, Node, Vec<String>)> {
    let host = lab.host_at("dual")?;
    let node = Node::start(name, &public_options(&host, bootstrap, extra)).await?;
    node.api().set_profile(Profile { name: name.to_owned() }).await?;
    let addresses = addresses(&node, &host).await?;
    Ok((host, node, addresses))
}

/// A person's node at a host.
pub async fn person(host: &Host, name: &str, bootstrap: &[String], extra: &str) -> Result<Node> {
    let node = Node::start(name, &options(host, bootstrap, extra)).await?;
    node.api().set_profile(Profile { name: name.to_owned() }).await?;
    Ok(node)
}

/// `asker` asks, `asked` accepts, both see each other online.
pub async fn befriend(asker: &Node, asked: &Node) -> Result<()> {
    use twocan_control::RequestAnswer;
    crate::world::ask(asker, asked).await?;
    let request = crate::world::incoming_request(asked, asker).await?;
    asked.api().answer_request(&request, RequestAnswer::Accept { name: None }).await?;
    crate::world::online(asker, asked).await?;
    crate::world::online(asked, asker).await?;
    Ok(())
}
