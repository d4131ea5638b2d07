//! The objects that every decision reads.

use std::collections::BTreeMap;

use bgp_proto::types::Prefix;
use speaker_config::objects::{
    BgpAdvertisement, BgpClusterConfig, BgpNodeConfig, BgpNodeConfigOverride, BgpPeerConfig, CiliumNode,
    EndpointSlice, L2AnnouncementPolicy, Labels, Node, Object, ObjectKey, ObjectRef, Secret, Service,
    ServiceCidr, api_server_service,
};

use crate::danger::{ClusterNetwork, DangerContext, Owner};
use crate::few::Few;
use crate::ipam::SATISFIED;
use crate::pools::Pools;

/// Cilium's BGP kinds, by name.
#[derive(Debug, Clone, Default)]
pub struct BgpObjects {
    /// CiliumBGPClusterConfigs.
    pub cluster_configs: BTreeMap<String, BgpClusterConfig>,
    /// CiliumBGPPeerConfigs.
    pub peer_configs: BTreeMap<String, BgpPeerConfig>,
    /// CiliumBGPAdvertisements.
    pub advertisements: BTreeMap<String, BgpAdvertisement>,
    /// CiliumBGPNodeConfigs, by their node.
    pub node_configs: BTreeMap<String, BgpNodeConfig>,
    /// CiliumBGPNodeConfigOverrides, by their node.
    pub overrides: BTreeMap<String, BgpNodeConfigOverride>,
    /// Labels of CiliumPodIPPools.
    pub pod_ip_pools: BTreeMap<String, Labels>,
    /// What nodes have of CiliumPodIPPools (`spec.ipam.pools.allocated` of their CiliumNodes), by node and pool.
    pub node_pools: BTreeMap<String, BTreeMap<String, Vec<Prefix>>>,
}

/// All objects of all sources, by key.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Pools with their conflicts.
    pub pools: Pools,
    /// Services.
    pub services: BTreeMap<ObjectKey, Service>,
    /// EndpointSlices by the Service they belong to, then by their own key.
    endpoints: BTreeMap<ObjectKey, Few<ObjectKey, EndpointSlice>>,
    /// Nodes, with the labels of their CiliumNodes.
    pub nodes: BTreeMap<String, Node>,
    /// Labels of CiliumNodes.
    pub cilium_nodes: BTreeMap<String, Labels>,
    /// Cilium's BGP kinds.
    pub bgp: BgpObjects,
    /// CiliumL2AnnouncementPolicies.
    pub l2_policies: BTreeMap<String, L2AnnouncementPolicy>,
    /// Secrets with TCP MD5 keys.
    pub secrets: BTreeMap<ObjectKey, Secret>,
    /// ServiceCIDRs.
    pub service_cidrs: BTreeMap<String, ServiceCidr>,
    /// Which Service a slice was filed under, so that a slice that changes hands leaves its old Service.
    slice_owner: BTreeMap<ObjectKey, ObjectKey>,
    counts: ServiceCounts,
}

/// Services by what their condition says of their request for addresses, kept up to date so that nobody
/// needs to walk over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceCounts {
    /// They have what they asked for.
    pub satisfied: usize,
    /// They lack something.
    pub unsatisfied: usize,
    /// Nothing is recorded: somebody else's class, or not looked at yet.
    pub unknown: usize,
    /// Not of type LoadBalancer.
    others: usize,
}

impl ServiceCounts {
    fn of(&mut self, service: &Service) -> &mut usize {
        if !service.load_balancer {
            return &mut self.others;
        }
        let condition = service.conditions.iter().find(|condition| condition.kind == SATISFIED);
        match condition.map(|condition| condition.status.as_str()) {
            Some("True") => &mut self.satisfied,
            Some("False") => &mut self.unsatisfied,
            _ => &mut self.unknown,
        }
    }
}

/// What an event touched, by key: the beginning of every recomputation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Pools whose content or conflict changed.
    pub pools: std::collections::BTreeSet<String>,
    /// Pools of which the recorded status alone changed.
    pub pool_statuses: std::collections::BTreeSet<String>,
    /// Services whose object changed.
    pub services: std::collections::BTreeSet<ObjectKey>,
    /// Services whose endpoints changed.
    pub endpoints: std::collections::BTreeSet<ObjectKey>,
    /// Nodes.
    pub nodes: std::collections::BTreeSet<String>,
    /// Something of Cilium's BGP kinds beside their conditions.
    pub bgp: bool,
    /// Policies for L2 announcements.
    pub l2_policies: std::collections::BTreeSet<String>,
    /// Secrets.
    pub secrets: std::collections::BTreeSet<ObjectKey>,
    /// What came into the possession of nodes and the cluster, or left it ([`Inputs::surroundings`]).
    pub surroundings: std::collections::BTreeSet<Prefix>,
}

