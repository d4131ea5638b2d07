//! The questions that a route must pass, asked once: the table and `explain` run the same code, so that
//! an explanation cannot differ from what was done.

use std::net::IpAddr;

use bgp_proto::types::{Family, FamilyMap, Prefix};
use speaker_config::model::{DefaultClass, PoolGate, ServiceGate, ServiceRoutesWhich};
use speaker_config::objects::{AddressKind, EndpointSlice, Service, TrafficPolicy};

use super::advertisement::Prepared;
use crate::danger::Reason;
use crate::ipam::BGP_CLASS;
use crate::pools::PoolEntry;
use crate::view::GateView;

/// What becomes of the answers.
pub(super) trait Trace {
    /// Notes an answer and hands `passed` back; `detail` is only asked for where somebody reads it.
    fn gate(&mut self, gate: &str, passed: bool, detail: impl FnOnce() -> String) -> bool;
}

/// Nobody reads the details.
pub(super) struct Silent;

impl Trace for Silent {
    fn gate(&mut self, _: &str, passed: bool, _: impl FnOnce() -> String) -> bool {
        passed
    }
}

/// The first gate that holds a route back: enough for a table of thousands.
#[derive(Debug, Default)]
pub(super) struct FirstHeld(pub(super) Option<String>);

impl Trace for FirstHeld {
    fn gate(&mut self, _: &str, passed: bool, detail: impl FnOnce() -> String) -> bool {
        if !passed && self.0.is_none() {
            self.0 = Some(detail());
        }
        passed
    }
}

impl Trace for Vec<GateView> {
    fn gate(&mut self, gate: &str, passed: bool, detail: impl FnOnce() -> String) -> bool {
        self.push(GateView { gate: gate.to_owned(), passed, detail: detail() });
        passed
    }
}

/// The endpoints of a Service in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Readiness {
    /// Ready, in the cluster.
    pub ready: usize,
    /// Ready or serving, also while they terminate, in the cluster.
    pub serving: usize,
    /// Ready, on this node.
    pub ready_here: usize,
    /// Ready or serving, on this node.
    pub serving_here: usize,
    /// Ready, on no node that the slice names, those apart that stand for every node's own Envoy. A proxy
    /// does not take these for local ones.
    pub ready_nowhere: usize,
}

impl Readiness {
    /// Counts the endpoints of a Service, a family each.
    pub(super) fn of<'a>(slices: impl Iterator<Item = &'a EndpointSlice>, node: &str) -> FamilyMap<Self> {
        let mut all = FamilyMap::<Self>::default();
        for slice in slices {
            let Some(family) = slice.family else { continue };
            let counts = all.get_mut(family);
            for endpoint in &slice.endpoints {
                let here = usize::from(endpoint.envoy || endpoint.node.as_deref() == Some(node));
                let ready = usize::from(endpoint.ready);
                let serving = usize::from(endpoint.ready || endpoint.serving);
                counts.ready += ready;
                counts.serving += serving;
                counts.ready_here += ready * here;
                counts.serving_here += serving * here;
                counts.ready_nowhere += ready * usize::from(endpoint.node.is_none() && !endpoint.envoy);
            }
        }
        all
    }
}

/// How many Services stand behind a pool in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolCount {
    /// Services that BGP may announce and that have one of the pool's addresses recorded.
    pub recorded: usize,
    /// Those of them that have a ready endpoint.
    pub ready: usize,
}

impl PoolCount {
    /// What the gates look at; a count that moves without changing it concerns no route.
    pub(super) const fn signs(self) -> (bool, bool) {
        (self.recorded > 0, self.ready > 0)
    }
}

/// `IPv4` or `IPv6`.
pub(super) const fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4Unicast => "IPv4",
        Family::Ipv6Unicast => "IPv6",
    }
}

/// The addresses of a Service that some advertisement could mean.
pub(super) fn candidates(service: &Service) -> impl Iterator<Item = (AddressKind, IpAddr)> {
    let of = |kind| move |addr: &IpAddr| (kind, *addr);
    let ingress = service.ingress.iter().map(of(AddressKind::LoadBalancer));
    let external = service.external_ips.iter().map(of(AddressKind::External));
    ingress.chain(external).chain(service.cluster_ips.iter().map(of(AddressKind::Cluster)))
}

