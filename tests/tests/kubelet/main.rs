//! What we ship, on a real kubelet: `kubectl apply` of the one-file manifest, image from `deploy/image`, containerd and
//! runc, Pods placed by kube-scheduler, Services carried by kube-proxy, FRR as the router.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod site;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use site::{
    IMAGE, KEEPS, NAMESPACE, NODE, PEER, POOL, SANDBOX, SOON, Site, ip, manifest, name, proc_status, status,
};
use tests::chart;
use tests::daemon::{self, Router as _};
use tests::fabric::own_lines;
use tests::wait::eventually;

#[test]
fn what_is_shipped_runs_on_a_real_kubelet() {
    let mut site = Site::new();
    install(&mut site);
    rights(&site);
    let (address, web) = serve(&site);
    words(&site, &address);
    roll(&site, &address, &web);
    die(&site, &address, &web);
    hang(&site, &address, &web);
    end(&site);
    upgrade(&site);
    uninstall(&site);
}

/// One `kubectl apply`, and everything comes up by its own probes.
fn install(site: &mut Site) {
    let began = Instant::now();
    site.cluster.apply(&manifest());
    site.kubectl("rollout status daemonset/speaker-agent --timeout=90s");
    site.kubectl("rollout status deployment/speaker-operator --timeout=90s");
    for (component, count) in [("agent", 1), ("operator", 2)] {
        let pods = site.pods(component);
        assert_eq!(pods.len(), count, "{component}");
        for pod in &pods {
            assert_eq!(
                (&status(pod)["ready"], &status(pod)["restartCount"]),
                (&json!(true), &json!(0)),
                "{pod}"
            );
        }
    }
    println!("ready {} ms after kubectl apply", began.elapsed().as_millis());
    let config = site.cluster.kubectl_json(&["get", "configmap", "speaker", "-n", NAMESPACE]);
    site.shipped = config["data"]["speaker.yaml"].as_str().unwrap().to_owned();
}

/// The processes have the rights that deploy/README.md promises, and no more.
fn rights(site: &Site) {
    let root_is_read_only = |pid: i32| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let root =
            mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default().to_owned();
        assert!(root.split(' ').nth(5).is_some_and(|options| options.starts_with("ro,")), "{root}");
    };
    let agent = site.process();
    let net_admin_and_raw = format!("{:016x}", 1 << 12 | 1 << 13);
    for (key, value) in [
        ("Uid", "0 0 0 0"),
        ("CapEff", &net_admin_and_raw),
        ("CapPrm", &net_admin_and_raw),
        ("CapBnd", &net_admin_and_raw),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(proc_status(agent, key), value, "{key} of the agent");
    }
    root_is_read_only(agent);
    for pod in site.pods("operator") {
        let operator = site.replica(&name(&pod));
        let none = format!("{:016x}", 0);
        for (key, value) in [
            ("Uid", "65534 65534 65534 65534"),
            ("CapEff", &none),
            ("CapPrm", &none),
            ("CapBnd", &none),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(proc_status(operator, key), value, "{key} of the operator");
        }
        root_is_read_only(operator);
    }
}

/// deploy/README.md, from the ConfigMap to a Service that answers; the address of the Service, and its Pod.
fn serve(site: &Site) -> (String, String) {
    site.configure(KEEPS);
    daemon::wait_established(&site.tor, ip(NODE), SOON);
    site.cluster.apply(&format!(
        "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {{name: public}}\nspec: {{blocks: [{{cidr: {POOL}}}]}}\n"
    ));
    let image = format!("--image={SANDBOX}");
    site.cluster.kubectl(&["create", "deployment", "web", &image, "--", "/main", "serve", "8080"]);
    site.cluster.kubectl(&[
        "expose",
        "deployment",
        "web",
        "--port=80",
        "--target-port=8080",
        "--type=LoadBalancer",
    ]);
    site.cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let address = eventually(SOON, "the Service has an address", || {
        let service = site.cluster.kubectl_json(&["get", "service", "web"]);
        let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        address.map(str::to_owned).ok_or_else(|| service["status"].to_string())
    });
    site.wait_routes(&[POOL, &format!("{address}/32")]);
    let pods = site.cluster.kubectl_json(&["get", "pods", "-l", "app=web"]);
    let web = name(&pods["items"][0]);
    site.reach(&address, &web);
    assert_eq!(status(&site.agent())["restartCount"], 0, "the configuration was taken without a restart");
    (address, web)
}