/// What a node has of its own: its addresses and Pod CIDRs.
fn belongings(node: Option<&Node>) -> impl Iterator<Item = Prefix> {
    node.into_iter().flat_map(|node| {
        let addresses = node.internal_ips.iter().chain(&node.external_ips).copied().map(Prefix::host);
        addresses.chain(node.pod_cidrs.iter().copied())
    })
}

impl Touched {
    /// Notes what is there and was not, or the other way round.
    fn moved(&mut self, before: impl Iterator<Item = Prefix>, after: impl Iterator<Item = Prefix>) {
        let before: std::collections::BTreeSet<Prefix> = before.collect();
        self.surroundings.extend(before.symmetric_difference(&after.collect()));
    }
}

/// Stores a new version; whether it differs from the old one.
fn replace<K: Ord, T: PartialEq>(map: &mut BTreeMap<K, T>, key: K, new: T) -> bool {
    match map.get_mut(&key) {
        Some(old) if *old == new => false,
        Some(old) => {
            *old = new;
            true
        }
        None => map.insert(key, new).is_none(),
    }
}

impl Inputs {
    /// Stores a new version of an object.
    pub fn upsert(&mut self, object: Object, touched: &mut Touched) {
        match object {
            Object::Pool(pool) => {
                if self.pools.get(&pool.name).is_some_and(|old| old.pool.conditions != pool.conditions) {
                    touched.pool_statuses.insert(pool.name.clone());
                }
                touched.pools.extend(self.pools.upsert(pool));
            }
            Object::Service(service) => {
                touched.services.insert(service.key.clone());
                *self.counts.of(&service) += 1;
                if let Some(old) = self.services.insert(service.key.clone(), *service) {
                    *self.counts.of(&old) -= 1;
                }
            }
            Object::EndpointSlice(slice) => {
                let own = self.own_addresses(&slice.key);
                touched.moved(own.into_iter(), slice.api_servers.iter().copied().map(Prefix::host));
                self.forget_slice(&slice.key, touched);
                if let Some(owner) = slice.service.clone() {
                    touched.endpoints.insert(owner.clone());
                    self.slice_owner.insert(slice.key.clone(), owner.clone());
                    self.endpoints.entry(owner).or_default().insert(slice.key.clone(), slice);
                }
            }
            Object::Node(mut node) => {
                node.cilium_labels = self.cilium_nodes.get(&node.name).cloned().unwrap_or_default();
                touched.moved(belongings(self.nodes.get(&node.name)), belongings(Some(&node)));
                // A kubelet writes its Node often, and rarely anything that is kept of it.
                if replace(&mut self.nodes, node.name.clone(), node.clone()) {
                    touched.nodes.insert(node.name);
                }
            }
            Object::L2AnnouncementPolicy(policy) => {
                if replace(&mut self.l2_policies, policy.name.clone(), policy.clone()) {
                    touched.l2_policies.insert(policy.name);
                }
            }
            Object::Secret(secret) => {
                if replace(&mut self.secrets, secret.key.clone(), secret.clone()) {
                    touched.secrets.insert(secret.key);
                }
            }
            Object::CiliumNode(one) => {
                self.cilium_nodes.insert(one.name.clone(), one.labels.clone());
                // One without its `spec` says nothing of pools.
                if let Some(pools) = one.pools {
                    touched.bgp |= replace(&mut self.bgp.node_pools, one.name.clone(), pools);
                }
                self.relabel(&one.name, one.labels, touched);
            }
            Object::ServiceCidr(one) => {
                let after = one.cidrs.clone();
                let before = self.service_cidrs.insert(one.name.clone(), one);
                touched.moved(before.into_iter().flat_map(|one| one.cidrs), after.into_iter());
            }
            bgp => touched.bgp |= self.bgp.upsert(bgp),
        }
    }

