//! The roles that we ship grant what is used, and no more: both accounts do all that they do, then the audit log is
//! held against their rules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tests::cluster::{Backend, Options};
use tests::e2e::cilium::CILIUMS_OWN;
use tests::e2e::grants::{granted, used};
use tests::e2e::manifests::{pool, service};
use tests::e2e::{AGENT_ACCOUNT, NAMESPACE, OPERATOR_ACCOUNT, Plan, World, agent_config, pod_v4};
use tests::wait::eventually;

/// The label of the CiliumNode alone.
const CILIUM_NODE: &str =
    "{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {name: n2, labels: {fabric: east}}, spec: {}}";
/// A kind that comes late is asked for every minute.
const LATE: Duration = Duration::from_secs(150);

/// Of Cilium's BGP kinds: a node is selected, told of, changed and let go.
fn bgp_kinds(world: &World) {
    let select = |asn: u32| {
        world.cluster.apply(&format!(
            "
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {{name: fabric}}
spec:
  nodeSelector: {{matchLabels: {{fabric: east}}}}
  bgpInstances:
    - name: main
      localASN: {asn}
      peers: [{{name: keyed, peerAddress: 10.0.0.252, peerASN: 64502, peerConfigRef: {{name: keyed}}}}]
---
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata: {{name: keyed}}
spec: {{authSecretRef: tor}}
"
        ));
        let path = "/apis/cilium.io/v2/ciliumbgpnodeconfigs/n2";
        eventually(LATE, "the CiliumBGPNodeConfig is written, and its status", || {
            let object = world.get(path);
            let (spec, status) = (&object["spec"]["bgpInstances"][0], &object["status"]["bgpInstances"][0]);
            if spec["localASN"] == asn && status["localASN"] == asn {
                Ok(())
            } else {
                Err(object.to_string())
            }
        });
    };
    world.cluster.kubectl(&["wait", "--for=condition=Established", "crd/ciliumnodes.cilium.io"]);
    world.cluster.apply(CILIUM_NODE);
    select(64503);
    select(64504);
    world.cluster.kubectl(&["delete", "ciliumbgpclusterconfig", "fabric"]);
}

/// What both accounts do by default.
fn every_day(world: &World) {
    {
        // As the Pod's environment has it: an agent asks for its DaemonSet from its start on.
        let mut agent = world.members[0].agent();
        agent.set_env("DAEMONSET_NAME", AGENT_ACCOUNT);
        agent.process().kill();
        agent.start_again();
    }
    world.cluster.apply(CILIUMS_OWN);
    world.cluster.apply(&pool("pool", "{cidr: 203.0.113.0/30}"));
    world.cluster.apply(&service("web").yaml());
    world.cluster.set_endpoints("default", "web", 8080, &[Backend::new(&pod_v4(1, 5).to_string(), "n1")]);
    world.wait_ingress("web", &["203.0.113.0"]);
    world.wait_holders("203.0.113.0/32", &["n1", "n2"]);
    // A refusal is told of twice: an event, and the same event again.
    let ask = |name: &str| service(name).annotations("{lbipam.cilium.io/ips: 203.0.113.0}").yaml();
    world.cluster.apply(&ask("late"));
    world.wait_refused("late", "already_allocated");
    world.cluster.kubectl(&[
        "annotate",
        "service",
        "late",
        "lbipam.cilium.io/ips=203.0.113.1",
        "--overwrite",
    ]);
    world.wait_ingress("late", &["203.0.113.1"]);
    world.cluster.rest().patch(
        "/api/v1/namespaces/default/services/late",
        &json!({"metadata": {"annotations": {"lbipam.cilium.io/ips": "203.0.113.0"}}}),
    );
    world.wait_refused("late", "already_allocated");

    // A key for a peer, from a Secret of the agent's own namespace.
    let key = ["-n", NAMESPACE, "create", "secret", "generic", "tor", "--from-literal=password=s3cret"];
    world.cluster.kubectl(&key);
    let keyed = "  - {name: keyed, address: 10.0.0.253, asn: 64502, families: [ipv4-unicast], \
                 passwordSecretRef: {name: tor, key: password}}\nadvertisements:";
    world.members[0].agent().write_config(&(world.plan.agent)(1).replace("advertisements:", keyed));

    bgp_kinds(world);

    // A node is drained, and is back.
    world.members[0].agent().cli(&["drain"]);
    world.members[0].agent().cli(&["undrain"]);
}