/// The policy that decides over traffic for an address of this kind, with its name.
fn policy(service: &Service, kind: AddressKind) -> (TrafficPolicy, &'static str) {
    match kind {
        AddressKind::LoadBalancer | AddressKind::External => {
            (service.external_traffic_policy, "externalTrafficPolicy")
        }
        AddressKind::Cluster => (service.internal_traffic_policy, "internalTrafficPolicy"),
    }
}

/// Whether BGP may announce addresses of this kind: those of a load balancer are bound to type and class.
pub(super) fn may_announce_kind(
    service: &Service,
    kind: AddressKind,
    default_class: DefaultClass,
    trace: &mut impl Trace,
) -> bool {
    match kind {
        AddressKind::LoadBalancer => may_announce(service, default_class, trace),
        AddressKind::External | AddressKind::Cluster => stays(service, trace),
    }
}

/// What an advertisement announces for an address: the address itself, or, where the advertisement
/// aggregates and every node takes traffic for it, the prefix that stands for it.
pub(super) fn prefix_of(
    advertisement: &Prepared,
    service: &Service,
    kind: AddressKind,
    addr: IpAddr,
) -> Prefix {
    let lengths = advertisement.spec.service_routes.unwrap_or_default().aggregation;
    let len = lengths.get(Family::of(addr)).filter(|_| policy(service, kind).0 == TrafficPolicy::Cluster);
    len.and_then(|len| Prefix::new(addr, len).ok()).unwrap_or_else(|| Prefix::host(addr))
}

/// A Service that is being deleted is withdrawn at once, not when it is gone: an address is withdrawn
/// before it stops working, and its endpoints last no longer than the deletion.
fn stays(service: &Service, trace: &mut impl Trace) -> bool {
    trace.gate("deletion", !service.deleting, || {
        if service.deleting {
            "the Service is being deleted; its routes are withdrawn before it is gone".to_owned()
        } else {
            "the Service is not being deleted".to_owned()
        }
    })
}

/// Whether BGP may announce a Service's load-balancer addresses at all.
pub(super) fn may_announce(service: &Service, default_class: DefaultClass, trace: &mut impl Trace) -> bool {
    let kind = trace.gate("type", service.load_balancer, || {
        format!(
            "Service '{}' is {}of type LoadBalancer",
            service.key,
            if service.load_balancer { "" } else { "not " }
        )
    });
    let ours = match service.class.as_deref() {
        // Node IPAM's addresses are the nodes' own.
        None => default_class != DefaultClass::NodeIpam,
        Some(class) => class == BGP_CLASS,
    };
    let class = trace.gate("class", ours, || match service.class.as_deref() {
        None if ours => "loadBalancerClass is absent".to_owned(),
        None => "loadBalancerClass is absent and ipam.defaultClass is nodeipam: BGP does not announce the addresses of nodes".to_owned(),
        Some(class) if ours => format!("loadBalancerClass is {class}"),
        Some(class) => format!("loadBalancerClass is {class}; BGP announces {BGP_CLASS} or no class"),
    });
    let stays = stays(service, trace);
    kind && class && stays
}

/// Whether an advertisement speaks on this node.
pub(super) fn applies(advertisement: &Prepared, node: &str, trace: &mut impl Trace) -> bool {
    let name = &advertisement.name;
    trace.gate("nodeSelector", advertisement.here, || {
        match (&advertisement.spec.node_selector, advertisement.here) {
            (None, _) => format!("advertisement '{name}' is for every node"),
            (Some(_), true) => format!("advertisement '{name}' selects node '{node}'"),
            (Some(_), false) => {
                format!("nodeSelector of advertisement '{name}' does not select node '{node}'")
            }
        }
    })
}

/// Whether an advertisement gives a Service routes of its own, on this node, once their gate is open.
pub(super) fn service_wanted(
    advertisement: &Prepared,
    node: &str,
    service: &Service,
    (kind, family): (AddressKind, Family),
    trace: &mut impl Trace,
) -> bool {
    let name = &advertisement.name;
    let applies = applies(advertisement, node, trace) && meant(advertisement, kind, family, trace);
    let selected =
        advertisement.spec.service_selector.as_ref().is_none_or(|selector| service.selected_by(selector));
    let selected = trace.gate("serviceSelector", selected, || {
        let verb = if selected { "selected" } else { "not selected" };
        format!("Service '{}' {verb} by advertisement '{name}'", service.key)
    });
    let (policy, policy_name) = policy(service, kind);
    let local = policy == TrafficPolicy::Local;
    let which = advertisement.spec.service_routes.map_or(ServiceRoutesWhich::None, |routes| routes.which);
    let wanted = match which {
        ServiceRoutesWhich::All => true,
        ServiceRoutesWhich::Local => local,
        ServiceRoutesWhich::None => false,
    };
    let wanted = trace.gate("serviceRoutes.which", wanted, || match which {
        _ if advertisement.spec.service_routes.is_none() => {
            format!("advertisement '{name}' has no serviceRoutes")
        }
        ServiceRoutesWhich::All => "serviceRoutes.which is all".to_owned(),
        ServiceRoutesWhich::None => "serviceRoutes.which is none".to_owned(),
        ServiceRoutesWhich::Local => format!(
            "serviceRoutes.which is local and {policy_name} is {}",
            if local { "Local" } else { "Cluster" }
        ),
    });
    applies && selected && wanted
}

