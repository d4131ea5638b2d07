//! Two nodes whose agents have no peer but those of Cilium's BGP kinds, and what is asked of them.

use serde_json::{Value, json};

use super::manifests::{pool, service};
use super::{NAMESPACE, SOON, Turn, pod_v4, turn};
use crate::cluster::Backend;
use crate::wait::eventually;

/// The timers of sessions that are to come up, and go down, within a test.
pub const QUICK: &str = "timers: {connectRetryTimeSeconds: 1, holdTimeSeconds: 9, keepAliveTimeSeconds: 3}";
/// Both families, with the advertisements that are labelled `advertise: bgp`.
pub const FAMILIES: &str = "families:
    - {afi: ipv4, safi: unicast, advertisements: {matchLabels: {advertise: bgp}}}
    - {afi: ipv6, safi: unicast, advertisements: {matchLabels: {advertise: bgp}}}";

/// CiliumNodes and CiliumPodIPPools, as Cilium installs them, but for the schemas.
pub const CILIUMS_OWN: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ciliumnodes.cilium.io}
spec:
  group: cilium.io
  scope: Cluster
  names: {kind: CiliumNode, plural: ciliumnodes, singular: ciliumnode}
  versions:
    - name: v2
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ciliumpodippools.cilium.io}
spec:
  group: cilium.io
  scope: Cluster
  names: {kind: CiliumPodIPPool, plural: ciliumpodippools, singular: ciliumpodippool}
  versions:
    - name: v2alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// Cilium's BGP kinds.
pub const KINDS: [&str; 5] = [
    "ciliumbgpclusterconfigs",
    "ciliumbgpnodeconfigoverrides",
    "ciliumbgppeerconfigs",
    "ciliumbgpadvertisements",
    "ciliumbgpnodeconfigs",
];

/// Two nodes whose agents have no peer but those of Cilium's kinds.
pub fn world() -> Turn {
    let world = turn(2);
    for kind in KINDS {
        world.cluster.kubectl(&["delete", "--all", kind]);
    }
    configure(&world, "");
    eventually(SOON, "no session is left", || {
        let left: Vec<Value> = world.members.iter().map(|one| one.agent().json(&["peers"])).collect();
        if left.iter().all(|peers| peers == &json!([])) { Ok(()) } else { Err(format!("{left:?}")) }
    });
    world
}

/// Gives the agents a speaker.yaml without peers.
pub fn configure(world: &Turn, more: &str) {
    for (member, n) in world.members.iter().zip(1..) {
        let config = format!(
            "node: {{name: n{n}}}\nsources: {{kubernetes: {{enabled: true}}}}\napi: {{socket: api.sock}}\n{more}"
        );
        member.agent().write_config(&config);
    }
}

/// A CiliumBGPClusterConfig of the nodes of a rack, with the router as its one peer.
pub fn cluster_config(name: &str, rack: &str, asn: u32) -> String {
    format!(
        "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {{name: {name}}}
spec:
  nodeSelector: {{matchLabels: {{rack: {rack}}}}}
  bgpInstances:
    - name: main
      localASN: {asn}
      peers: [{{name: tor, peerAddress: 10.0.0.254, peerASN: 64500, peerConfigRef: {{name: tor}}}}]
---"
    )
}

/// The CiliumBGPPeerConfig of that peer; the lines of its spec.
pub fn peer_config(spec: &[&str]) -> String {
    let spec = spec.join("\n  ");
    format!(
        "\napiVersion: cilium.io/v2\nkind: CiliumBGPPeerConfig\nmetadata: {{name: tor}}\nspec:\n  {spec}\n---"
    )
}

/// LoadBalancer addresses of all Services.
pub const ADVERTISEMENT: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {name: services, labels: {advertise: bgp}}
spec:
  advertisements:
    - advertisementType: Service
      service: {addresses: [LoadBalancerIP]}
      selector: {matchExpressions: [{key: nothing, operator: NotIn, values: [at-all]}]}
      attributes: {communities: {standard: ['64501:7']}}
---";

/// A pool, a Service with an address of it, and who announces it.
pub fn serve(world: &Turn, cidr: &str) {
    world.cluster.apply(&pool("pool", &format!("{{cidr: {cidr}}}")));
    world.cluster.apply(&service("web").yaml());
    world.cluster.set_endpoints("default", "web", 8080, &[Backend::new(&pod_v4(1, 5).to_string(), "n1")]);
    world.wait_any_ingress("web");
}

