//! What stands in deploy/: the chart as Helm renders it, the one-file manifest, kustomize, a real API server, the
//! dashboard, and `kubectl speaker`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod pods;
mod rights;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use pods::agent;
use rights::rights;
use serde_json::{Value, json};
use tests::chart::{find, manifest, objects, render, root, try_render};
use tests::cluster::{Cluster, NodeSpec, Options};
use tests::lab::Lab;
use tests::speaker::binary;
use tests::wait::eventually;

const SOON: Duration = Duration::from_secs(60);

const ONE_FILE: &str = "namespace: {create: true}\ncrds: {keep: false}\n";
const HEADING: &str = "# Everything in one file, made from the chart: BLESS=1 cargo test -p tests --test deploy one_file
# Name your image: sed 's#image: speaker:.*#image: registry.example/speaker:0.1.0#' speaker.yaml | kubectl apply -f -
";

const BESIDE_CILIUM: &str = "namespace: {create: true}
crds: {install: false}
operator: {enabled: false}
config: {ipam: {enabled: false}, sources: {kubernetes: {ciliumBGP: false, ciliumL2: false}}}
";
const BESIDE_HEADING: &str =
    "# Agents alone, beside a Cilium that allocates: its definitions, BGP and L2 kinds stay its own.
# Made from the chart: BLESS=1 cargo test -p tests --test deploy one_file
";

/// The chart is the source; `BLESS=1` writes the files anew.
#[test]
fn the_one_file_manifests_are_the_chart() {
    for (file, values, heading) in [
        ("deploy/speaker.yaml", ONE_FILE, HEADING),
        ("deploy/speaker-beside-cilium.yaml", BESIDE_CILIUM, BESIDE_HEADING),
    ] {
        let made = manifest(values, heading);
        let path = root().join(file);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &made).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == made, "{file} is not what the chart gives: BLESS=1 writes it anew");
        assert!(!made.contains("helm.sh"), "only Helm reads that");
    }
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for (values, what) in [
        ("agnet: {enabled: true}", "agnet"),
        ("agent: {priorityClass: x}", "priorityClass"),
        ("image: {tag: 1}", "tag"),
        ("image: {pullPolicy: Sometimes}", "pullPolicy"),
        ("operator: {replicas: many}", "replicas"),
        ("operator: {port: 80}", "port"),
        ("config: {peer: []}", "peer"),
        ("metrics: {serviceMonitor: {interval: 30}}", "interval"),
        ("agent: {stateDir: relative}", "stateDir"),
    ] {
        let error = try_render(values, &[]).expect_err(values);
        assert!(error.contains("schema") && error.contains(what), "{values}: {error}");
    }
    let error = try_render("{}", &["-kube-version", "v1.25.0"]).unwrap_err();
    assert!(error.contains("wants Kubernetes"), "{error}");
}

#[test]
fn every_default_is_in_the_schema_with_its_type() {
    let values: Value =
        serde_yaml::from_str(&fs::read_to_string(root().join("deploy/chart/values.yaml")).unwrap()).unwrap();
    let schema = fs::read_to_string(root().join("deploy/chart/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    fn walk(values: &Value, schema: &Value, path: &str) {
        let Some(properties) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], false, "{path} takes anything");
        for (key, value) in values.as_object().unwrap() {
            let known = properties.get(key).unwrap_or_else(|| panic!("{path}.{key} is not in the schema"));
            walk(value, known, &format!("{path}.{key}"));
        }
    }
    walk(&values, &schema, "");
}

