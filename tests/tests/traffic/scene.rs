//! Pods with servers, Services of both families, and who is reached by way of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tests::cluster::Backend;
use tests::e2e::manifests::{ServiceSpec, pool};
use tests::e2e::{SOON, Turn};
use tests::lab::Node;
use tests::traffic::{CLIENT, Load, PORT, Place, RATE, Servers, addresses, backend, next_hops, terminating};
use tests::wait::eventually;

pub(crate) const ALL: [&str; 3] = ["n1", "n2", "n3"];

/// Connections that are under way at the moment in which the router changes a path may be cut: they are few.
pub(crate) const CUT: u64 = 5;

pub(crate) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Pods with servers on them, by their place.
pub(crate) struct Pods<'a> {
    pub(crate) world: &'a Turn,
    pub(crate) servers: Servers,
    pub(crate) nodes: BTreeMap<Place, Node>,
}

impl<'a> Pods<'a> {
    pub(crate) fn new(world: &'a Turn, prefix: &str, places: &[Place]) -> Self {
        let mut pods = Self { world, servers: Servers::new(), nodes: BTreeMap::new() };
        for place in places {
            pods.run(prefix, *place);
        }
        pods
    }

    /// A Pod `PREFIX-NODE-HOST`; names and hosts are never used twice in a world.
    pub(crate) fn run(&mut self, prefix: &str, (n, host): Place) {
        let node = self.world.pod(n, host, &format!("{prefix}-{n}-{host}"));
        self.servers.serve(&node, 8080);
        self.nodes.insert((n, host), node);
    }

    pub(crate) fn stop(&mut self, place: Place) {
        self.servers.stop(&self.nodes[&place]);
    }
}

/// The endpoints of a Service, of both families.
pub(crate) fn endpoints(world: &Turn, name: &str, ready: &[Place], ending: &[Place]) {
    for v6 in [false, true] {
        let ready = ready.iter().map(|place| backend(*place, v6));
        let all: Vec<Backend> = ready.chain(ending.iter().map(|place| terminating(*place, v6))).collect();
        if all.is_empty() {
            let family = if v6 { "ipv6" } else { "ipv4" };
            let path = format!("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{name}-{family}");
            world.cluster.rest().patch(&path, &json!({"endpoints": []}));
        } else {
            world.cluster.set_endpoints("default", name, 8080, &all);
        }
    }
}

/// A dual-stack Service `NAME` and its two addresses.
pub(crate) fn dual(world: &Turn, spec: ServiceSpec, name: &str) -> [IpAddr; 2] {
    world.cluster.apply(&spec.spec("ipFamilyPolicy: RequireDualStack").yaml());
    let now = eventually(SOON, "both families have an address", || {
        let now = world.ingress(name);
        if now.len() == 2 { Ok(now) } else { Err(format!("{now:?}")) }
    });
    let mut all: Vec<IpAddr> = now.iter().map(|one| addr(one)).collect();
    all.sort();
    [all[0], all[1]]
}

pub(crate) fn pools(world: &Turn, number: u8) {
    world
        .cluster
        .apply(&pool("pool", &format!("{{cidr: 10.{number}.0.0/24}}, {{cidr: '2001:db8:{number}::/112'}}")));
}

pub(crate) fn host(vip: IpAddr) -> String {
    format!("{vip}/{}", if vip.is_ipv4() { 32 } else { 128 })
}

/// Waits until the router has both addresses from these nodes, and every node's kube-proxy serves them.
pub(crate) fn wait_served(world: &Turn, vips: &[IpAddr], nodes: &[&str]) {
    for vip in vips {
        world.wait_holders(&host(*vip), nodes);
        for member in world.members.iter().filter(|member| nodes.contains(&member.node.name())) {
            eventually(SOON, "each node's kube-proxy serves", || ask_once(&member.node, *vip).map(|_| ()));
        }
        eventually(SOON, "the router's kernel has every path", || {
            let seen = next_hops(world, *vip);
            if seen.iter().eq(nodes) { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }
}

pub(crate) fn ask_once(node: &Node, vip: IpAddr) -> Result<String, String> {
    use std::io::{Read as _, Write as _};
    node.inside(|| {
        let to = SocketAddr::new(vip, PORT);
        let mut stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"q")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text.trim().to_owned())
    })
    .map_err(|e| format!("{} to {vip}: {e}", node.name()))
}

/// The addresses as which a node may ask a Pod on behalf of a client.
pub(crate) fn of_nodes(world: &Turn) -> Vec<IpAddr> {
    addresses(world).into_keys().collect()
}

pub(crate) fn own() -> Vec<IpAddr> {
    CLIENT.map(addr).to_vec()
}

pub(crate) fn load(world: &Turn, vip: IpAddr, sources: &[IpAddr]) -> Load {
    Load::start(&world.outside, SocketAddr::new(vip, PORT), RATE, sources)
}