/// Whether an advertisement means addresses of this kind and family. Nothing is noted of one that means
/// them without a word.
fn meant(advertisement: &Prepared, kind: AddressKind, family: Family, trace: &mut impl Trace) -> bool {
    let name = &advertisement.name;
    let addresses = advertisement.spec.service_routes.unwrap_or_default().addresses;
    let of_kind = addresses.contains(kind) || {
        trace.gate("addresses", false, || {
            let kind = match kind {
                AddressKind::LoadBalancer => "LoadBalancerIP",
                AddressKind::External => "ExternalIP",
                AddressKind::Cluster => "ClusterIP",
            };
            format!("advertisement '{name}' does not announce addresses of kind {kind}")
        })
    };
    let of_family = advertisement.spec.families.contains(family) || {
        trace.gate("family", false, || format!("no peer takes advertisement '{name}' for {}", word(family)))
    };
    of_kind && of_family
}

/// Whether an advertisement announces an address of a Service, danger aside.
pub(super) fn service_route(
    advertisement: &Prepared,
    node: &str,
    service: &Service,
    (kind, family): (AddressKind, Family),
    endpoints: Readiness,
    trace: &mut impl Trace,
) -> bool {
    let wanted = service_wanted(advertisement, node, service, (kind, family), trace);
    endpoints_open(advertisement, node, service, (kind, family), endpoints, trace) && wanted
}

/// `serviceRoutes.when`, as the traffic policy has it.
pub(super) fn endpoints_open(
    advertisement: &Prepared,
    node: &str,
    service: &Service,
    (kind, family): (AddressKind, Family),
    endpoints: Readiness,
    trace: &mut impl Trace,
) -> bool {
    let when = advertisement.spec.service_routes.map_or_else(ServiceGate::default, |routes| routes.when);
    let (policy, name) = policy(service, kind);
    if policy == TrafficPolicy::Local {
        local_gate(when, (name, family), endpoints, node, trace)
    } else {
        cluster_gate(when, family, endpoints, trace)
    }
}

/// The traffic policy Local, by its name, asks for an endpoint on this node, whatever `when` says: without one
/// the node drops what it attracts.
pub(super) fn local_gate(
    when: ServiceGate,
    (policy, family): (&str, Family),
    endpoints: Readiness,
    node: &str,
    trace: &mut impl Trace,
) -> bool {
    let (kind, here, all) = match when {
        ServiceGate::Allocated | ServiceGate::Ready => ("ready", endpoints.ready_here, endpoints.ready),
        ServiceGate::Serving => ("serving", endpoints.serving_here, endpoints.serving),
    };
    trace.gate(policy, here > 0, || {
        let family = word(family);
        let head = format!("{policy} is Local");
        match (here, all, endpoints.ready_nowhere) {
            (0, 0, _) => format!("{head}: no {kind} {family} endpoint"),
            (0, all, 0) => format!("{head}: none of {all} {kind} {family} endpoints is on node '{node}'"),
            (0, all, nowhere) => format!(
                "{head}: none of {all} {kind} {family} endpoints is on node '{node}', and {nowhere} name no node"
            ),
            (here, all, _) => format!("{head}: {here} of {all} {kind} {family} endpoints on node '{node}'"),
        }
    })
}

/// `serviceRoutes.when` with `externalTrafficPolicy: Cluster`: an endpoint on any node.
fn cluster_gate(when: ServiceGate, family: Family, endpoints: Readiness, trace: &mut impl Trace) -> bool {
    let (kind, count) = match when {
        ServiceGate::Allocated => {
            return trace.gate("serviceRoutes.when", true, || {
                "serviceRoutes.when is allocated: the address is recorded".to_owned()
            });
        }
        ServiceGate::Ready => ("ready", endpoints.ready),
        ServiceGate::Serving => ("serving", endpoints.serving),
    };
    trace.gate("serviceRoutes.when", count > 0, || {
        let family = word(family);
        if count == 0 {
            format!("serviceRoutes.when is {kind}: no {kind} {family} endpoint")
        } else {
            format!("serviceRoutes.when is {kind}: {count} {kind} {family} endpoints")
        }
    })
}