/// Whatever the values are, agents and operator get a file that the program takes.
#[test]
fn the_configuration_that_the_chart_writes_is_one_that_check_takes() {
    let peers = "config:
  router: {asn: 64501, listen: ['0.0.0.0:1790']}
  peers: [{name: tor, address: 10.0.0.254, asn: 64500}]
  advertisements: [{name: fabric, poolPrefix: {}}]
  ipam: {families: [ipv4]}
";
    for values in ["{}", peers, BESIDE_CILIUM] {
        let all = objects(&render(values));
        let config = &find(&all, "ConfigMap", "speaker")["data"];
        for key in ["speaker.yaml", "operator.yaml"] {
            let folder = std::env::temp_dir().join(format!("spk-check-{}-{}", std::process::id(), key));
            fs::create_dir_all(&folder).unwrap();
            let file = folder.join("speaker.yaml");
            fs::write(&file, config[key].as_str().unwrap()).unwrap();
            let ran = Command::new(binary()).args(["check", "--config"]).arg(&file).output().unwrap();
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            fs::remove_dir_all(&folder).unwrap();
            assert!(ran.status.success() && said.contains(" 0 error(s)"), "{key} of {values}: {said}");
        }
        let read: Value = serde_yaml::from_str(config["speaker.yaml"].as_str().unwrap()).unwrap();
        assert_eq!(read["api"]["http"], "127.0.0.1:9179", "where the probes ask");
        assert_eq!(read["sources"]["kubernetes"]["enabled"], true);
        if values == peers {
            assert_eq!(read["ipam"], json!({"families": ["ipv4"], "stateDir": "/var/lib/speaker"}));
        }
    }
}

#[test]
fn what_is_switched_on_appears() {
    let all = objects(&render(
        "metrics: {agent: {enabled: true}, serviceMonitor: {enabled: true, labels: {release: prometheus}}, dashboard: {enabled: true}}
apiServer: {host: 10.0.0.10}
bgpSecrets: [tor]
",
    ));
    let container = &agent(&all)["containers"][0];
    assert!(container["args"].as_array().unwrap().contains(&json!("--metrics=$(NODE_IP):9180")));
    let env = container["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "KUBERNETES_SERVICE_HOST", "value": "10.0.0.10"})), "{env:?}");
    for component in ["agent", "operator"] {
        let monitor = find(&all, "ServiceMonitor", &format!("speaker-{component}"));
        let service = find(&all, "Service", &format!("speaker-{component}"));
        let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
        assert!(wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value));
        let port = &monitor["spec"]["endpoints"][0]["port"];
        assert_eq!(service["spec"]["ports"][0]["name"], *port);
    }
    let rules = find(&all, "Role", "speaker-agent")["rules"].as_array().unwrap();
    let rule = |resource: &str| rules.iter().find(|rule| rule["resources"] == json!([resource])).unwrap();
    assert_eq!(rule("secrets")["resourceNames"], json!(["tor"]));
    assert_eq!(
        (&rule("daemonsets")["resourceNames"], &rule("daemonsets")["verbs"]),
        (&json!(["speaker-agent"]), &json!(["get"]))
    );
    let dashboard = find(&all, "ConfigMap", "speaker-dashboard")["data"]["speaker.json"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(dashboard).unwrap()["title"], "Speaker");

    let none =
        objects(&render("agent: {enabled: false}\noperator: {enabled: false}\ncrds: {install: false}"));
    let kinds: Vec<&str> = none.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConfigMap"]);
    let no_secrets = rights("bgpSecrets: []", "Role", "speaker-agent");
    assert_eq!(no_secrets, BTreeSet::from(["get daemonsets".to_owned()]));
}

#[test]
fn crds_are_upgraded_with_the_release_and_outlive_it() {
    let all = objects(&render("{}"));
    let crds: Vec<&Value> = all.iter().filter(|one| one["kind"] == "CustomResourceDefinition").collect();
    let files = fs::read_dir(root().join("deploy/crds")).unwrap().count();
    assert_eq!(crds.len(), files);
    for crd in crds {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        // Nothing but metadata differs from the generated file.
        let file = format!("deploy/crds/{}.yaml", crd["spec"]["names"]["plural"].as_str().unwrap());
        let generated = objects(&fs::read_to_string(root().join(&file)).unwrap()).remove(0);
        assert_eq!(crd["spec"], generated["spec"], "{file}");
    }
}

