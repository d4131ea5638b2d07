//! The agent of one node: `speaker run` with `sources.kubernetes` against a real API server, and FRR as the
//! router, which has the last word on what was announced.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tests::cluster::{Backend, Cluster, NodeSpec};
use tests::daemon::{self, Family, Kind, PeerSpec, Router, Spec};
use tests::lab::{Lab, Node};
use tests::pair;
use tests::speaker::Speaker;
use tests::wait::{always, eventually};

const SOON: Duration = Duration::from_secs(45);

/// What the agent may, and no more.
const ACCOUNT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: speaker, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: speaker}
rules:
- {apiGroups: [''], resources: [services, nodes], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [servicecidrs], verbs: [list, watch]}
- {apiGroups: [cilium.io], resources: [ciliumnodes], verbs: [list, watch]}
- {apiGroups: [''], resources: [nodes], verbs: [patch]}
- apiGroups: [cilium.io]
  resources: [ciliumloadbalancerippools, ciliumbgpclusterconfigs, ciliumbgpnodeconfigs, ciliumbgpnodeconfigoverrides,
    ciliumbgppeerconfigs, ciliumbgpadvertisements, ciliumpodippools]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: speaker}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: speaker}
subjects:
- {kind: ServiceAccount, name: speaker, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: speaker, namespace: kube-system}
rules:
- {apiGroups: [''], resources: [secrets], resourceNames: [bgp], verbs: [list, watch]}
- {apiGroups: [''], resources: [configmaps], resourceNames: [cilium-config], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: speaker, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: speaker}
subjects:
- {kind: ServiceAccount, name: speaker, namespace: kube-system}
";

const POOL: &str = "
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: public}
spec: {blocks: [{cidr: 203.0.113.0/24}]}
";

const ADVERTISEMENTS: &str = "
  - name: pools
    poolPrefix: {when: allocated}
  - name: services
    serviceRoutes: {which: all, when: ready}
";

const PREFIX: &str = "203.0.113.0/24";
const ROUTE: &str = "203.0.113.10/32";

struct Bench {
    speaker: Speaker,
    router: Box<dyn Router>,
    cluster: Cluster,
    _node: Node,
    _lab: Lab,
}

#[derive(Default)]
struct Setup {
    /// What the peer says beside its address.
    peer: &'static str,
    /// Further keys of speaker.yaml.
    more: &'static str,
    /// The router's TCP MD5 key.
    md5: Option<&'static str>,
    /// Applied before the agent starts.
    objects: String,
}

impl Setup {
    /// A control plane with one node, whose agent has one session with the router.
    fn start(&self) -> Bench {
        let (lab, left, right) = pair::nodes();
        let cluster = Cluster::start(&lab);
        cluster.join(&lab, &left);
        cluster.apply_file("deploy/crds");
        cluster.kubectl(&["wait", "--for=condition=Established", "crd/ciliumloadbalancerippools.cilium.io"]);
        cluster.apply(ACCOUNT);
        cluster.add_node(&NodeSpec::new("n1", &[address(1)]).label("rack", "r1"));
        if !self.objects.is_empty() {
            cluster.apply(&self.objects);
        }
        let mut peer = PeerSpec::new(address(2), address(1), 64501);
        peer.families = vec![Family::V4];
        peer.md5 = self.md5.map(str::to_owned);
        let spec = Spec { asn: 64502, router_id: [10, 0, 0, 2].into(), peers: vec![peer] };
        let router = daemon::start(Kind::Frr, &right, &spec);
        let config = format!(
            "router: {{asn: 64501}}\nsources: {{kubernetes: {{enabled: true}}}}\nipam: {{stateDir: state}}\n\
             api: {{socket: api.sock}}\npeers:\n  - {{name: tor, address: 10.0.0.2, asn: 64502, families: \
             [ipv4-unicast], timers: {{connectRetry: 1s}}{}}}\nadvertisements:{ADVERTISEMENTS}{}",
            self.peer, self.more
        );
        let kubeconfig = cluster.service_account("kube-system", "speaker");
        let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap()), ("NODE_NAME", "n1")];
        let speaker = Speaker::prepare_with(&left, &config, &[], &environment);
        speaker.wait_ready();
        Bench { speaker, router, cluster, _node: left, _lab: lab }
    }

    fn establish(&self) -> Bench {
        let bench = self.start();
        daemon::wait_established(&*bench.router, address(1), SOON);
        bench
    }
}

fn address(n: u8) -> IpAddr {
    pair::address(Family::V4, n)
}

fn service(name: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}
"
    )
}

