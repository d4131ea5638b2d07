//! Traffic that does not stop: servers on Pods, a client that opens a thousand connections a second and keeps its
//! books, flows that stay, and what each node sees of them.

mod flows;
mod load;
mod loss;
mod paths;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use flows::{Flow, Flows};
pub use load::{Load, Tally};
pub use loss::{Loss, lose_a_node, with_bfd, with_short_hold};
pub use paths::Paths;
pub use server::Servers;

use crate::cluster::{Backend, ProxyMode};
use crate::e2e::{World, pod_v4, pod_v6};
use crate::lab::Node;
use crate::process::Process;
use crate::wait::eventually;

/// How long a connection may take, and then an answer.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Connections a second.
pub const RATE: u32 = 1000;

/// The port of every Service here.
pub const PORT: u16 = 80;

/// The client's addresses.
pub const CLIENT: [&str; 2] = ["198.18.0.2", "fd00:18::2"];

/// The first byte of a connection: one answer, and the server closes.
const ONCE: u8 = b'q';
/// The first byte of a connection: an answer, and then every byte comes back.
const STAY: u8 = b'f';

/// kube-proxy on each node of a world; they go with the handle, and what they programmed too.
#[derive(Debug)]
pub struct Proxies<'a> {
    world: &'a World,
    running: Vec<Process>,
}

impl<'a> Proxies<'a> {
    /// Starts them and waits until they are healthy.
    #[must_use]
    pub fn start(world: &'a World, mode: ProxyMode) -> Self {
        Self::start_slow(world, mode, Duration::from_millis(10))
    }

    /// The same, with this time at least between two synchronisations.
    #[must_use]
    pub fn start_slow(world: &'a World, mode: ProxyMode, pause: Duration) -> Self {
        let start = |member: &crate::e2e::Member| {
            let (node, cluster) = (&member.node, &world.cluster);
            cluster.start_slow_proxy(node, node.name(), mode, pause)
        };
        let proxies = Self { world, running: world.members.iter().map(start).collect() };
        for member in &world.members {
            eventually(crate::e2e::SOON, "kube-proxy is healthy", || healthy(&member.node));
        }
        proxies
    }

    /// That of member `n` (from 1).
    #[must_use]
    pub fn of(&self, n: u8) -> &Process {
        &self.running[usize::from(n) - 1]
    }
}

impl Drop for Proxies<'_> {
    fn drop(&mut self) {
        for (process, member) in self.running.iter().zip(&self.world.members) {
            process.kill();
            let _left = member.node.try_exec(&["nft", "flush", "ruleset"]);
        }
    }
}

/// Whether kube-proxy of a node answers 200 at `/healthz`.
///
/// # Errors
/// What it answers instead.
pub fn healthy(node: &Node) -> Result<(), String> {
    use std::io::{Read as _, Write as _};
    let answer = node.inside(|| {
        let to = SocketAddr::from(([127, 0, 0, 1], 10256));
        let mut stream = std::net::TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let answer = answer.map_err(|e| e.to_string())?;
    let status = answer.lines().next().unwrap_or_default();
    if status.contains(" 200 ") { Ok(()) } else { Err(status.to_owned()) }
}

/// A Pod `host` on node `n`.
pub type Place = (u8, u8);

/// An endpoint at a place.
#[must_use]
pub fn backend((n, host): Place, v6: bool) -> Backend {
    let address: IpAddr = if v6 { pod_v6(n, host).into() } else { pod_v4(n, host).into() };
    Backend::new(&address.to_string(), &format!("n{n}"))
}

/// The same, terminating and still serving.
#[must_use]
pub fn terminating(place: Place, v6: bool) -> Backend {
    Backend { terminating: true, ..backend(place, v6) }
}

/// The nodes by their addresses: what a Pod sees where a node asks on behalf of a client.
///
/// # Panics
/// If the kernel answers in another form than `ip -j`.
#[must_use]
pub fn addresses(world: &World) -> BTreeMap<IpAddr, String> {
    let mut all = BTreeMap::new();
    for member in &world.members {
        let text = member.node.ip(&["-j", "address", "show", "scope", "global"]);
        let links: serde_json::Value = serde_json::from_str(&text).expect("JSON of ip");
        for link in links.as_array().into_iter().flatten() {
            for one in link["addr_info"].as_array().into_iter().flatten() {
                let address = one["local"].as_str().and_then(|one| one.parse().ok());
                all.extend(address.map(|one: IpAddr| (one, member.node.name().to_owned())));
            }
        }
    }
    all
}

/// The nodes among which the router's kernel chooses for an address.
#[must_use]
pub fn next_hops(world: &World, vip: IpAddr) -> BTreeSet<String> {
    let family = if vip.is_ipv4() { "-4" } else { "-6" };
    let text = world.tor_node().try_ip(&[family, "route", "show", &vip.to_string()]).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    let vias = words.windows(2).filter(|pair| pair[0] == "via").filter_map(|pair| pair[1].parse().ok());
    let members = &world.members;
    let name =
        |via: IpAddr| members.iter().find(|m| via == m.v4 || via == m.v6).map(|m| m.node.name().to_owned());
    vias.filter_map(name).collect()
}