/// Names of metrics as they are scraped, from the page that the program's own test holds to its code.
fn metrics() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("speaker/docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let (name, rest) = row.split_once('`')?;
        Some((name.to_owned(), rest.contains("| histogram |")))
    })
    .flat_map(|(name, histogram)| {
        let parts: &[&str] = if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        parts.iter().map(|part| format!("{name}{part}")).collect::<Vec<_>>()
    })
    .collect()
}

fn words(expression: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    expression.split(word).filter(|word| word.starts_with("speaker_") || word.starts_with("process_"))
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_exists() {
    let known = metrics();
    assert!(known.contains("speaker_bgp_session_up") && known.len() > 40, "{known:?}");
    let dashboard = fs::read_to_string(root().join("deploy/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut expressions: Vec<String> = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{} shows nothing", panel["title"]);
        expressions.extend(targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        expressions.extend(variable["definition"].as_str().map(str::to_owned));
    }
    let page = fs::read_to_string(root().join("speaker/docs/metrics.md")).unwrap();
    expressions.extend(page.lines().filter_map(|line| Some(line.trim().strip_prefix("expr: ")?.to_owned())));
    let mut used = BTreeSet::new();
    for expression in &expressions {
        assert!(words(expression).next().is_some(), "no metric in {expression}");
        for word in words(expression) {
            assert!(known.contains(word), "no metric {word}, in {expression}");
            used.insert(word.to_owned());
        }
    }
    // Panels must not lie on one another.
    for (at, one) in panels.iter().enumerate() {
        for other in &panels[at + 1..] {
            let side = |panel: &Value, from: &str, size: &str| {
                let start = panel["gridPos"][from].as_u64().unwrap();
                start..start + panel["gridPos"][size].as_u64().unwrap()
            };
            let meet = |a: std::ops::Range<u64>, b: std::ops::Range<u64>| a.start < b.end && b.start < a.end;
            let overlap = meet(side(one, "x", "w"), side(other, "x", "w"))
                && meet(side(one, "y", "h"), side(other, "y", "h"));
            assert!(!overlap, "{} lies on {}", one["title"], other["title"]);
        }
    }
    assert!(used.len() > 25, "{used:?}");
}

/// A real API server takes everything, twice, and kustomize gives the same; the controllers make Pods of it.
#[test]
fn a_real_api_server_takes_all_of_it() {
    let lab = Lab::new();
    let cluster = Cluster::with(&lab, Options { controllers: true, ..Options::default() });
    cluster.add_node(&NodeSpec::new("n1", &["10.0.0.1".parse().unwrap()]));
    let file = root().join("deploy/speaker.yaml");
    let file = file.to_str().unwrap();
    cluster.kubectl(&["create", "namespace", "speaker-system"]);
    let dry =
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", file]);
    assert_eq!(dry.lines().count(), objects(&fs::read_to_string(file).unwrap()).len(), "{dry}");
    cluster.kubectl(&["delete", "namespace", "speaker-system", "--wait"]);

    cluster.kubectl(&["apply", "-f", file]);
    let again = cluster.kubectl(&["apply", "-f", file]);
    // kubectl cannot compare a PodDisruptionBudget's selector, and always calls it configured.
    let same = |line: &str| line.ends_with(" unchanged") || line.starts_with("poddisruptionbudget");
    assert!(again.lines().all(same), "{again}");

    let folder = root().join("deploy");
    let built = cluster.kubectl(&["kustomize", folder.to_str().unwrap()]);
    let sorted = |text: &str| {
        let mut all: Vec<String> = objects(text).iter().map(ToString::to_string).collect();
        all.sort();
        all
    };
    for (built, stored) in sorted(&built).iter().zip(sorted(&fs::read_to_string(file).unwrap())) {
        assert_eq!(*built, stored);
    }
    assert_eq!(objects(&built).len(), objects(&fs::read_to_string(file).unwrap()).len());

    // The namespace lets the agents' Pods in, and the limits and rights are ones that it understands.
    let pods = |component: &str| {
        let label = format!("app.kubernetes.io/component={component}");
        cluster.kubectl_json(&["get", "pods", "--namespace", "speaker-system", "--selector", &label])
    };
    for (component, count) in [("agent", 1), ("operator", 2)] {
        eventually(SOON, &format!("{count} Pods of the {component}"), || {
            let pods = pods(component);
            if pods["items"].as_array().unwrap().len() == count { Ok(()) } else { Err(pods.to_string()) }
        });
    }
    assert_eq!(pods("agent")["items"][0]["spec"]["priorityClassName"], "system-node-critical");

    // Everything that can be switched on, but the kinds of the Prometheus operator.
    let all = manifest(
        "namespace: {create: true}\nmetrics: {agent: {enabled: true}, dashboard: {enabled: true}}\nconfig: {router: {asn: 64501, listen: ['0.0.0.0:179']}}\n",
        "",
    );
    let said =
        cluster.try_kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &all).unwrap();
    assert!(said.contains("service/speaker-agent serverside-applied"), "{said}");

    // Uninstalling by the file takes all of it away. With the namespace goes what is in it, maybe before its own turn.
    cluster.kubectl(&["delete", "--wait=false", "--ignore-not-found", "-f", file]);
    eventually(SOON, "the namespace is gone", || {
        match cluster.try_kubectl(&["get", "namespace", "speaker-system"], "") {
            Ok(seen) => Err(seen),
            Err(error) if error.contains("NotFound") => Ok(()),
            Err(error) => Err(error),
        }
    });
}

/// `kubectl speaker` with a kubectl that says what it was told.
#[test]
fn the_plugin_runs_the_command_in_the_pod_of_the_node() {
    let folder = std::env::temp_dir().join(format!("spk-plugin-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let fake = folder.join("kubectl");
    let script = "#!/bin/sh
case \"$*\" in
  *get\\ pods*spec.nodeName=n9*) ;;
  *get\\ pods*spec.nodeName=n2*) echo 'n2 speaker-agent-b' ;;
  *get\\ pods*) printf 'n2 speaker-agent-b\\nn1 speaker-agent-a\\n' ;;
  *agent-b*fail*) exit 4 ;;
  *) echo \"$*\" ;;