    /// Removes an object.
    pub fn remove(&mut self, reference: &ObjectRef, touched: &mut Touched) {
        match reference {
            ObjectRef::Pool(name) => touched.pools.extend(self.pools.remove(name)),
            ObjectRef::Service(key) => {
                if let Some(old) = self.services.remove(key) {
                    *self.counts.of(&old) -= 1;
                    touched.services.insert(key.clone());
                }
            }
            ObjectRef::EndpointSlice(key) => {
                touched.surroundings.extend(self.own_addresses(key));
                self.forget_slice(key, touched);
            }
            ObjectRef::Node(name) => {
                if let Some(old) = self.nodes.remove(name) {
                    touched.nodes.insert(name.clone());
                    touched.surroundings.extend(belongings(Some(&old)));
                }
            }
            ObjectRef::CiliumNode(name) => {
                self.cilium_nodes.remove(name);
                touched.bgp |= self.bgp.node_pools.remove(name).is_some();
                self.relabel(name, Labels::new(), touched);
            }
            ObjectRef::ServiceCidr(name) => {
                let old = self.service_cidrs.remove(name);
                touched.surroundings.extend(old.into_iter().flat_map(|one| one.cidrs));
            }
            ObjectRef::L2AnnouncementPolicy(name) => {
                if self.l2_policies.remove(name).is_some() {
                    touched.l2_policies.insert(name.clone());
                }
            }
            ObjectRef::Secret(key) => {
                if self.secrets.remove(key).is_some() {
                    touched.secrets.insert(key.clone());
                }
            }
            bgp => touched.bgp |= self.bgp.remove(bgp),
        }
    }

    /// Whether there is such an object.
    #[must_use]
    pub fn contains(&self, reference: &ObjectRef) -> bool {
        match reference {
            ObjectRef::Pool(name) => self.pools.get(name).is_some(),
            ObjectRef::Service(key) => self.services.contains_key(key),
            ObjectRef::EndpointSlice(key) => self.slice_owner.contains_key(key),
            ObjectRef::Node(name) => self.nodes.contains_key(name),
            ObjectRef::BgpClusterConfig(name) => self.bgp.cluster_configs.contains_key(name),
            ObjectRef::BgpPeerConfig(name) => self.bgp.peer_configs.contains_key(name),
            ObjectRef::BgpAdvertisement(name) => self.bgp.advertisements.contains_key(name),
            ObjectRef::BgpNodeConfig(name) => self.bgp.node_configs.contains_key(name),
            ObjectRef::BgpNodeConfigOverride(name) => self.bgp.overrides.contains_key(name),
            ObjectRef::L2AnnouncementPolicy(name) => self.l2_policies.contains_key(name),
            ObjectRef::Secret(key) => self.secrets.contains_key(key),
            ObjectRef::ServiceCidr(name) => self.service_cidrs.contains_key(name),
            ObjectRef::CiliumNode(name) => self.cilium_nodes.contains_key(name),
            ObjectRef::PodIpPool(name) => self.bgp.pod_ip_pools.contains_key(name),
        }
    }

    /// The labels of a node that selectors see; a missing Node is a node without labels.
    #[must_use]
    pub fn selectable_labels(&self, node: &str) -> Labels {
        self.nodes.get(node).map(|node| node.selectable_labels().into_owned()).unwrap_or_default()
    }

    /// The CiliumNode of a node.
    pub(crate) fn cilium_node(&self, node: &str) -> Option<CiliumNode> {
        let labels = self.cilium_nodes.get(node)?.clone();
        Some(CiliumNode { name: node.to_owned(), labels, pools: self.bgp.node_pools.get(node).cloned() })
    }

    /// The CiliumNode of a node has these labels.
    fn relabel(&mut self, node: &str, labels: Labels, touched: &mut Touched) {
        if let Some(node) = self.nodes.get_mut(node)
            && node.cilium_labels != labels
        {
            node.cilium_labels = labels;
            touched.nodes.insert(node.name.clone());
        }
    }

    /// What nodes and the cluster live on, together with `base`: nobody may announce it without leave.
    #[must_use]
    pub fn surroundings(&self, base: DangerContext) -> DangerContext {
        let mut all = base;
        let behind = api_server_service();
        let servers = self.slices(&behind).flat_map(|slice| &slice.api_servers);
        all.addresses.extend(servers.map(|addr| (*addr, Owner::ApiServer)));
        for (name, node) in &self.nodes {
            let own = node.internal_ips.iter().chain(&node.external_ips);
            all.addresses.extend(own.map(|addr| (*addr, Owner::Node(name.clone()))));
            all.networks.extend(node.pod_cidrs.iter().map(|prefix| (*prefix, ClusterNetwork::Pods)));
        }
        let cidrs = self.service_cidrs.values().flat_map(|one| &one.cidrs);
        all.networks.extend(cidrs.map(|prefix| (*prefix, ClusterNetwork::Services)));
        all
    }