/// What they may do, they do, and nothing was refused.
fn examine(world: &World) {
    for account in [OPERATOR_ACCOUNT, AGENT_ACCOUNT] {
        let may = granted(&world.cluster, NAMESPACE, account);
        eventually(LATE, &format!("{account} uses all that it may"), || {
            let (did, refused) = used(&world.cluster, NAMESPACE, account);
            assert!(refused.is_empty(), "{account} was refused {refused:?}");
            let idle: BTreeSet<_> = may.difference(&did).collect();
            if idle.is_empty() { Ok(()) } else { Err(format!("it never did {idle:?}")) }
        });
    }
}

#[test]
fn roles_grant_what_is_used_and_no_more() {
    let world = World::new(2, Options::default());
    every_day(&world);
    examine(&world);
}

/// The chart's values that give every right that follows the configuration.
const SWITCHED_ON: &str = "namespace: {create: true}
config: {l2: {enabled: true}, nodeIpam: {enabled: true}, operator: {holdDeleted: 1s}}
";
const OPERATOR: &str =
    "operator: {leaseDuration: 9s, holdDeleted: 1s}\nnodeIpam: {enabled: true}\nl2: {enabled: true}\n";

fn agent_with_l2(n: u8) -> String {
    agent_config(n) + "l2: {enabled: true, interfaces: ['^eth0$'], leaseDuration: 3s}\n"
}

const POLICIES: &str = "
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: segment}
spec: {loadBalancerIPs: true, interfaces: ['^eth0$']}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumL2AnnouncementPolicy
metadata: {name: faulty}
spec: {loadBalancerIPs: true, serviceSelector: {matchExpressions: [{key: color, operator: In}]}}
";

/// The holder of an address dies: another reads its Lease, and takes over.
fn take_over(world: &World, leases: &str) {
    let holder = || {
        let list = world.get(leases)["items"].as_array().cloned().unwrap_or_default();
        let web = list.into_iter().find(|one| one["metadata"]["name"] == "cilium-l2announce-default-web");
        web.and_then(|one| Some(one["spec"]["holderIdentity"].as_str()?.to_owned()))
    };
    let first = eventually(Duration::from_secs(60), "somebody holds the address of web", || {
        holder().ok_or_else(|| world.get(leases).to_string())
    });
    let member = world.members.iter().find(|member| member.node.name() == first).unwrap();
    member.agent().process().kill();
    eventually(Duration::from_secs(60), "the other takes over", || match holder() {
        Some(now) if now != first => Ok(()),
        now => Err(format!("{now:?} of {}", world.get(leases))),
    });
    member.agent().start_again();
}

#[test]
fn rights_that_follow_the_configuration_are_used_too_and_none_is_missing() {
    let plan = Plan { agent: agent_with_l2, operator: OPERATOR, values: SWITCHED_ON, ..Plan::default() };
    let world = World::with(2, Options::default(), &plan);
    every_day(&world);
    // Node IPAM.
    world.cluster.apply(&service("nodes").spec("loadBalancerClass: io.cilium/node").yaml());
    world.wait_any_ingress("nodes");
    // L2: a policy that is obeyed, and one that cannot be read.
    world.cluster.apply(POLICIES);
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let held = |world: &World| {
        let list = world.get(&leases)["items"].as_array().cloned().unwrap_or_default();
        list.iter().filter(|one| one["metadata"]["name"].to_string().contains("l2announce")).count()
    };
    eventually(Duration::from_secs(60), "addresses are held on the segment", || {
        if held(&world) > 0 { Ok(()) } else { Err(world.get(&leases).to_string()) }
    });
    take_over(&world, &leases);
    let faulty = "/apis/cilium.io/v2alpha1/ciliuml2announcementpolicies/faulty";
    eventually(Duration::from_secs(60), "the policy says what is wrong with it", || {
        let status = world.get(faulty)["status"].to_string();
        if status.contains("bad-service-selector") { Ok(()) } else { Err(status) }
    });
    // A Service that is deleted is held by its finalizer, and goes; its Lease goes with it.
    let finalizers = world.service("web")["metadata"]["finalizers"].to_string();
    assert!(finalizers.contains("load-balancer-cleanup"), "{finalizers}");
    world.cluster.kubectl(&["delete", "service", "web", "late"]);
    eventually(Duration::from_secs(60), "nothing is held any more", || {
        if held(&world) == 0 { Ok(()) } else { Err(world.get(&leases).to_string()) }
    });
    examine(&world);
}
