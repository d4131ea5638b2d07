use serde_json::{Value as Json, json};

use super::*;

fn from<T: serde::de::DeserializeOwned>(json: Json) -> T {
    serde_json::from_value(json).unwrap()
}

fn read_service(spec: &Json) -> Result<Service, FieldError> {
    service(from(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})))
}

fn read_slice(mut json: Json) -> Result<EndpointSlice, FieldError> {
    json["apiVersion"] = "discovery.k8s.io/v1".into();
    json["kind"] = "EndpointSlice".into();
    endpoint_slice(from(json))
}

#[test]
fn the_api_servers_defaults_are_applied() {
    let service = read_service(&json!({"ports": [{"port": 80}]})).unwrap();
    assert_eq!(service.key, ObjectKey::new("default", "web"));
    assert!(!service.load_balancer);
    assert_eq!(service.external_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(service.ports, [ServicePort { protocol: "TCP".to_owned(), port: 80 }]);
    assert_eq!(service.ip_family_policy, IpFamilyPolicy::SingleStack);
    assert_eq!(service.ip_families, []);
    assert_eq!((service.created, service.generation, service.deleting), (0, 0, false));
}

#[test]
fn a_whole_service_is_read_and_pruned() {
    let service = service(from(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web", "namespace": "prod", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
            "deletionTimestamp": "2026-01-03T00:00:00Z", "labels": {"tier": "public"},
            "annotations": {
                "lbipam.cilium.io/ips": "203.0.113.10", "io.cilium/lb-ipam-sharing-key": "k",
                "io.cilium.nodeipam/match-node-labels": "a=b", "speaker.example/x": "y",
                "kubectl.kubernetes.io/last-applied-configuration": "{}"
            }
        },
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "io.cilium/bgp-control-plane", "loadBalancerIP": "203.0.113.9",
            "externalIPs": ["198.51.100.1"], "clusterIPs": ["10.96.0.1", "fd00::1"], "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local", "selector": {"app": "web"},
            "ports": [{"port": 53, "protocol": "UDP"}]
        },
        "status": {
            "loadBalancer": {"ingress": [{"ip": "203.0.113.10"}, {"hostname": "a.example"}, {"ip": "2001:db8::10"}]},
            "conditions": [{"type": "cilium.io/IPAMRequestSatisfied", "status": "True", "reason": "satisfied",
                "message": "", "observedGeneration": 3, "lastTransitionTime": "2026-01-02T03:04:05Z"}]
        }
    })))
    .unwrap();
    assert_eq!(service.key.to_string(), "prod/web");
    assert_eq!((service.created, service.generation, service.deleting), (1_767_323_045, 3, true));
    assert_eq!(service.annotations.len(), 4);
    assert!(service.load_balancer);
    assert_eq!(service.class.as_deref(), Some("io.cilium/bgp-control-plane"));
    assert_eq!(service.load_balancer_ip.as_deref(), Some("203.0.113.9"));
    assert_eq!(service.external_ips.len(), 1);
    assert_eq!(service.cluster_ips.len(), 2);
    assert_eq!(service.ip_families, Family::ALL);
    assert_eq!(service.ip_family_policy, IpFamilyPolicy::RequireDualStack);
    assert_eq!(service.external_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.ingress, ["203.0.113.10".parse::<IpAddr>().unwrap(), "2001:db8::10".parse().unwrap()]);
    assert_eq!(service.conditions[0].observed_generation, 3);
}

#[test]
fn families_come_from_what_is_given() {
    use Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};
    use IpFamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
    for (spec, families, policy) in [
        (json!({}), vec![], SingleStack),
        (json!({"clusterIP": "None"}), vec![], SingleStack),
        (json!({"clusterIP": "fd00::1"}), vec![V6], SingleStack),
        (json!({"ipFamilies": ["IPv6"]}), vec![V6], SingleStack),
        (json!({"ipFamilies": ["IPv6", "IPv4"]}), vec![V6, V4], RequireDualStack),
        (json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "PreferDualStack"}), vec![V6, V4], PreferDualStack),
        (json!({"ipFamilyPolicy": "RequireDualStack"}), vec![], RequireDualStack),
    ] {
        let service = read_service(&spec).unwrap();
        assert_eq!((service.ip_families, service.ip_family_policy), (families, policy), "{spec}");
    }
}

#[test]
fn what_the_api_server_would_refuse_is_an_error_with_its_field() {
    for (spec, path) in [
        (json!({"type": "Loadbalancer"}), "spec.type"),
        (json!({"externalIPs": ["1.2.3.4", "x"]}), "spec.externalIPs[1]"),
        (json!({"clusterIPs": ["x"]}), "spec.clusterIPs[0]"),
        (json!({"ipFamilies": ["ipv4"]}), "spec.ipFamilies[0]"),
        (json!({"ipFamilies": ["IPv4", "IPv4"]}), "spec.ipFamilies[1]"),
        (json!({"ipFamilyPolicy": "Dual"}), "spec.ipFamilyPolicy"),
        (json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}), "spec.ipFamilyPolicy"),
        (json!({"externalTrafficPolicy": "local"}), "spec.externalTrafficPolicy"),
        (json!({"internalTrafficPolicy": "local"}), "spec.internalTrafficPolicy"),
        (json!({"ports": [{"port": 0}]}), "spec.ports[0].port"),
        (json!({"ports": [{"port": 1}, {"port": 65536}]}), "spec.ports[1].port"),
        (json!({"ports": [{"port": 1, "protocol": "tcp"}]}), "spec.ports[0].protocol"),
    ] {
        assert_eq!(read_service(&spec).unwrap_err().path, path, "{spec}");
    }
    for metadata in
        [json!({}), json!({"name": ""}), json!({"name": "a/b"}), json!({"name": "a", "namespace": "A"})]
    {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata});
        assert!(service(from(object)).unwrap_err().path.starts_with("metadata.name"), "{metadata}");
    }
}

