//! The interop suite: each scenario once, run against each daemon by `tests/interop_<daemon>.rs`.

pub mod bfd;
pub mod limits;
pub mod manifests;
pub mod refusals;
pub mod restarts;
pub mod routes;
pub mod sessions;
pub mod strangers;
pub mod transport;
pub mod unnumbered;

use std::net::IpAddr;
use std::time::Duration;

use crate::daemon::{self, Family, Kind, PeerSpec, Router, SeenRoute, Spec};
use crate::lab::{Lab, Node};
use crate::pair::{address, nodes, nodes_apart};
use crate::speaker::Speaker;
use crate::wait::eventually;

/// Long enough for a session to come up again after an idle hold.
pub const SOON: Duration = Duration::from_secs(45);

/// The speaker's AS.
pub const OUR_AS: u32 = 64501;

/// Names and addresses of the two sessions with the router: one over IPv4 for IPv4 routes, one over IPv6 for
/// IPv6 routes.
pub const SESSIONS: [(&str, Family); 2] = [("router4", Family::V4), ("router6", Family::V6)];

/// What a bench is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The daemon.
    pub kind: Kind,
    /// The AS that it expects of the speaker.
    pub our_as: u32,
    /// ADD-PATH in both directions (RFC 7911), on its side.
    pub router_add_path: bool,
    /// Its AS; [`OUR_AS`] makes the sessions internal.
    pub router_as: u32,
    /// Its BGP identifier.
    pub router_id: [u8; 4],
    /// Hold time that the daemon proposes.
    pub router_hold: Option<u16>,
    /// Its MD5 password.
    pub router_md5: Option<String>,
    /// It restarts gracefully, and helps us to, with this restart time in seconds.
    pub router_restart: Option<u16>,
    /// The same, long-lived, with this stale time in seconds.
    pub router_long_lived: Option<u32>,
    /// Its role towards us (RFC 9234).
    pub router_role: Option<&'static str>,
    /// eBGP multihop with this TTL on its side.
    pub router_multihop: Option<u8>,
    /// TTL security with so many hops on its side.
    pub router_ttl_security: Option<u8>,
    /// A router stands between the two, and they are two hops apart.
    pub apart: bool,
    /// The speaker names no peer: whoever dials from a prefix is one, `rack4` or `rack6`.
    pub dynamic: bool,
    /// The link has no IPv4 address; the session over IPv6, the only one, carries IPv4 too (RFC 8950).
    pub ipv4_over_ipv6: bool,
    /// What the speaker's peers say beside their address, as the fields of a YAML flow mapping.
    pub peer_keys: String,
    /// The speaker's `advertisements`, as YAML.
    pub advertisements: String,
    /// Manifests: file names and text.
    pub manifests: Vec<(&'static str, String)>,
    /// Further files beside speaker.yaml.
    pub files: Vec<(&'static str, String)>,
}

impl Setup {
    /// eBGP, a pool and a Service with ready endpoints, announced with every attribute.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            our_as: OUR_AS,
            router_add_path: false,
            router_as: 64502,
            router_id: [10, 0, 0, 2],
            router_hold: None,
            router_md5: None,
            router_restart: None,
            router_long_lived: None,
            router_role: None,
            router_multihop: None,
            router_ttl_security: None,
            apart: false,
            dynamic: false,
            ipv4_over_ipv6: false,
            peer_keys: "asn: 64502".to_owned(),
            advertisements: manifests::ADVERTISEMENTS.to_owned(),
            manifests: vec![
                ("pool.yaml", manifests::POOL.to_owned()),
                ("web.yaml", manifests::service("web", true)),
            ],
            files: Vec::new(),
        }
    }

    /// The speaker's configuration.
    #[must_use]
    pub fn config(&self) -> String {
        let keys = &self.peer_keys;
        let (router4, families) = if self.ipv4_over_ipv6 {
            (String::new(), "ipv4-unicast, ipv6-unicast")
        } else {
            let line = format!(
                "- {{name: router4, group: router, address: 10.0.0.2, families: [ipv4-unicast], {keys}}}\n  "
            );
            (line, "ipv6-unicast")
        };
        let peers = if self.dynamic {
            format!(
                "dynamicPeers:\n  \
                 - {{name: rack4, group: router, prefix: 10.0.0.0/24, families: [ipv4-unicast], limit: 1, {keys}}}\n  \
                 - {{name: rack6, group: router, prefix: \"fd00::/64\", families: [ipv6-unicast], limit: 1, {keys}}}\n"
            )
        } else {
            format!(
                "peers:\n  \
                 {router4}\
                 - {{name: router6, group: router, address: \"fd00::2\", families: [{families}], {keys}}}\n"
            )
        };
        format!(
            "node: {{name: n1}}\n\
             router: {{asn: {OUR_AS}, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\", \"[::]:179\"]}}\n\
             sources: {{manifests: [manifests]}}\n\
             ipam: {{stateDir: state}}\n\
             peerGroups:\n  - {{name: router, timers: {{hold: 9s, keepalive: 3s, connectRetry: 1s}}}}\n\
             {peers}\
             advertisements:\n{}\
             datapath: {{loops: none}}\n\
             api: {{socket: api.sock}}\n",
            self.advertisements
        )
    }

    /// The daemon's configuration.
    #[must_use]
    pub fn spec(&self) -> Spec {
        let peers = SESSIONS.map(|(_, family)| {
            let mut peer = PeerSpec::new(address(family, 2), address(family, 1), self.our_as);
            peer.families = vec![family];
            peer.hold = self.router_hold;
            peer.md5.clone_from(&self.router_md5);
            peer.graceful_restart = self.router_restart;
            peer.long_lived_restart = self.router_long_lived;
            peer.add_path = self.router_add_path;
            peer.role = self.router_role;
            peer.multihop = self.router_multihop;
            peer.ttl_security = self.router_ttl_security;
            if self.ipv4_over_ipv6 && family == Family::V6 {
                peer.families = vec![Family::V4, Family::V6];
                peer.extended_next_hop = true;
            }
            peer
        });
        let mut peers = peers.to_vec();
        peers.retain(|peer| !self.ipv4_over_ipv6 || peer.remote.is_ipv6());
        Spec { asn: self.router_as, router_id: self.router_id.into(), peers }
    }

    /// Starts both sides.
    ///
    /// # Panics
    /// If one of them does not start.
    #[must_use]
    pub fn start(&self) -> Bench {
        self.start_on(if self.apart { nodes_apart() } else { nodes() })
    }

    /// As [`Self::start`], on nodes that are there already: for a capture that is to see the first byte.
    ///
    /// # Panics
    /// If one of them does not start.
    #[must_use]
    pub fn start_on(&self, nodes: (Lab, Node, Node)) -> Bench {
        let (lab, node, router_node) = nodes;
        if self.ipv4_over_ipv6 {
            for end in [&node, &router_node] {
                end.ip(&["-4", "address", "flush", "dev", "eth0"]);
            }
        }
        let dir = node.dir().join("speaker");
        std::fs::create_dir_all(&dir).expect("folder of the speaker");
        for (name, text) in &self.files {
            std::fs::write(dir.join(name), text).expect("file of the speaker");
        }
        let router = daemon::start(self.kind, &router_node, &self.spec());
        let speaker = Speaker::start(&node, &self.config(), &self.manifests);
        Bench { speaker, router, router_node, internal: self.router_as == OUR_AS, lab }
    }

    /// Starts both sides and waits until both sessions are up on both.
    #[must_use]
    pub fn establish(&self) -> Bench {
        let bench = self.start();
        bench.wait_established();
        bench
    }
}

