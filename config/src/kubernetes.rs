//! Kubernetes objects to the speaker's own types: defaulted as the API server does it, pruned to what the
//! speaker reads. The same functions serve manifests and a watch.
//!
//! Services, EndpointSlices and Nodes come as k8s-openapi's types: those are what the API server serves, they
//! take an object with fields newer than themselves, and a wrong type is told with its path. Cilium's kinds
//! come as JSON ([`pool()`], [`bgp_cluster_config`] …), whatever their version, since one wrong field in them
//! must not cost the others.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bgp_proto::types::{Family, Prefix};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::objects::{
    CLEANUP_FINALIZER, CLEANUP_MARK, CiliumNode, Cleanup, Condition, Endpoint, EndpointSlice, IpFamilyPolicy,
    Labels, Node, OPERATOR_MANAGER, ObjectKey, PodIpPool, Secret, SecretValue, Service, ServiceCidr,
    ServicePort, TrafficPolicy, UnixSeconds, api_server_service,
};
use crate::selector::is_dns_subdomain;

mod bgp;
mod bgp_advertisement;
mod fields;
mod node_config;
mod pool;

pub use bgp::{
    bgp_cluster_config, bgp_node_config, bgp_node_config_override, bgp_peer_config, l2_announcement_policy,
};
pub use bgp_advertisement::bgp_advertisement;
pub use node_config::written_node_config;
pub use pool::pool;

/// The label that ties an EndpointSlice to its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The address of the endpoint that Cilium's Gateway and Ingress write, which leads to the node's own Envoy.
const ENVOY: &str = "192.192.192.192";

/// Annotations that the speaker reads begin with one of these.
const ANNOTATIONS: [&str; 4] = ["lbipam.cilium.io/", "io.cilium/lb-ipam-", "io.cilium.nodeipam/", "speaker."];

/// Why an object cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field: `spec.ports[0].port`.
    pub path: String,
    /// What is wrong with it, and what to do.
    pub message: String,
}