/// `kubectl speaker`, `kubectl exec` and `kubectl logs`.
fn words(site: &Site, address: &str) {
    let peers = site.plugin(&["--all-nodes", "peers"]).unwrap();
    assert!(peers.contains("# n1") && peers.contains("10.0.0.254"), "{peers}");
    let peer = site.plugin(&["--node", "n1", "peers", "-o", "json"]).unwrap();
    assert!(peer.contains("\"Established\""), "{peer}");
    let why = site.plugin(&["explain", "default/web"]).unwrap();
    assert!(why.contains(address), "{why}");
    let refused = site.plugin(&["peers", "nobody"]).unwrap_err();
    assert!(refused.contains("exit code 3"), "{refused}");
    let pod = name(&site.agent());
    let advertised = site.kubectl(&format!("exec {pod} -- /speaker rib advertised"));
    assert!(advertised.contains(POOL) && advertised.contains(address), "{advertised}");
    let agent = site.kubectl("logs daemonset/speaker-agent");
    assert!(agent.contains("running"), "{agent}");
    for pod in site.pods("operator") {
        let operator = site.kubectl(&format!("logs {}", name(&pod)));
        assert!(operator.contains("lease=\"speaker-system/speaker-operator\""), "{operator}");
    }
}

fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

/// A rolling update with graceful restart: the router has every route at every moment.
fn roll(site: &Site, address: &str, web: &str) {
    let before = name(&site.agent());
    let own = format!("{address}/32");
    site.kept(&[POOL, &own], || {
        site.kubectl("rollout restart daemonset/speaker-agent");
        site.kubectl("rollout status daemonset/speaker-agent --timeout=90s");
        daemon::wait_established(&site.tor, ip(NODE), SOON);
    });
    assert_ne!(name(&site.agent()), before);
    site.reach(address, web);
}

/// The process is killed: the kubelet starts it again in the same Pod.
fn die(site: &Site, address: &str, web: &str) {
    let pod = name(&site.agent());
    let own = format!("{address}/32");
    site.kept(&[POOL, &own], || {
        signal(site.process(), nix::sys::signal::Signal::SIGKILL);
        eventually(SOON, "the container runs again, and is ready", || {
            let now = site.agent();
            let seen = status(&now);
            if seen["restartCount"] == 1 && seen["ready"] == true { Ok(()) } else { Err(seen.to_string()) }
        });
        daemon::wait_established(&site.tor, ip(NODE), SOON);
    });
    let now = site.agent();
    assert_eq!(
        (name(&now), &status(&now)["lastState"]["terminated"]["exitCode"]),
        (pod.clone(), &json!(137))
    );
    let previous = site.kubectl(&format!("logs --previous {pod}"));
    assert!(previous.contains("running"), "{previous}");
    site.reach(address, web);
}

/// The leading operator and the agent stop without ending, as in a deadlock: nobody but their liveness probes can see
/// that. The other operator leads, and the kubelet starts both again.
fn hang(site: &Site, address: &str, web: &str) {
    let lease = site.cluster.kubectl_json(&["get", "lease", "speaker-operator", "-n", NAMESPACE]);
    let leader = lease["spec"]["holderIdentity"].as_str().unwrap().rsplit_once('_').unwrap().0.to_owned();
    signal(site.replica(&leader), nix::sys::signal::Signal::SIGSTOP);
    signal(site.process(), nix::sys::signal::Signal::SIGSTOP);
    site.cluster.kubectl(&["expose", "deployment", "web", "--name=late", "--port=80", "--type=LoadBalancer"]);
    eventually(SOON, "the other operator gives an address out", || {
        let service = site.cluster.kubectl_json(&["get", "service", "late"]);
        let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        address.map(|_| ()).ok_or_else(|| service["status"].to_string())
    });
    site.cluster.kubectl(&["delete", "service", "late"]);
    // Six times ten seconds of the probe, thirty of grace to a process that does not listen, and the kubelet's pause
    // before the agent's second start.
    let restarted = |pod: &Value, count: u32| {
        let seen = status(pod);
        if seen["restartCount"] == count && seen["ready"] == true { Ok(()) } else { Err(seen.to_string()) }
    };
    eventually(Duration::from_secs(180), "the kubelet has started both again", || {
        let operators = site.pods("operator");
        let operator = operators.iter().find(|pod| name(pod) == leader).expect("its Pod stays");
        restarted(operator, 1).and_then(|()| restarted(&site.agent(), 2))
    });
    site.wait_routes(&[POOL, &format!("{address}/32")]);
    site.reach(address, web);
}