    /// The addresses of the API server that a slice has.
    fn own_addresses(&self, slice: &ObjectKey) -> Vec<Prefix> {
        let slice = self.slice_owner.get(slice).and_then(|owner| self.endpoints.get(owner)?.get(slice));
        slice.into_iter().flat_map(|slice| &slice.api_servers).copied().map(Prefix::host).collect()
    }

    fn forget_slice(&mut self, key: &ObjectKey, touched: &mut Touched) {
        let Some(owner) = self.slice_owner.remove(key) else { return };
        if let Some(slices) = self.endpoints.get_mut(&owner) {
            slices.remove(key);
            if slices.is_empty() {
                self.endpoints.remove(&owner);
            }
        }
        touched.endpoints.insert(owner);
    }

    /// Services of type LoadBalancer by what is recorded of them.
    #[must_use]
    pub fn service_counts(&self) -> ServiceCounts {
        self.counts
    }

    /// The slices of a Service.
    pub fn slices(&self, service: &ObjectKey) -> impl Iterator<Item = &EndpointSlice> {
        self.endpoints.get(service).into_iter().flat_map(Few::values)
    }
}

impl BgpObjects {
    /// Stores an object of one of these kinds; whether anything changed beside its conditions, which come
    /// back with every write of a status.
    fn upsert(&mut self, object: Object) -> bool {
        match object {
            Object::BgpClusterConfig(mut one) => {
                let old = self.cluster_configs.insert(one.name.clone(), one.clone());
                old.is_none_or(|old| {
                    one.conditions.clone_from(&old.conditions);
                    old != one
                })
            }
            Object::BgpPeerConfig(mut one) => {
                let old = self.peer_configs.insert(one.name.clone(), (*one).clone());
                old.is_none_or(|old| {
                    one.conditions.clone_from(&old.conditions);
                    old != *one
                })
            }
            Object::BgpNodeConfig(mut one) => {
                let old = self.node_configs.insert(one.name.clone(), one.clone());
                old.is_none_or(|old| {
                    one.conditions.clone_from(&old.conditions);
                    old != one
                })
            }
            Object::BgpAdvertisement(one) => replace(&mut self.advertisements, one.name.clone(), one),
            Object::BgpNodeConfigOverride(one) => replace(&mut self.overrides, one.name.clone(), one),
            Object::PodIpPool(one) => replace(&mut self.pod_ip_pools, one.name, one.labels),
            _ => false,
        }
    }

    /// Removes one; whether it was there.
    fn remove(&mut self, reference: &ObjectRef) -> bool {
        match reference {
            ObjectRef::BgpClusterConfig(name) => self.cluster_configs.remove(name).is_some(),
            ObjectRef::BgpPeerConfig(name) => self.peer_configs.remove(name).is_some(),
            ObjectRef::BgpAdvertisement(name) => self.advertisements.remove(name).is_some(),
            ObjectRef::BgpNodeConfig(name) => self.node_configs.remove(name).is_some(),
            ObjectRef::BgpNodeConfigOverride(name) => self.overrides.remove(name).is_some(),
            ObjectRef::PodIpPool(name) => self.pod_ip_pools.remove(name).is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, status: Option<&str>) -> Object {
        let conditions = status.map(|status| {
            format!(", conditions: [{{type: {SATISFIED}, status: '{status}', reason: r, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}}]")
        });
        let text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop}}, \
             spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}, status: {{loadBalancer: {{}}{}}}}}",
            conditions.unwrap_or_default()
        );
        match speaker_config::manifest::parse(&text).remove(0).content {
            speaker_config::manifest::Content::Object(object) => object,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn services_are_counted_as_they_come_change_and_go() {
        let (mut inputs, mut touched) = (Inputs::default(), Touched::default());
        let seen = |inputs: &Inputs| {
            let counts = inputs.service_counts();
            [counts.satisfied, counts.unsatisfied, counts.unknown]
        };
        for (name, status, expected) in [
            ("a", None, [0, 0, 1]),
            ("b", Some("True"), [1, 0, 1]),
            ("a", Some("False"), [1, 1, 0]),
            ("a", Some("True"), [2, 0, 0]),
            ("a", Some("True"), [2, 0, 0]),
        ] {
            inputs.upsert(service(name, status), &mut touched);
            assert_eq!(seen(&inputs), expected, "{name} {status:?}");
        }
        for expected in [[1, 0, 0], [1, 0, 0]] {
            inputs.remove(&ObjectRef::Service(ObjectKey::new("shop", "a")), &mut touched);
            assert_eq!(seen(&inputs), expected);
        }
    }
}