impl FieldError {
    fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for FieldError {}

/// A Service. `created` is 0 where the object has no `creationTimestamp`.
///
/// # Errors
/// A field holds what the API server would refuse.
pub fn service(object: core::Service) -> Result<Service, FieldError> {
    let meta = object.metadata;
    let key = namespaced(&meta)?;
    let spec = object.spec.unwrap_or_default();
    let status = object.status.unwrap_or_default();
    let load_balancer = match spec.type_.as_deref() {
        None | Some("ClusterIP" | "NodePort" | "ExternalName") => false,
        Some("LoadBalancer") => true,
        Some(other) => {
            return Err(FieldError::new(
                "spec.type",
                format!(
                    "{other:?} is not a type of Service; write LoadBalancer, NodePort, ClusterIP or ExternalName"
                ),
            ));
        }
    };
    let cluster_ips = cluster_ips(spec.cluster_ips, spec.cluster_ip)?;
    let (ip_families, ip_family_policy) =
        families(&spec.ip_families.unwrap_or_default(), spec.ip_family_policy.as_deref(), &cluster_ips)?;
    let ingress = status.load_balancer.and_then(|status| status.ingress).unwrap_or_default();
    let ingress = ingress.into_iter().map(|entry| entry.ip.filter(|ip| !ip.is_empty())).enumerate();
    let ingress = ingress
        .filter_map(|(index, ip)| Some((index, ip?)))
        .map(|(index, ip)| address(&ip, || format!("status.loadBalancer.ingress[{index}].ip")))
        .collect::<Result<_, _>>()?;
    Ok(Service {
        key,
        created: created(&meta),
        generation: meta.generation.unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        cleanup: cleanup(&meta),
        ingress_ours: ingress_ours(&meta),
        labels: meta.labels.unwrap_or_default(),
        annotations: prune(meta.annotations),
        load_balancer,
        class: spec.load_balancer_class.filter(|class| !class.is_empty()),
        load_balancer_ip: spec.load_balancer_ip.filter(|ip| !ip.is_empty()),
        external_ips: addresses(&spec.external_ips.unwrap_or_default(), "spec.externalIPs")?,
        cluster_ips,
        ip_families,
        ip_family_policy,
        external_traffic_policy: policy(
            spec.external_traffic_policy.as_deref(),
            "spec.externalTrafficPolicy",
        )?,
        internal_traffic_policy: policy(
            spec.internal_traffic_policy.as_deref(),
            "spec.internalTrafficPolicy",
        )?,
        selector: spec.selector.unwrap_or_default(),
        ports: ports(spec.ports.unwrap_or_default())?,
        ingress,
        conditions: status.conditions.unwrap_or_default().into_iter().map(condition).collect(),
    })
}

/// An EndpointSlice. Endpoints without an address are left out.
///
/// # Errors
/// A field holds what the API server would refuse.
pub fn endpoint_slice(object: discovery::EndpointSlice) -> Result<EndpointSlice, FieldError> {
    let meta = object.metadata;
    let key = namespaced(&meta)?;
    let family = match object.address_type.as_str() {
        "IPv4" => Some(Family::Ipv4Unicast),
        "IPv6" => Some(Family::Ipv6Unicast),
        "FQDN" => None,
        other => {
            return Err(FieldError::new(
                "addressType",
                format!("{other:?} is not an address type; write IPv4, IPv6 or FQDN"),
            ));
        }
    };
    let owner = meta.labels.and_then(|mut labels| labels.remove(SERVICE_LABEL));
    let service = owner.filter(|name| !name.is_empty()).map(|name| ObjectKey::new(&*key.namespace, name));
    let own = service == Some(api_server_service());
    let (mut endpoints, mut api_servers) = (Vec::new(), Vec::new());
    for (index, written) in object.endpoints.unwrap_or_default().into_iter().enumerate() {
        for (position, text) in written.addresses.iter().enumerate() {
            let Some(family) = family else { break };
            let path = || format!("endpoints[{index}].addresses[{position}]");
            let addr = address(text, path)?;
            api_servers.extend(own.then_some(addr));
            if Family::of(addr) != family {
                return Err(FieldError::new(
                    path(),
                    format!("{text} is not of the slice's addressType, {}", object.address_type),
                ));
            }
        }
        if written.addresses.is_empty() {
            continue;
        }
        let conditions = written.conditions.unwrap_or_default();
        let node = written.node_name.filter(|name| !name.is_empty());
        // "A nil value should be interpreted as "true"" (discovery.k8s.io/v1, EndpointConditions.ready).
        let ready = conditions.ready.unwrap_or(true);
        endpoints.push(Endpoint {
            ready: ready && !conditions.terminating.unwrap_or(false),
            serving: conditions.serving.unwrap_or(ready),
            envoy: node.is_none() && written.addresses.iter().any(|address| address == ENVOY),
            node,
        });
    }
    Ok(EndpointSlice { key, service, family, endpoints, api_servers })
}

/// A Node.
///
/// # Errors
/// A field holds what the API server would refuse.
pub fn node(object: core::Node) -> Result<Node, FieldError> {
    let meta = object.metadata;
    let name = name(&meta)?;
    let spec = object.spec.unwrap_or_default();
    let mut node = Node {
        name,
        labels: meta.labels.unwrap_or_default(),
        annotations: prune(meta.annotations),
        taints: spec.taints.unwrap_or_default().into_iter().map(|taint| taint.key).collect(),
        deleting: meta.deletion_timestamp.is_some(),
        ..Node::default()
    };
    let written = object.status.and_then(|status| status.addresses).unwrap_or_default();
    for (index, entry) in written.into_iter().enumerate() {
        let list = match entry.type_.as_str() {
            "InternalIP" => &mut node.internal_ips,
            "ExternalIP" => &mut node.external_ips,
            _ => continue,
        };
        list.push(address(&entry.address, || format!("status.addresses[{index}].address"))?);
    }
    let cidrs = match spec.pod_cidrs {
        Some(cidrs) => cidrs,
        None => spec.pod_cidr.into_iter().collect(),
    };
    for (index, cidr) in cidrs.iter().enumerate() {
        let prefix = cidr.parse::<Prefix>();
        node.pod_cidrs.push(
            prefix.map_err(|error| FieldError::new(format!("spec.podCIDRs[{index}]"), error.to_string()))?,
        );
    }
    Ok(node)
}

/// A CiliumNode: its labels, and the CIDRs that Cilium's multi-pool IPAM has given to it.
///
/// # Errors
/// `metadata` holds what the API server would refuse, or a CIDR is none.
pub fn cilium_node(object: &serde_json::Value) -> Result<CiliumNode, FieldError> {
    let pools = object.get("spec").map(allocated).transpose()?;
    let (name, labels) = named(object)?;
    Ok(CiliumNode { name, labels, pools })
}

/// A CiliumPodIPPool, of which nothing but its metadata is read.
///
/// # Errors
/// `metadata` holds what the API server would refuse.
pub fn pod_ip_pool(object: &serde_json::Value) -> Result<PodIpPool, FieldError> {
    let (name, labels) = named(object)?;
    Ok(PodIpPool { name, labels })
}

/// `ipam.pools.allocated` of the `spec` of a CiliumNode.
fn allocated(spec: &serde_json::Value) -> Result<BTreeMap<String, Vec<Prefix>>, FieldError> {
    const PATH: &str = "spec.ipam.pools.allocated";
    let list = spec.pointer("/ipam/pools/allocated").and_then(serde_json::Value::as_array);
    let mut pools: BTreeMap<String, Vec<Prefix>> = BTreeMap::new();
    for (index, one) in list.into_iter().flatten().enumerate() {
        let Some(pool) = one.get("pool").and_then(serde_json::Value::as_str) else { continue };
        let of = pools.entry(pool.to_owned()).or_default();
        for cidr in one.get("cidrs").and_then(serde_json::Value::as_array).into_iter().flatten() {
            let text = cidr.as_str().unwrap_or_default();
            let prefix = text.parse::<Prefix>();
            of.push(
                prefix
                    .map_err(|error| FieldError::new(format!("{PATH}[{index}].cidrs"), error.to_string()))?,
            );
        }
    }
    Ok(pools)
}

/// Name and labels.
fn named(object: &serde_json::Value) -> Result<(String, Labels), FieldError> {
    let meta = object.get("metadata").cloned().unwrap_or_default();
    let meta: ObjectMeta =
        serde_json::from_value(meta).map_err(|error| FieldError::new("metadata", error.to_string()))?;
    Ok((name(&meta)?, meta.labels.unwrap_or_default()))
}

/// A ServiceCIDR.
///
/// # Errors
/// A field holds what the API server would refuse.
pub fn service_cidr(object: networking::ServiceCIDR) -> Result<ServiceCidr, FieldError> {
    let name = name(&object.metadata)?;
    let written = object.spec.and_then(|spec| spec.cidrs).unwrap_or_default();
    let cidrs = written.iter().enumerate().map(|(index, cidr)| {
        let prefix = cidr.parse::<Prefix>();
        prefix.map_err(|error| FieldError::new(format!("spec.cidrs[{index}]"), error.to_string()))
    });
    Ok(ServiceCidr { cidrs: cidrs.collect::<Result<_, _>>()?, name })
}

/// A Secret: `data` with `stringData` over it, as the API server merges them.
///
/// # Errors
/// `metadata` holds what the API server would refuse.
pub fn secret(object: core::Secret) -> Result<Secret, FieldError> {
    let key = namespaced(&object.metadata)?;
    let data = object.data.unwrap_or_default().into_iter().map(|(name, value)| (name, value.0));
    let texts = object.string_data.unwrap_or_default();
    let texts = texts.into_iter().map(|(name, value)| (name, value.into_bytes()));
    Ok(Secret { key, data: data.chain(texts).map(|(name, value)| (name, SecretValue::new(value))).collect() })
}

fn name(meta: &ObjectMeta) -> Result<String, FieldError> {
    match meta.name.as_deref() {
        None | Some("") => Err(FieldError::new("metadata.name", "the object has no name; write one")),
        Some(name) if is_dns_subdomain(name) => Ok(name.to_owned()),
        Some(name) => Err(FieldError::new(
            "metadata.name",
            format!("{name:?} is not a name; write lower-case letters, digits, '-' and '.'"),
        )),
    }
}

fn namespaced(meta: &ObjectMeta) -> Result<ObjectKey, FieldError> {
    let name = name(meta)?;
    // What kubectl does with an object that names no namespace.
    let namespace = meta.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default");
    if is_dns_subdomain(namespace) && !namespace.contains('.') {
        return Ok(ObjectKey::new(namespace, name));
    }
    Err(FieldError::new(
        "metadata.namespace",
        format!("{namespace:?} is not a namespace; write lower-case letters, digits and '-'"),
    ))
}

fn created(meta: &ObjectMeta) -> UnixSeconds {
    meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

fn cleanup(meta: &ObjectMeta) -> Cleanup {
    let held = meta.finalizers.iter().flatten().any(|one| one == CLEANUP_FINALIZER);
    let marked = meta.annotations.iter().any(|all| all.contains_key(CLEANUP_MARK));
    match (held, marked) {
        (false, _) => Cleanup::None,
        (true, true) => Cleanup::Ours,
        (true, false) => Cleanup::Others,
    }
}

/// Whether the operator is the one that wrote `status.loadBalancer.ingress`.
fn ingress_ours(meta: &ObjectMeta) -> bool {
    meta.managed_fields.iter().flatten().any(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        entry.manager.as_deref() == Some(OPERATOR_MANAGER)
            && entry.subresource.as_deref() == Some("status")
            && fields.is_some_and(|all| all.pointer("/f:status/f:loadBalancer/f:ingress").is_some())
    })
}

/// What a Service has by its metadata and status, where the rest of it cannot be read; of addresses, those that are
/// some.
#[must_use]
pub fn recorded_service(object: &serde_json::Value) -> Option<(ObjectKey, UnixSeconds, Vec<IpAddr>)> {
    let meta: ObjectMeta = serde_json::from_value(object.get("metadata")?.clone()).ok()?;
    let ingress = object.pointer("/status/loadBalancer/ingress").and_then(serde_json::Value::as_array);
    let entries = ingress.into_iter().flatten().filter_map(|entry| entry.get("ip")?.as_str());
    let addresses: Vec<IpAddr> = entries.filter_map(|ip| ip.parse().ok()).collect();
    (!addresses.is_empty()).then_some((namespaced(&meta).ok()?, created(&meta), addresses))
}

fn prune(annotations: Option<Labels>) -> Labels {
    let mut annotations = annotations.unwrap_or_default();
    annotations.retain(|key, _| ANNOTATIONS.iter().any(|prefix| key.starts_with(prefix)));
    annotations
}

fn address(text: &str, path: impl Fn() -> String) -> Result<IpAddr, FieldError> {
    IpAddr::from_str(text).map_err(|_| {
        FieldError::new(
            path(),
            format!("{text:?} is not an IP address; write it as 203.0.113.10 or 2001:db8::10"),
        )
    })
}

fn addresses(texts: &[String], path: &str) -> Result<Vec<IpAddr>, FieldError> {
    texts.iter().enumerate().map(|(index, text)| address(text, || format!("{path}[{index}]"))).collect()
}

fn cluster_ips(list: Option<Vec<String>>, single: Option<String>) -> Result<Vec<IpAddr>, FieldError> {
    let mut texts = list.unwrap_or_default();
    if texts.is_empty() {
        texts.extend(single);
    }
    texts.retain(|text| !text.is_empty() && text != "None");
    addresses(&texts, "spec.clusterIPs")
}

/// `ipFamilies` and `ipFamilyPolicy` as the API server fills them in: two families or cluster IPs without a
/// policy mean RequireDualStack; a dual-stack policy adds the second family; families not given are those
/// of the cluster IPs. What then is still unknown stays empty, for the allocator knows what is enabled.
fn families(
    written: &[String],
    policy: Option<&str>,
    cluster_ips: &[IpAddr],
) -> Result<(Vec<Family>, IpFamilyPolicy), FieldError> {
    let mut families = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let family = match text.as_str() {
            "IPv4" => Family::Ipv4Unicast,
            "IPv6" => Family::Ipv6Unicast,
            other => {
                let message = format!("{other:?} is not a family; write IPv4 or IPv6");
                return Err(FieldError::new(format!("spec.ipFamilies[{index}]"), message));
            }
        };
        if families.contains(&family) {
            let message = format!("{text} stands here twice; remove one");
            return Err(FieldError::new(format!("spec.ipFamilies[{index}]"), message));
        }
        families.push(family);
    }
    if families.is_empty() {
        families.extend(cluster_ips.iter().map(|address| Family::of(*address)));
        families.dedup();
    }
    let policy = match policy {
        None if families.len() > 1 => IpFamilyPolicy::RequireDualStack,
        None | Some("SingleStack") => IpFamilyPolicy::SingleStack,
        Some("PreferDualStack") => IpFamilyPolicy::PreferDualStack,
        Some("RequireDualStack") => IpFamilyPolicy::RequireDualStack,
        Some(other) => {
            return Err(FieldError::new(
                "spec.ipFamilyPolicy",
                format!("{other:?} is not a policy; write SingleStack, PreferDualStack or RequireDualStack"),
            ));
        }
    };
    if policy == IpFamilyPolicy::SingleStack && families.len() > 1 {
        let message = "SingleStack with two families; write one family, or a dual-stack policy";
        return Err(FieldError::new("spec.ipFamilyPolicy", message));
    }
    if policy != IpFamilyPolicy::SingleStack && !families.is_empty() {
        families
            .extend(Family::ALL.into_iter().filter(|family| !families.contains(family)).collect::<Vec<_>>());
    }
    Ok((families, policy))
}

