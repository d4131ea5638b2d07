//! What Leases say, and the watch that brings them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value as Json;
use speaker_config::kubernetes::FieldError;
use speaker_core::l2::election::{LeaseSeen, NodeSeen};
use tokio::sync::mpsc;

use super::super::batch::{Batch, Part};
use super::super::kind::{Kind, Name, Resource};
use super::super::mirror::Delta;
use super::LeaseEvent;

/// Names of the Leases that say who holds a Service's addresses begin with it, as Cilium's do.
const UNIT: &str = "cilium-l2announce-";
/// Names of the Leases by which nodes say that they live.
const NODE: &str = "speaker-l2-node-";
/// The addresses that a Lease's holder claims, comma-separated.
pub(super) const ADDRESSES: &str = "speaker/l2-addresses";
/// A Lease, as far as an announcer reads it.
pub(crate) enum Seen {
    Unit(String, LeaseSeen),
    Node(String, NodeSeen),
    /// Somebody else's.
    Other,
}

/// The Leases of one namespace.
pub(super) struct LeaseKind;

impl Kind for LeaseKind {
    type Item = Seen;
    type Reference = String;

    fn resource(&self) -> Resource {
        Resource {
            group: "coordination.k8s.io",
            versions: &["v1"],
            kind: "Lease",
            plural: "leases",
            custom: false,
        }
    }

    fn read(&self, _: &str, object: &Json) -> Result<Seen, FieldError> {
        Ok(read(object))
    }

    fn reference(&self, name: &Name) -> String {
        name.key().name
    }
}

fn read(object: &Json) -> Seen {
    let text = |pointer: &str| object.pointer(pointer).and_then(Json::as_str).filter(|text| !text.is_empty());
    let Some(name) = text("/metadata/name") else { return Seen::Other };
    let version = text("/metadata/resourceVersion").unwrap_or_default().to_owned();
    let holder = text("/spec/holderIdentity").map(str::to_owned);
    if name.starts_with(UNIT) {
        let annotations = object.pointer("/metadata/annotations").and_then(|all| all.get(ADDRESSES));
        let listed = annotations.and_then(Json::as_str).unwrap_or_default();
        // What nobody can read nobody claims.
        let addresses: BTreeSet<IpAddr> = listed.split(',').filter_map(|text| text.parse().ok()).collect();
        return Seen::Unit(name.to_owned(), LeaseSeen { holder, addresses, version });
    }
    match name.strip_prefix(NODE) {
        // Every write is a sign of life.
        Some(node) => Seen::Node(node.to_owned(), NodeSeen { stamp: version, released: holder.is_none() }),
        None => Seen::Other,
    }
}

/// Hands on what the watch brings. A list comes in pages and is handed on when it is complete.
pub(super) async fn pass_on(mut seen: mpsc::Receiver<Batch<Seen, String>>, events: mpsc::Sender<LeaseEvent>) {
    let mut listing = Vec::new();
    while let Some(batch) = seen.recv().await {
        for delta in batch.deltas {
            let event = match event(delta) {
                Some(LeaseEvent::Units { leases, .. }) if batch.part != Part::Watch => {
                    listing.extend(leases);
                    continue;
                }
                Some(event) => event,
                None => continue,
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
        if batch.part == Part::LastPage {
            let units = LeaseEvent::Units { listed: true, leases: std::mem::take(&mut listing) };
            if events.send(units).await.is_err() {
                return;
            }
        }
    }
}

/// What one change says; nothing where the Lease is somebody else's.
fn event(delta: Delta<Seen, String>) -> Option<LeaseEvent> {
    let unit = |lease, seen| Some(LeaseEvent::Units { listed: false, leases: vec![(lease, seen)] });
    match delta {
        Delta::Upsert { item: Seen::Unit(lease, seen), .. } => unit(lease, Some(seen)),
        Delta::Upsert { item: Seen::Node(node, seen), .. } => Some(LeaseEvent::Node(node, Some(seen))),
        Delta::Upsert { item: Seen::Other, .. } | Delta::Held(_) => None,
        Delta::Delete(name) if name.starts_with(UNIT) => unit(name, None),
        Delta::Delete(name) => name.strip_prefix(NODE).map(|node| LeaseEvent::Node(node.to_owned(), None)),
    }
}

/// The name of a node's own Lease.
pub(super) fn own_name(node: &str) -> String {
    format!("{NODE}{node}")
}

/// What a node's own Lease says, as a call returned it.
pub(super) fn node_seen(lease: &Lease) -> NodeSeen {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
    NodeSeen {
        stamp: lease.metadata.resource_version.clone().unwrap_or_default(),
        released: holder.is_none_or(String::is_empty),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_units_lease_says_who_and_which_addresses() {
        let lease = json!({
            "metadata": {
                "name": "cilium-l2announce-default-web",
                "resourceVersion": "42",
                "annotations": {"speaker/l2-addresses": "192.0.2.1,2001:db8::1"},
            },
            "spec": {"holderIdentity": "n1"},
        });
        let Seen::Unit(name, seen) = read(&lease) else { panic!("no unit") };
        assert_eq!(name, "cilium-l2announce-default-web");
        assert_eq!((seen.holder.as_deref(), seen.version.as_str()), (Some("n1"), "42"));
        assert_eq!(seen.addresses.len(), 2);
    }

    #[test]
    fn a_lease_without_a_holder_is_free() {
        for spec in [json!({}), json!({"holderIdentity": null}), json!({"holderIdentity": ""})] {
            let name = |name: &str| json!({"metadata": {"name": name, "resourceVersion": "1"}, "spec": spec});
            let Seen::Unit(_, seen) = read(&name("cilium-l2announce-default-web")) else { panic!("no unit") };
            assert_eq!(seen.holder, None);
            let Seen::Node(node, seen) = read(&name("speaker-l2-node-n1.rack")) else { panic!("no node") };
            assert_eq!((node.as_str(), seen.released), ("n1.rack", true));
        }
        assert!(matches!(read(&json!({"metadata": {"name": "kube-scheduler"}})), Seen::Other));
    }
}