/// Puts a node into a rack.
pub fn label(world: &Turn, node: &str, rack: &str) {
    world.cluster.kubectl(&["label", "node", node, &format!("rack={rack}"), "--overwrite"]);
}

/// A node's CiliumBGPNodeConfig.
pub fn node_config(world: &Turn, node: &str) -> Value {
    world.get(&format!("/apis/cilium.io/v2/ciliumbgpnodeconfigs/{node}"))
}

/// The only peer in the status of a node's CiliumBGPNodeConfig.
pub fn peer_status(world: &Turn, node: &str) -> Value {
    node_config(world, node)["status"]["bgpInstances"][0]["peers"][0].clone()
}

/// Waits until the status of a node's only peer is so.
#[track_caller]
pub fn wait_peer(world: &Turn, node: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(SOON, &format!("the status of {node}: {what}"), || {
        let peer = peer_status(world, node);
        if holds(&peer) { Ok(peer) } else { Err(node_config(world, node).to_string()) }
    })
}

/// Waits until a condition has a status, and gives its message.
#[track_caller]
pub fn wait_condition(world: &Turn, object: &str, kind: &str, status: &str) -> String {
    eventually(SOON, &format!("{object} has {kind}={status}"), || {
        let (plural, name) = object.split_once('/').unwrap();
        let object = world.get(&format!("/apis/cilium.io/v2/{plural}/{name}"));
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|one| one["type"] == format!("cilium.io/{kind}"));
        match found {
            Some(one) if one["status"] == status => {
                Ok(one["message"].as_str().unwrap_or_default().to_owned())
            }
            _ => Err(object.to_string()),
        }
    })
}

/// FRR's view of its session with a node.
pub fn neighbor(world: &Turn, n: u8) -> Value {
    let address = format!("10.0.0.{n}");
    let text = world.tor.vtysh(&[&format!("show bgp neighbors {address} json")]);
    serde_json::from_str::<Value>(&text).unwrap_or_default()[address].clone()
}

/// Waits until FRR sees its session with a node so.
#[track_caller]
pub fn wait_neighbor(world: &Turn, n: u8, what: &str, holds: impl Fn(&Value) -> bool) {
    eventually(SOON, &format!("FRR's session with n{n}: {what}"), || {
        let now = neighbor(world, n);
        if holds(&now) { Ok(()) } else { Err(now.to_string()) }
    });
}

/// Whether FRR's session is up.
pub fn established(neighbor: &Value) -> bool {
    neighbor["bgpState"] == "Established"
}

/// A neighbor that FRR has by its address, until this is dropped; the others come by their prefix.
pub struct Neighbor<'a> {
    world: &'a Turn,
    n: u8,
}

impl<'a> Neighbor<'a> {
    /// `lines`: what is said of it beside its AS, after its address.
    #[must_use]
    pub fn new(world: &'a Turn, n: u8, asn: u32, lines: &[&str]) -> Self {
        let address = format!("neighbor 10.0.0.{n}");
        let mut commands = vec!["configure terminal".to_owned(), "router bgp 64500".to_owned()];
        commands.push(format!("{address} remote-as {asn}"));
        commands.extend(lines.iter().map(|line| format!("{address} {line}")));
        commands.push("address-family ipv4 unicast".to_owned());
        commands.push(format!("{address} activate"));
        world.tor.vtysh(&commands.iter().map(String::as_str).collect::<Vec<_>>());
        Self { world, n }
    }
}

impl Drop for Neighbor<'_> {
    fn drop(&mut self) {
        let gone = format!("no neighbor 10.0.0.{}", self.n);
        self.world.tor.vtysh(&["configure terminal", "router bgp 64500", &gone]);
    }
}

/// Writes of an account to a kind since a place in the log: verb, resource and name.
pub fn writes(world: &Turn, since: usize, account: &str, resource: &str) -> Vec<(String, String, String)> {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let audit = world.cluster.audit();
    let ours = audit.iter().skip(since).filter(|one| one.user == user && one.resource.starts_with(resource));
    let ours = ours.filter(|one| !["get", "list", "watch"].contains(&one.verb.as_str()));
    ours.map(|one| (one.verb.clone(), one.resource.clone(), one.name.clone())).collect()
}
