//! The laboratory's own test of its Kubernetes: a control plane does what a test will lean on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use tests::cluster::{Backend, Cluster, NodeSpec, Options, ProxyMode, Rest, pod};
use tests::echo::{Echo, ask};
use tests::lab::Lab;
use tests::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

const ACCOUNT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [''], resources: [services], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects:
- {kind: ServiceAccount, name: reader, namespace: default}
";

/// A node reaches the API server with a ServiceAccount's token, RBAC decides, and the audit log has it.
#[test]
fn an_account_may_what_its_role_says_and_the_log_shows_it() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab);
    let node = lab.node("n1");
    cluster.join(&lab, &node);
    cluster.apply(ACCOUNT);

    let config = cluster.service_account("default", "reader");
    let reader = Rest::new(&node, &config);
    // The authorizer reads roles by watch: the binding takes effect a moment after it is stored.
    let list = eventually(SOON, "the role lets Services be listed", || reader.get("/api/v1/services"));
    assert_eq!(list["items"][0]["metadata"]["name"], "kubernetes", "{list}");
    let refused = reader.get("/api/v1/nodes").unwrap_err();
    assert!(refused.contains("cannot list resource \"nodes\""), "{refused}");

    let user = "system:serviceaccount:default:reader";
    let seen = cluster.audit();
    let find = |resource: &str, code: u64| {
        seen.iter().find(|r| r.user == user && r.resource == resource && r.code == code)
    };
    let listed = find("services", 200).unwrap_or_else(|| panic!("{seen:?}"));
    assert!(listed.allowed && listed.verb == "list" && listed.group.is_empty(), "{listed:?}");
    let forbidden = find("nodes", 403).unwrap_or_else(|| panic!("{seen:?}"));
    assert!(!forbidden.allowed, "{forbidden:?}");
}

/// The custom resources are accepted, kubectl prints them, Nodes and endpoints are as written.
#[test]
fn objects_are_stored_and_printed() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab);
    cluster.apply_file("deploy/crds");
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/ciliumloadbalancerippools.cilium.io"]);
    cluster.apply(
        "
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: blue}
spec: {blocks: [{cidr: 203.0.113.0/24}]}
",
    );
    let printed = cluster.kubectl(&["get", "ippools"]);
    let heads: Vec<&str> = printed.lines().next().unwrap().split("  ").map(str::trim).collect();
    let heads: Vec<&str> = heads.into_iter().filter(|h| !h.is_empty()).collect();
    assert_eq!(heads, ["NAME", "DISABLED", "CONFLICTING", "IPS AVAILABLE", "AGE"], "{printed}");

    let spec = NodeSpec::new("n1", &["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
    cluster.add_node(&spec.label("rack", "r1"));
    let node = cluster.kubectl_json(&["get", "node", "n1"]);
    assert_eq!(node["metadata"]["labels"]["rack"], "r1", "{node}");
    assert_eq!(node["status"]["addresses"][1], json!({"type": "InternalIP", "address": "fd00::1"}), "{node}");
    assert!(node["spec"]["taints"].is_null(), "{node}");

    let ready = [Backend::new("10.244.1.5", "n1"), Backend::new("10.244.1.6", "n1")];
    cluster.set_endpoints("default", "web", 80, &ready);
    cluster.set_endpoints("default", "web", 80, &ready[..1]);
    let slice = cluster.kubectl_json(&["get", "endpointslice", "web-ipv4"]);
    assert_eq!(slice["endpoints"].as_array().map(Vec::len), Some(1), "{slice}");
    let refused = cluster.try_kubectl(&["apply", "-f", "-"], "kind: Nothing\napiVersion: v1\n").unwrap_err();
    assert!(refused.contains("no matches for kind"), "{refused}");
}

/// What is stored outlives both processes, and a client finds them again.
#[test]
fn the_control_plane_can_be_taken_away_and_comes_back() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab);
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]);

    cluster.api_server().kill();
    let away = cluster.rest().get("/api/v1/namespaces/default/configmaps/kept");
    assert!(away.is_err(), "{away:?}");
    cluster.start_api_server();
    let back = cluster.rest().get("/api/v1/namespaces/default/configmaps/kept").unwrap();
    assert_eq!(back["data"]["a"], "b", "{back}");

    cluster.etcd().kill();
    cluster.start_etcd();
    eventually(SOON, "the API server serves from the restarted etcd", || {
        let read = cluster.rest().get("/api/v1/namespaces/default/configmaps/kept")?;
        if read["data"]["a"] == "b" { Ok(()) } else { Err(read.to_string()) }
    });
}