esac
";
    fs::write(&fake, script).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |arguments: &[&str]| {
        let ran = Command::new(root().join("deploy/kubectl-speaker"))
            .args(arguments)
            .env("KUBECTL", &fake)
            .env_remove("SPEAKER_NAMESPACE")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (ran.status.code().unwrap(), text(&ran.stdout), text(&ran.stderr))
    };
    let exec = |pod: &str, rest: &str| {
        format!("exec --namespace speaker-system --container speaker {pod} -- /speaker {rest}")
    };
    let (code, out, err) = run(&["--node", "n2", "peers", "tor", "-o", "json"]);
    assert_eq!((code, out), (0, exec("speaker-agent-b", "peers tor -o json")), "{err}");
    let (_, out, _) = run(&["rib", "advertised", "--peer", "tor"]);
    assert_eq!(out, exec("speaker-agent-a", "rib advertised --peer tor"), "the first node in order");
    let (_, out, _) = run(&["--context", "lab", "-n", "other", "peers"]);
    assert_eq!(
        out,
        "--context lab exec --namespace other --container speaker speaker-agent-a -- /speaker peers"
    );
    let (code, out, _) = run(&["--all-nodes", "fail"]);
    assert_eq!((code, out), (4, format!("# n1\n{}\n# n2", exec("speaker-agent-a", "fail"))));
    let (code, _, err) = run(&["--node", "n9", "peers"]);
    assert!(code == 3 && err.contains("no agent runs on node n9 in namespace speaker-system"), "{err}");
    assert_eq!(run(&[]).0, 2);
    assert_eq!(run(&["--node", "n1", "--all-nodes", "peers"]).0, 2);
    assert_eq!(run(&["--bogus", "peers"]).0, 2);
    fs::remove_dir_all(&folder).unwrap();
}
