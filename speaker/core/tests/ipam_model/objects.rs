//! Random pools and Services, and what may happen to them.

use std::net::IpAddr;

use bgp_proto::types::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use speaker_config::objects::{
    Block, IpFamilyPolicy, Labels, ObjectKey, Pool, Selector, Service, ServicePort, TrafficPolicy,
};

/// Sixteen addresses of one family and eight of the other: all there are.
pub(crate) fn space() -> Vec<IpAddr> {
    let four = (0..16u8).map(|n| IpAddr::from([10, 0, 0, n]));
    let six = (0..8u16).map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
    four.chain(six).collect()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn color(index: u8) -> Option<&'static str> {
    [None, Some("red"), Some("blue")][usize::from(index % 3)]
}

pub(crate) fn block() -> impl Strategy<Value = Block> {
    prop_oneof![
        4 => (0..16u8, 29..33u8).prop_map(|(n, len)| {
            Block::Cidr(format!("10.0.0.{n}/{len}").parse().unwrap())
        }),
        4 => (0..16u8, 0..6u8).prop_map(|(n, more)| Block::Range {
            first: IpAddr::from([10, 0, 0, n]),
            last: IpAddr::from([10, 0, 0, (n + more).min(15)]),
        }),
        2 => (0..8u16, 126..129u8).prop_map(|(n, len)| {
            Block::Cidr(format!("2001:db8::{n:x}/{len}").parse().unwrap())
        }),
    ]
}

pub(crate) fn pool() -> impl Strategy<Value = Pool> {
    (0..4u8, 0..3i64, vec(block(), 0..3), 0..4u8, 0..6u8, any::<bool>()).prop_map(
        |(index, created, blocks, selector, state, reserve)| Pool {
            name: format!("pool-{index}"),
            created,
            generation: 1,
            labels: Labels::new(),
            annotations: Labels::new(),
            selector: color(selector).map(|color| Selector {
                match_labels: labels(&[("color", color)]),
                match_expressions: Vec::new(),
            }),
            blocks,
            reserve_first_last: reserve,
            disabled: state == 0,
            faults: if state == 1 { vec!["spec.blocks[9].cidr: unreadable".to_owned()] } else { Vec::new() },
            conditions: Vec::new(),
        },
    )
}

/// What of a Service is the user's, by numbers.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) index: u8,
    pub(crate) created: i64,
    pub(crate) color: u8,
    pub(crate) key: u8,
    pub(crate) cross: bool,
    pub(crate) port: u16,
    pub(crate) local: bool,
    pub(crate) app: u8,
    pub(crate) families: u8,
    pub(crate) named: Vec<u8>,
    pub(crate) kind: u8,
}

pub(crate) fn spec() -> impl Strategy<Value = Spec> {
    (
        (0..8u8, 0..3i64, 0..4u8, 0..4u8, any::<bool>(), 80..83u16),
        (
            prop::bool::weighted(0.2),
            0..3u8,
            0..5u8,
            prop_oneof![3 => vec(0..24u8, 0..1), 1 => vec(0..24u8, 1..3)],
            0..12u8,
        ),
    )
        .prop_map(|((index, created, color, key, cross, port), (local, app, families, named, kind))| {
            Spec { index, created, color, key, cross, port, local, app, families, named, kind }
        })
}

/// Pools of a few addresses that serve everybody.
pub(crate) fn small_pool() -> impl Strategy<Value = Pool> {
    (pool(), 0..2u8, 1..3u8, prop::bool::weighted(0.1)).prop_map(|(mut pool, index, size, disabled)| {
        pool.name = format!("pool-{index}");
        let first = index * 4;
        pool.blocks = vec![Block::Range {
            first: IpAddr::from([10, 0, 0, first]),
            last: IpAddr::from([10, 0, 0, first + size]),
        }];
        pool.faults.clear();
        pool.selector = pool.selector.filter(|_| pool.reserve_first_last);
        pool.disabled = disabled;
        pool
    })
}