fn policy(text: Option<&str>, path: &str) -> Result<TrafficPolicy, FieldError> {
    match text {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => {
            Err(FieldError::new(path, format!("{other:?} is not a traffic policy; write Cluster or Local")))
        }
    }
}

fn ports(written: Vec<core::ServicePort>) -> Result<Vec<ServicePort>, FieldError> {
    let convert = |(index, written): (usize, core::ServicePort)| {
        let port = u16::try_from(written.port).ok().filter(|port| *port != 0).ok_or_else(|| {
            let message = format!("{} is not a port; write 1 to 65535", written.port);
            FieldError::new(format!("spec.ports[{index}].port"), message)
        })?;
        match written.protocol.as_deref().unwrap_or("TCP") {
            protocol @ ("TCP" | "UDP" | "SCTP") => Ok(ServicePort { protocol: protocol.to_owned(), port }),
            other => Err(FieldError::new(
                format!("spec.ports[{index}].protocol"),
                format!("{other:?} is not a protocol; write TCP, UDP or SCTP"),
            )),
        }
    };
    written.into_iter().enumerate().map(convert).collect()
}

fn condition(written: k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> Condition {
    Condition {
        kind: written.type_,
        status: written.status,
        reason: written.reason,
        message: written.message,
        observed_generation: written.observed_generation.unwrap_or_default(),
        since: written.last_transition_time.0.as_second(),
    }
}

#[cfg(test)]
mod tests;