#[test]
fn readiness_is_as_kubernetes_documents_it() {
    for (conditions, ready, serving) in [
        (json!({}), true, true),
        (json!({"ready": true}), true, true),
        (json!({"ready": false}), false, false),
        (json!({"ready": false, "serving": true, "terminating": true}), false, true),
        // publishNotReadyAddresses sets ready on an endpoint that goes away.
        (json!({"ready": true, "serving": true, "terminating": true}), false, true),
        (json!({"serving": false}), true, false),
    ] {
        let slice = read_slice(json!({
            "metadata": {"name": "web-1", "namespace": "x", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n1", "conditions": conditions}, {"addresses": []}]
        }))
        .unwrap();
        assert_eq!(slice.service, Some(ObjectKey::new("x", "web")));
        assert_eq!(slice.family, Some(Family::Ipv4Unicast));
        assert_eq!(
            slice.endpoints,
            [Endpoint { ready, serving, node: Some("n1".to_owned()), envoy: false }],
            "{conditions}"
        );
    }
}

#[test]
fn slices_are_checked() {
    let slice = |kind: &str, address: &str| {
        read_slice(
            json!({"metadata": {"name": "a"}, "addressType": kind, "endpoints": [{"addresses": [address]}]}),
        )
    };
    assert_eq!(slice("IPv6", "fd00::1").unwrap().service, None);
    assert_eq!(slice("FQDN", "a.example").unwrap().family, None);
    assert_eq!(slice("ipv4", "10.0.0.1").unwrap_err().path, "addressType");
    assert_eq!(slice("IPv4", "fd00::1").unwrap_err().path, "endpoints[0].addresses[0]");
    assert_eq!(slice("IPv4", "x").unwrap_err().path, "endpoints[0].addresses[0]");
}

#[test]
fn who_wrote_the_addresses_is_told_by_the_managed_fields() {
    let ours = |manager: &str, subresource: &str, field: &str| {
        let read: Service = service(from(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "a", "managedFields": [
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}},
                {"manager": manager, "operation": "Update", "subresource": subresource,
                 "fieldsV1": {"f:status": {"f:loadBalancer": {field: {}}}}},
            ]},
            "spec": {"type": "LoadBalancer"},
        })))
        .unwrap();
        read.ingress_ours
    };
    assert!(ours("speaker-operator", "status", "f:ingress"));
    for (manager, subresource, field) in [
        ("metallb-controller", "status", "f:ingress"),
        ("speaker-operator", "", "f:ingress"),
        ("speaker-operator", "status", "f:other"),
    ] {
        assert!(!ours(manager, subresource, field), "{manager} {subresource} {field}");
    }
}

#[test]
fn addresses_are_kept_of_the_api_servers_own_endpoints_alone() {
    let servers = |namespace: &str, name: &str| {
        let slice = read_slice(json!({
            "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv6",
            "endpoints": [{"addresses": ["fd00::6", "fd00::7"], "conditions": {"ready": false}}]
        }));
        slice.unwrap().api_servers.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(servers("default", "kubernetes"), ["fd00::6", "fd00::7"]);
    assert!(servers("other", "kubernetes").is_empty() && servers("default", "web").is_empty());
}

#[test]
fn service_cidrs_are_prefixes() {
    let read = |version: &str, cidr: &str| {
        let object = json!({
            "metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12", cidr]}
        });
        crate::manifest::object(version, "ServiceCIDR", &object).unwrap()
    };
    for version in ["networking.k8s.io/v1", "networking.k8s.io/v1beta1"] {
        let Ok(crate::objects::Object::ServiceCidr(one)) = read(version, "fd00:10:96::/112") else {
            panic!()
        };
        let cidrs: Vec<String> = one.cidrs.iter().map(ToString::to_string).collect();
        assert_eq!(
            (one.name.as_str(), cidrs),
            ("kubernetes", vec!["10.96.0.0/12".into(), "fd00:10:96::/112".into()])
        );
        assert_eq!(read(version, "10.96/12").unwrap_err().path, "spec.cidrs[1]");
    }
}

#[test]
fn a_node_needs_no_more_than_a_name() {
    let read = |mut json: Json| {
        json["apiVersion"] = "v1".into();
        json["kind"] = "Node".into();
        node(from(json))
    };
    let bare = read(json!({"metadata": {"name": "n1"}})).unwrap();
    assert_eq!(bare, Node { name: "n1".to_owned(), ..Node::default() });
    let full = read(json!({
        "metadata": {"name": "n1", "labels": {"rack": "r1"}, "annotations": {"other": "x"},
                     "deletionTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd01::/64"],
                 "taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]},
        "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "2001:db8::1"},
            {"type": "Hostname", "address": "n1"}
        ]}
    }))
    .unwrap();
    assert_eq!(full.labels.len(), 1);
    assert_eq!(full.annotations.len(), 0);
    assert_eq!(full.internal_ips, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(full.external_ips, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(full.pod_cidrs.len(), 2);
    assert!(full.taints.contains("ToBeDeletedByClusterAutoscaler") && full.deleting);
    let one = read(json!({"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.1.0.0/24"}})).unwrap();
    assert_eq!(one.pod_cidrs.len(), 1);
    let bad = read(json!({"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.1.0.0"]}}));
    assert_eq!(bad.unwrap_err().path, "spec.podCIDRs[0]");
    let bad = json!({"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": "x"}]}});
    assert_eq!(read(bad).unwrap_err().path, "status.addresses[0].address");
}