impl Bench {
    /// What the router has from the agent.
    fn prefixes(&self) -> BTreeSet<String> {
        let routes = self.router.received(address(1), Family::V4);
        routes.iter().map(|route| route.prefix.to_string()).collect()
    }

    #[track_caller]
    fn wait_prefixes(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        eventually(SOON, &format!("the router has {expected:?}"), || {
            let seen = self.prefixes();
            if seen == expected {
                Ok(())
            } else {
                Err(format!("{seen:?}; {}", self.speaker.json(&["version"])))
            }
        });
    }

    /// Does what an allocator does.
    fn record(&self, service: &str, ingress: &str) {
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": ingress}]}}});
        let patch = status.to_string();
        self.cluster.kubectl(&[
            "patch",
            "service",
            service,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ]);
    }

    fn endpoints(&self, service: &str, nodes: &[&str]) {
        let number = |n: usize| format!("10.244.1.{}", n + 1);
        let backends: Vec<Backend> =
            nodes.iter().enumerate().map(|(n, node)| Backend::new(&number(n), node)).collect();
        self.cluster.set_endpoints("default", service, 80, &backends);
    }

    fn faults(&self) -> Vec<String> {
        let version = self.speaker.json(&["version"]);
        let faults = version["faults"].as_array().cloned().unwrap_or_default();
        faults.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// Pool prefix and Service route from API objects, with a status that somebody else wrote; endpoints come and
/// go; the Service is deleted.
#[test]
fn what_the_api_says_is_announced() {
    let bench = Setup::default().establish();
    bench.cluster.apply(POOL);
    bench.cluster.apply(&service("web"));
    bench.endpoints("web", &["n1"]);
    always(Duration::from_secs(1), "without a recorded address nothing is announced", || {
        let seen = bench.prefixes();
        if seen.is_empty() { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    bench.record("web", "203.0.113.10");
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    let status = bench.cluster.kubectl_json(&["get", "service", "web"]);
    assert_eq!(status["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.10", "the agent only reads");

    bench.endpoints("web", &[]);
    bench.wait_prefixes(&[PREFIX]);
    bench.endpoints("web", &["n1", "n2"]);
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    bench.cluster.kubectl(&[
        "patch",
        "service",
        "web",
        "--patch",
        "{\"spec\": {\"externalTrafficPolicy\": \"Local\"}}",
    ]);
    bench.endpoints("web", &["n2"]);
    bench.wait_prefixes(&[PREFIX]);
    bench.endpoints("web", &["n1"]);
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    bench.cluster.kubectl(&["delete", "service", "web"]);
    bench.wait_prefixes(&[]);
    assert_eq!(bench.faults(), Vec::<String>::new());
    let pools = bench.speaker.json(&["pools"]);
    assert_eq!(pools[0]["name"], "public", "{pools}");
    // The Node's InternalIP.
    assert_eq!(bench.speaker.json(&["version"])["routerId"], "10.0.0.1");

    // What the operator counted is shown here too.
    let condition = |kind: &str, message: &str| {
        json!({"type": format!("cilium.io/{kind}"), "status": "Unknown", "reason": "noreason", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let counts = [condition("IPsTotal", "256"), condition("IPsAvailable", "255"), condition("IPsUsed", "1")];
    let path = "/apis/cilium.io/v2/ciliumloadbalancerippools/public/status";
    bench.cluster.rest().patch(path, &json!({"status": {"conditions": counts}}));
    eventually(SOON, "the pool's counts", || {
        let pools = bench.speaker.json(&["pools"]);
        let told = (pools[0]["available"].as_str(), pools[0]["used"].as_str());
        if told == (Some("255"), Some("1")) { Ok(()) } else { Err(pools.to_string()) }
    });
    // A node that the cluster does not have under this name says so.
    bench.cluster.kubectl(&["delete", "node", "n1"]);
    eventually(SOON, "the agent misses its Node", || {
        let faults = bench.faults();
        if faults.iter().any(|fault| fault.contains("no Node \"n1\"")) {
            Ok(())
        } else {
            Err(format!("{faults:?}"))
        }
    });
}

/// The API server is killed: routes stay. What was deleted meanwhile is withdrawn once it is back.
#[test]
fn routes_outlive_the_api_server() {
    let bench =
        Setup { objects: format!("{POOL}---{}---{}", service("web"), service("old")), ..Setup::default() }
            .establish();
    for (name, ingress) in [("web", "203.0.113.10"), ("old", "203.0.113.11")] {
        bench.record(name, ingress);
        bench.endpoints(name, &["n1"]);
    }
    let all = [PREFIX, ROUTE, "203.0.113.11/32"];
    bench.wait_prefixes(&all);

    bench.cluster.api_server().kill();
    let kept: BTreeSet<String> = all.iter().map(|text| (*text).to_owned()).collect();
    always(Duration::from_secs(20), "the routes stay without an API server", || {
        let seen = bench.prefixes();
        if seen == kept { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let faults = bench.faults();
    assert!(faults.iter().any(|fault| fault.contains("what was known stays")), "{faults:?}");
    // A second kubectl finds the API server before the agent's back-off does, or after: either way the deletion
    // is to be noticed.
    bench.cluster.start_api_server();
    bench.cluster.kubectl(&["delete", "service", "old"]);
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    eventually(SOON, "no fault is left", || {
        let faults = bench.faults();
        if faults.is_empty() { Ok(()) } else { Err(format!("{faults:?}")) }
    });
}

/// Deletions that happen while the agent hears nothing: it is stopped (SIGSTOP) long enough for its watches to
/// be dropped, and lists anew where it must.
#[test]
fn an_agent_that_was_paused_catches_up() {
    let bench = Setup { objects: format!("{POOL}---{}", service("web")), ..Setup::default() }.establish();
    bench.record("web", "203.0.113.10");
    bench.endpoints("web", &["n1"]);
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    bench.cluster.api_server().kill();
    bench.speaker.process().pause();
    bench.cluster.start_api_server();
    bench.cluster.kubectl(&["delete", "service", "web"]);
    bench.cluster.apply(&service("new"));
    bench.record("new", "203.0.113.12");
    bench.endpoints("new", &["n1"]);
    bench.speaker.process().resume();
    bench.wait_prefixes(&[PREFIX, "203.0.113.12/32"]);
}

/// The CustomResourceDefinition of pools is removed: its objects stay in force. It comes back.
#[test]
fn a_removed_definition_freezes_the_pools() {
    let bench = Setup { objects: format!("{POOL}---{}", service("web")), ..Setup::default() }.establish();
    bench.record("web", "203.0.113.10");
    bench.endpoints("web", &["n1"]);
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    bench.cluster.kubectl(&["delete", "crd", "ciliumloadbalancerippools.cilium.io"]);
    let fault = eventually(SOON, "the removal is told", || {
        let faults = bench.faults();
        faults.iter().find(|fault| fault.contains("removed")).cloned().ok_or(format!("{faults:?}"))
    });
    assert!(fault.contains("CiliumLoadBalancerIPPool"), "{fault}");
    always(Duration::from_secs(3), "the pool's prefix stays", || {
        let seen = bench.prefixes();
        if seen.len() == 2 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    bench.cluster.apply_file("deploy/crds");
    bench.cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd/ciliumloadbalancerippools.cilium.io",
    ]);
    bench.cluster.apply(POOL);
    eventually(SOON, "no fault is left", || {
        let faults = bench.faults();
        if faults.is_empty() { Ok(()) } else { Err(format!("{faults:?}")) }
    });
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    bench.cluster.kubectl(&["delete", "ippool", "public"]);
    bench.wait_prefixes(&[]);
}

fn secret(key: &str, value: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: bgp, namespace: kube-system}}, stringData: {{{key}: {value}}}}}"
    )
}

/// The key of a session comes from a Secret, which the agent may read by its name alone: missing, without the
/// key, wrong, right, rotated.
#[test]
fn a_session_has_its_key_from_a_secret() {
    let bench = Setup {
        peer: ", passwordSecretRef: {name: bgp, key: tor}",
        md5: Some("k3y-right"),
        objects: format!("{POOL}---{}", service("web")),
        ..Setup::default()
    }
    .start();
    bench.record("web", "203.0.113.10");
    let wait_error = |words: &str| {
        eventually(SOON, &format!("speaker peers tells: {words}"), || {
            let peer = bench.speaker.peer("tor");
            let text = peer["lastError"]["text"].as_str().unwrap_or_default().to_owned();
            assert_ne!(peer["state"], "Established", "{peer}");
            if text.contains(words) { Ok(()) } else { Err(peer.to_string()) }
        });
    };
    wait_error("no Secret bgp in namespace kube-system");
    bench.cluster.apply(&secret("other", "k3y-right"));
    wait_error("Secret kube-system/bgp has no key tor: it has other");
    bench.cluster.apply(&secret("tor", "k3y-wrong"));
    eventually(SOON, "the wrong key is tried", || {
        let peer = bench.speaker.peer("tor");
        if peer["md5"] == true { Ok(()) } else { Err(peer.to_string()) }
    });
    always(Duration::from_secs(3), "with a wrong key there is no session", || {
        let state = bench.router.state(address(1));
        if state == "established" { Err(state) } else { Ok(()) }
    });
    bench.cluster.apply(&secret("tor", "k3y-right"));
    bench.wait_prefixes(&[PREFIX]);
    // The router keeps the old key.
    bench.cluster.apply(&secret("tor", "k3y-rotated"));
    bench.wait_prefixes(&[]);
    bench.cluster.apply(&secret("tor", "k3y-right"));
    bench.wait_prefixes(&[PREFIX]);
    bench.cluster.kubectl(&["-n", "kube-system", "delete", "secret", "bgp"]);
    bench.wait_prefixes(&[]);
    wait_error("no Secret bgp in namespace kube-system");
    let log = bench.speaker.process().log();
    assert!(!log.contains("k3y"), "{log}");
}

/// `speaker drain`: first the community, then nothing, also after a restart; `undrain` brings all back. A cordon is no
/// drain, and the taint that the file names is one.
#[test]
fn a_drained_node_warns_then_withdraws_and_stays_so() {
    let mut bench = Setup {
        more: "drain: {taint: example.com/out}\n",
        objects: format!("{POOL}---{}", service("web")),
        ..Setup::default()
    }
    .establish();
    bench.record("web", "203.0.113.10");
    bench.endpoints("web", &["n1"]);
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    bench.cluster.kubectl(&["cordon", "n1"]);
    assert!(bench.speaker.cli(&["drain", "--for", "8s"]).contains("n1 is drained"));
    for prefix in [PREFIX, ROUTE] {
        daemon::wait_route(&*bench.router, address(1), prefix, SOON, |route| {
            route.communities == ["65535:0"]
        });
    }
    let node = bench.cluster.kubectl_json(&["get", "node", "n1"]);
    let order = node["metadata"]["annotations"]["speaker.drain"].as_str().unwrap_or_default().to_owned();
    assert!(order.ends_with("/8s"), "{node}");
    bench.wait_prefixes(&[]);
    assert_eq!(bench.router.state(address(1)), "established", "the session stays");
    let version = bench.speaker.json(&["version"]);
    assert!(version["drain"].as_str().unwrap_or_default().contains("nothing is announced"), "{version}");
    let told = bench.speaker.json(&["explain", ROUTE]);
    assert!(told.to_string().contains("the node is drained") || told.is_null(), "{told}");

    bench.speaker.process().kill();
    bench.speaker.start_again();
    bench.speaker.wait_state("tor", "Established", SOON);
    always(Duration::from_secs(3), "a drained node stays silent after a restart", || {
        let seen = bench.prefixes();
        if seen.is_empty() { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    bench.speaker.cli(&["undrain"]);
    bench.wait_prefixes(&[PREFIX, ROUTE]);
    let plain =
        daemon::wait_route(&*bench.router, address(1), ROUTE, SOON, |route| route.communities.is_empty());
    assert_eq!(plain.as_path, [64501], "{plain:?}");

    bench.cluster.kubectl(&["uncordon", "n1"]);
    bench.cluster.kubectl(&["taint", "node", "n1", "example.com/out=:NoSchedule"]);
    daemon::wait_route(&*bench.router, address(1), ROUTE, SOON, |route| route.communities == ["65535:0"]);
    bench.cluster.kubectl(&["taint", "node", "n1", "example.com/out-"]);
    daemon::wait_route(&*bench.router, address(1), ROUTE, SOON, |route| route.communities.is_empty());
}

/// What is missing is named, by `check` and by the running agent, which announces nothing until it has it.
#[test]
fn missing_rights_are_named() {
    let bench = Setup { objects: format!("{POOL}---{}", service("web")), ..Setup::default() }.start();
    bench.record("web", "203.0.113.10");
    bench.wait_prefixes(&[PREFIX]);
    bench.cluster.kubectl(&["delete", "clusterrolebinding", "speaker"]);
    let fault = eventually(SOON, "the missing right is told", || {
        // A watch is asked for again when it ends: the API server ends all of them.
        bench.cluster.api_server().kill();
        bench.cluster.start_api_server();
        tests::wait::try_eventually(Duration::from_secs(10), || {
            let faults = bench.faults();
            faults.iter().find(|fault| fault.contains("not allowed")).cloned().ok_or(format!("{faults:?}"))
        })
    });
    assert!(fault.contains("forbidden") && fault.contains("verbs list and watch"), "{fault}");
    assert_eq!(bench.prefixes(), BTreeSet::from([PREFIX.to_owned()]), "what was known stays");
}