/// Whether a pool may announce anything at all.
pub(super) fn pool_sound(entry: &PoolEntry, trace: &mut impl Trace) -> bool {
    let name = &entry.pool.name;
    let conflict = trace.gate("conflict", entry.conflict.is_none(), || match &entry.conflict {
        None => format!("pool '{name}' conflicts with no other"),
        Some(conflict) => format!(
            "range {} - {} of pool '{name}' overlaps {} - {} of pool '{}'",
            conflict.own.0, conflict.own.1, conflict.theirs.0, conflict.theirs.1, conflict.with
        ),
    });
    let faults = trace.gate("faults", entry.pool.faults.is_empty(), || match entry.pool.faults.as_slice() {
        [] => format!("pool '{name}' has no fault"),
        faults => format!("pool '{name}' announces nothing until it is mended: {}", faults.join("; ")),
    });
    conflict && faults
}

/// Whether an advertisement selects a pool and wants its prefixes.
pub(super) fn pool_selected(
    advertisement: &Prepared,
    node: &str,
    entry: &PoolEntry,
    trace: &mut impl Trace,
) -> bool {
    let name = &advertisement.name;
    let applies = applies(advertisement, node, trace);
    let selected =
        advertisement.spec.pool_selector.as_ref().is_none_or(|selector| selector.matches(&entry.pool.labels));
    let selected = trace.gate("poolSelector", selected, || {
        let verb = if selected { "selected" } else { "not selected" };
        format!("pool '{}' {verb} by advertisement '{name}'", entry.pool.name)
    });
    let wanted = trace.gate("poolPrefix", advertisement.spec.pool_prefix.is_some(), || {
        let verb = if advertisement.spec.pool_prefix.is_some() { "announces" } else { "does not announce" };
        format!("advertisement '{name}' {verb} pool prefixes")
    });
    applies && selected && wanted
}

/// `poolPrefix.when`, for one family of a pool as a whole. A disabled pool keeps what is allocated and
/// no more, so `always` asks for as much as `allocated` there.
pub(super) fn pool_gate(
    when: PoolGate,
    disabled: bool,
    family: Family,
    count: PoolCount,
    trace: &mut impl Trace,
) -> bool {
    let passed = match when {
        PoolGate::Always => !disabled || count.recorded > 0,
        PoolGate::Allocated => count.recorded > 0,
        PoolGate::Ready => count.ready > 0,
        PoolGate::Never => false,
    };
    trace.gate("poolPrefix.when", passed, || {
        let PoolCount { recorded, ready } = count;
        let family = word(family);
        let holders = match recorded {
            0 => format!("no Service that BGP may announce has one of its {family} addresses"),
            1 => format!("1 Service has one of its {family} addresses"),
            many => format!("{many} Services have one of its {family} addresses"),
        };
        match when {
            PoolGate::Never => "poolPrefix.when is never: withdrawn for maintenance".to_owned(),
            PoolGate::Always if !disabled => "poolPrefix.when is always".to_owned(),
            PoolGate::Always => {
                format!(
                    "poolPrefix.when is always, but a disabled pool keeps only what is allocated: {holders}"
                )
            }
            PoolGate::Ready if recorded > 0 => {
                let has = if ready > 1 { "have" } else { "has" };
                let ready = if ready == 0 { "none".to_owned() } else { ready.to_string() };
                let noun = if recorded == 1 { "Service" } else { "Services" };
                format!(
                    "poolPrefix.when is ready: {ready} of {recorded} {noun} {has} a ready {family} endpoint"
                )
            }
            PoolGate::Ready => format!("poolPrefix.when is ready: {holders}"),
            PoolGate::Allocated => format!("poolPrefix.when is allocated: {holders}"),
        }
    })
}

/// Whether a prefix may be announced at all.
pub(super) fn safe(prefix: Prefix, refusal: Option<&Reason>, trace: &mut impl Trace) -> bool {
    trace.gate("danger", refusal.is_none(), || match refusal {
        Some(reason) => format!("{prefix} is refused: {reason}; add it to `allow` if it is meant"),
        None => format!("{prefix} is nobody else's, or `allow` gives leave"),
    })
}