/// A Pod that is deleted, without graceful restart: withdrawal and Cease, exit status 0, well within the grace.
fn end(site: &Site) {
    let before = site.sessions();
    site.configure("");
    site.wait_new_session(before);
    let pod = name(&site.agent());
    let told = site.tor.notifications_received(ip(NODE)).len();
    let format =
        "-o=jsonpath={.metadata.name} exit={.status.containerStatuses[0].state.terminated.exitCode}{'\\n'}";
    let mut watch = Command::new(site.cluster.kubectl_program());
    watch.args(["get", "pods", "-n", NAMESPACE, "--watch", format]);
    let watch = site.cluster.node().spawn("watch", &mut watch);
    eventually(SOON, "the watch has begun", || {
        if watch.log().contains(&pod) { Ok(()) } else { Err(watch.log()) }
    });
    let began = Instant::now();
    site.kubectl(&format!("delete pod {pod}"));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?} of 30 s");
    println!("the Pod was gone after {} ms", took.as_millis());
    eventually(SOON, "its container has ended with status 0", || {
        let log = watch.log();
        if log.contains(&format!("{pod} exit=0\n")) { Ok(()) } else { Err(log) }
    });
    watch.kill();
    let cease = &site.tor.notifications_received(ip(NODE))[told..];
    assert!(cease.iter().any(|(code, _)| *code == 6), "{cease:?}");
    site.kubectl("rollout status daemonset/speaker-agent --timeout=90s");
    daemon::wait_established(&site.tor, ip(NODE), SOON);
    eventually(SOON, "the routes are back", || {
        if site.routes().len() == 2 { Ok(()) } else { Err(format!("{:?}", site.routes())) }
    });
}

/// `kubectl apply` of the chart with values of one's own: agents listen on port 179, and may.
fn upgrade(site: &Site) {
    let config =
        PEER.replace("RESTART", KEEPS).replace("{asn: 64501}", "{asn: 64501, listen: ['0.0.0.0:179']}");
    let (repository, tag) = IMAGE.rsplit_once(':').unwrap();
    let values = format!(
        "namespace: {{create: true}}\ncrds: {{keep: false}}\nimage: {{repository: {repository}, tag: {tag}}}\nconfig:{}\n",
        config.replace('\n', "\n  ")
    );
    let before = site.sessions();
    site.cluster.apply(&chart::manifest(&values, ""));
    for workload in ["daemonset/speaker-agent", "deployment/speaker-operator"] {
        site.kubectl(&format!("rollout status {workload} --timeout=90s"));
    }
    site.wait_new_session(before);
    let capabilities = format!("{:016x}", 1 << 10 | 1 << 12 | 1 << 13);
    assert_eq!(proc_status(site.process(), "CapEff"), capabilities, "NET_BIND_SERVICE too");
    let listening = site.node.exec(&["ss", "-Hltn", "sport = :179"]);
    assert!(listening.contains("0.0.0.0:179"), "{listening}");
}

/// `kubectl delete -f` with graceful restart configured: the agent sees that it is no update, so that nothing of ours is
/// left in the kernel and at the router; on the disk, what is documented.
fn uninstall(site: &Site) {
    assert!(!own_lines(&site.node).is_empty(), "the pool is guarded");
    assert_eq!(site.routes().len(), 2);
    let arguments = ["delete", "--ignore-not-found", "-f", "-"];
    site.cluster.try_kubectl(&arguments, &manifest()).unwrap();
    eventually(SOON, "no process of ours runs", || {
        let left = site.kubelet.processes("/speaker ");
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    // The router would keep them for a minute.
    assert_eq!(site.routes(), Vec::<String>::new());
    assert_eq!(own_lines(&site.node), Vec::<String>::new());
    for folder in ["/var/lib/speaker", "/run/speaker"] {
        assert!(site.kubelet.folder(folder).exists(), "{folder} remains, as documented");
    }
}