/// A Deployment's Pods become endpoints once they run, and a namespace goes with all that is in it.
#[test]
fn controllers_make_endpoints_of_pods() {
    let lab = Lab::new();
    let cluster = Cluster::with(&lab, Options { controllers: true, ..Options::default() });
    cluster.add_node(&NodeSpec::new("n1", &["10.0.0.1".parse().unwrap()]));
    cluster.kubectl(&["create", "namespace", "shop"]);
    cluster.kubectl(&["-n", "shop", "create", "deployment", "web", "--image=web", "--port=8080"]);
    cluster.kubectl(&["-n", "shop", "expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    let pod = eventually(SOON, "the Deployment has a Pod", || {
        let pods = cluster.rest().get("/api/v1/namespaces/shop/pods")?;
        let name = pods["items"][0]["metadata"]["name"].as_str().map(str::to_owned);
        name.ok_or_else(|| pods["items"].to_string())
    });
    cluster.run_pod("shop", &pod, "n1", "10.244.1.5", true);
    eventually(SOON, "the Service has a ready endpoint", || {
        let slices = cluster.rest().get("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices")?;
        let endpoint = &slices["items"][0]["endpoints"][0];
        let ready = endpoint["conditions"]["ready"] == true && endpoint["nodeName"] == "n1";
        if ready { Ok(()) } else { Err(slices["items"].to_string()) }
    });
    cluster.kubectl(&["delete", "namespace", "shop", "--wait=false"]);
    eventually(SOON, "the namespace is gone", || {
        cluster.end_pods("shop");
        cluster.rest().get("/api/v1/namespaces/shop").map_or(Ok(()), |left| Err(left.to_string()))
    });
}

const DUAL: &str = "
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  ports: [{port: 80, targetPort: 8080}]
";

/// Each node with a Pod, in each of kube-proxy's modes: the cluster's and the load balancer's addresses lead
/// to the Pod, over IPv4 and IPv6, and under traffic policy Local the Pod sees the client's own address.
#[test]
fn kube_proxy_leads_to_pods_in_both_modes() {
    let lab = Lab::new();
    let cluster = Cluster::start(&lab);
    let outside = lab.node("outside");
    let mut serving = Vec::new();
    for (n, mode) in [(1, ProxyMode::Nftables), (2, ProxyMode::Iptables)] {
        let name = format!("n{n}");
        let node = lab.node(&name);
        cluster.join(&lab, &node);
        let dev = format!("to-{name}");
        lab.link(&outside, &dev, &node, "eth0");
        outside.address(&dev, &format!("10.0.{n}.254/24"));
        outside.address(&dev, &format!("fd00:{n}::254/64"));
        node.address("eth0", &format!("10.0.{n}.1/24"));
        node.address("eth0", &format!("fd00:{n}::1/64"));
        // The node's own connections to a cluster address are routed before they are translated.
        node.ip(&["route", "add", "default", "via", &format!("10.0.{n}.254")]);
        node.ip(&["route", "add", "default", "via", &format!("fd00:{n}::254")]);
        let (v4, v6) = (format!("203.0.113.{n}"), format!("2001:db8::{n}"));
        outside.ip(&["route", "add", &v4, "via", &format!("10.0.{n}.1")]);
        outside.ip(&["route", "add", &v6, "via", &format!("fd00:{n}::1")]);
        let ip = |text: String| text.parse::<IpAddr>().unwrap();
        let own = [ip(format!("10.0.{n}.1")), ip(format!("fd00:{n}::1"))];
        cluster.add_node(&NodeSpec::new(&name, &own));

        let addresses = [ip(format!("10.244.{n}.5")), ip(format!("fd00:10:244:{n}::5"))];
        let web = pod(&lab, &node, &format!("web-{name}"), &addresses);
        serving.push(Echo::serve(&web, 8080));
        cluster.apply(&DUAL.replace("NAME", &name));
        for address in &addresses {
            cluster.set_endpoints("default", &name, 8080, &[Backend::new(&address.to_string(), &name)]);
        }
        let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": v4}, {"ip": v6}]}}});
        cluster.rest().patch(&format!("/api/v1/namespaces/default/services/{name}/status"), &ingress);
        cluster.start_proxy(&node, &name, mode);

        let service = cluster.rest().get(&format!("/api/v1/namespaces/default/services/{name}")).unwrap();
        for address in service["spec"]["clusterIPs"].as_array().unwrap() {
            let address = ip(address.as_str().unwrap().to_owned());
            let answer = eventually(SOON, &format!("{name} reaches {address} in {mode:?} mode"), || {
                ask(&node, address, 80, Duration::from_secs(1))
            });
            assert_eq!(answer.server, format!("web-{name}"));
        }
        for (address, from) in [(v4, format!("10.0.{n}.254")), (v6, format!("fd00:{n}::254"))] {
            let address = ip(address);
            let answer = eventually(SOON, &format!("{address} is served in {mode:?} mode"), || {
                ask(&outside, address, 80, Duration::from_secs(1))
            });
            assert_eq!(answer.server, format!("web-{name}"));
            assert_eq!(answer.client, ip(from), "traffic policy Local keeps the client's address");
        }
    }
}