/// A speaker and a daemon on one link.
#[derive(Debug)]
pub struct Bench {
    /// The speaker, at 10.0.0.1 and fd00::1.
    pub speaker: Speaker,
    /// The daemon, at 10.0.0.2 and fd00::2.
    pub router: Box<dyn Router>,
    /// Where it runs.
    pub router_node: Node,
    /// Both are in one AS.
    pub internal: bool,
    /// The laboratory; last, so that it goes last.
    pub lab: Lab,
}

impl Bench {
    /// The speaker's address of a session.
    #[must_use]
    pub fn ours(family: Family) -> IpAddr {
        address(family, 1)
    }

    /// Waits until both sessions are up on both sides.
    #[track_caller]
    pub fn wait_established(&self) {
        for (name, family) in SESSIONS {
            self.speaker.wait_state(name, "Established", SOON);
            daemon::wait_established(&*self.router, Self::ours(family), SOON);
        }
    }

    /// Waits until the daemon has exactly `prefixes` from us, all families together.
    #[track_caller]
    pub fn wait_prefixes(&self, prefixes: &[&str]) {
        let mut wanted: Vec<String> = prefixes.iter().map(|p| (*p).to_owned()).collect();
        wanted.sort();
        eventually(SOON, &format!("{} has exactly {wanted:?} from us", self.router.kind()), || {
            let mut have = Vec::new();
            for (_, family) in SESSIONS {
                let routes = self.router.received(Self::ours(family), family);
                have.extend(routes.iter().map(|r| r.prefix.to_string()));
            }
            have.sort();
            if have == wanted { Ok(()) } else { Err(format!("{have:?}")) }
        });
    }