/// Services that mostly share, and often stand in each other's way.
pub(crate) fn sharing_spec() -> impl Strategy<Value = Spec> {
    (spec(), prop::bool::weighted(0.8), 80..86u16, prop::bool::weighted(0.1), 0..4u8).prop_map(
        |(mut spec, shares, port, local, name)| {
            spec.key = if shares { 2 + spec.key % 2 } else { 0 };
            spec.cross = true;
            spec.port = port;
            spec.local = local;
            spec.families = 2;
            spec.named = if name == 0 { vec![spec.app * 4] } else { Vec::new() };
            spec.kind = spec.kind.max(3);
            spec
        },
    )
}

pub(crate) fn key_of(index: u8) -> ObjectKey {
    ObjectKey::new(if index.is_multiple_of(2) { "even" } else { "odd" }, format!("s{index}"))
}

impl Spec {
    /// The object, with the status of the one before it.
    pub(crate) fn object(&self, before: Option<&Service>) -> Service {
        let mut annotations = Labels::new();
        if !self.named.is_empty() {
            let space = space();
            let list: Vec<String> = self.named.iter().map(|n| space[usize::from(*n)].to_string()).collect();
            annotations.insert("lbipam.cilium.io/ips".into(), list.join(","));
        }
        if self.key > 1 {
            annotations.insert("lbipam.cilium.io/sharing-key".into(), format!("key-{}", self.key));
        }
        if self.cross {
            annotations.insert("lbipam.cilium.io/sharing-cross-namespace".into(), "even, odd".into());
        }
        let both = [Family::Ipv4Unicast, Family::Ipv6Unicast];
        let before = before.filter(|before| before.created == self.created);
        Service {
            key: key_of(self.index),
            created: self.created,
            generation: before.map_or(1, |before| before.generation + 1),
            deleting: self.kind == 0,
            cleanup: Default::default(),
            ingress_ours: before.is_some_and(|before| before.ingress_ours),
            labels: color(self.color).map(|color| labels(&[("color", color)])).unwrap_or_default(),
            annotations,
            load_balancer: self.kind != 1,
            class: match self.kind {
                2 => Some("example.com/other".into()),
                3 => Some("io.cilium/bgp-control-plane".into()),
                _ => None,
            },
            load_balancer_ip: None,
            external_ips: Vec::new(),
            cluster_ips: Vec::new(),
            ip_families: if self.families == 1 { vec![both[1]] } else { vec![both[0]] },
            ip_family_policy: if self.families == 0 {
                IpFamilyPolicy::RequireDualStack
            } else {
                IpFamilyPolicy::SingleStack
            },
            external_traffic_policy: if self.local { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
            internal_traffic_policy: TrafficPolicy::Cluster,
            selector: if self.app == 0 {
                Labels::new()
            } else {
                labels(&[("app", ["", "a", "b"][usize::from(self.app)])])
            },
            ports: vec![ServicePort { protocol: "TCP".into(), port: self.port }],
            ingress: before.map(|before| before.ingress.clone()).unwrap_or_default(),
            conditions: before.map(|before| before.conditions.clone()).unwrap_or_default(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Pool(Pool),
    NoPool(u8),
    Service(Spec),
    NoService(u8),
    /// Somebody else writes this address into the Service's status.
    ForeignWrite(u8, u8),
    /// A turn of which only some statuses are written; the others are tried again later.
    LostWrites(u8),
    /// A turn of which everything is written, and everything is examined.
    Settle,
    /// The allocator dies here; its list of freed addresses is kept, or not.
    Restart(bool),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => pool().prop_map(Step::Pool),
        1 => (0..4u8).prop_map(Step::NoPool),
        9 => spec().prop_map(Step::Service),
        2 => (0..8u8).prop_map(Step::NoService),
        1 => (0..8u8, 0..24u8).prop_map(|(service, address)| Step::ForeignWrite(service, address)),
        2 => any::<u8>().prop_map(Step::LostWrites),
        6 => Just(Step::Settle),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

/// More Services than addresses: much sharing, much waiting.
pub(crate) fn crowded_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => small_pool().prop_map(Step::Pool),
        14 => sharing_spec().prop_map(Step::Service),
        4 => (0..8u8).prop_map(Step::NoService),
        1 => (0..8u8, 0..8u8).prop_map(|(service, address)| Step::ForeignWrite(service, address)),
        1 => any::<u8>().prop_map(Step::LostWrites),
        7 => Just(Step::Settle),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}