    /// Waits until the daemon's table of our routes says what `rib advertised` says, in every attribute.
    #[track_caller]
    pub fn wait_same_tables(&self) {
        for (name, family) in SESSIONS {
            let what = format!("{} shows what `rib advertised --peer {name}` says", self.router.kind());
            eventually(SOON, &what, || {
                let told = self.comparable(self.speaker.advertised(name, family));
                let seen = self.comparable(self.router.received(Self::ours(family), family));
                if !told.is_empty() && told == seen {
                    return Ok(());
                }
                let only = |a: &[SeenRoute], b: &[SeenRoute]| -> Vec<SeenRoute> {
                    let missing = a.iter().filter(|r| b.binary_search(r).is_err());
                    missing.take(4).cloned().collect()
                };
                Err(format!(
                    "\ntold {} and not seen so: {:#?}\nseen {} and not told so: {:#?}",
                    told.len(),
                    only(&told, &seen),
                    seen.len(),
                    only(&seen, &told)
                ))
            });
        }
    }

    /// Without what daemons show differently: a link-local next hop beside the global one, a local preference
    /// of their own on external sessions, 0 for a MED that is absent.
    fn comparable(&self, mut routes: Vec<SeenRoute>) -> Vec<SeenRoute> {
        for route in &mut routes {
            route.next_hops.truncate(1);
            route.med = route.med.or(Some(0));
            if !self.internal {
                route.local_pref = None;
            }
        }
        routes.sort();
        routes
    }
}

/// The tests of one daemon.
#[macro_export]
macro_rules! interop_suite {
    ($kind:ident) => {
        $crate::interop_suite!(
            $kind:
            routes::attributes_and_withdrawals,
            routes::local_preference,
            routes::refresh,
            routes::received,
            routes::ten_thousand,
            routes::ipv4_over_ipv6,
            restarts::daemon_restarts,
            restarts::speaker_restarts,
            restarts::graceful,
            restarts::drained,
            restarts::long_lived,
            sessions::md5_right,
            sessions::md5_wrong,
            sessions::hold_timer,
            sessions::local_as,
            sessions::add_path,
            sessions::roles,
            sessions::shutdown_text,
            transport::ttl_security,
            transport::multihop,
            transport::dynamic,
            transport::dynamic_keyed,
            transport::collision,
            limits::prefix_limit,
            refusals::wrong_as,
            refusals::identifier_clash,
            refusals::role_clash,
            refusals::role_required,
        );
    };
    ($kind:ident: $($module:ident::$name:ident,)*) => {$(
        #[test]
        fn $name() {
            $crate::interop::$module::$name($crate::daemon::Kind::$kind);
        }
    )*};
}
