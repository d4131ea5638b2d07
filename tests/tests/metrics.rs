//! What Prometheus would read: a scrape of a running speaker, by the OpenMetrics parser of Prometheus' own Python client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::chart::root;
use tests::lab::{Lab, Node};
use tests::speaker::Speaker;
use tests::wait::eventually;

/// Scrapes with the Accept header that Prometheus 2 and 3 send, and prints families with their kinds and samples.
const SCRAPE: &str = r#"
import json, urllib.request
from prometheus_client.openmetrics.parser import text_string_to_metric_families
request = urllib.request.Request("http://127.0.0.1:9179/metrics", headers={
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"})
with urllib.request.urlopen(request, timeout=20) as answer:
    kind = answer.headers["Content-Type"]
    assert kind.startswith("application/openmetrics-text; version=1.0.0"), kind
    text = answer.read().decode()
families = {}
for family in text_string_to_metric_families(text):
    samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
    families[family.name] = {"kind": family.type, "unit": family.unit, "help": family.documentation, "samples": samples}
print(json.dumps(families))
"#;

const CONFIG: &str = "
node: {name: n1}
router: {asn: 64501, routerId: 10.0.0.1}
sources: {manifests: [manifests]}
ipam: {stateDir: state}
api: {socket: api.sock, http: '127.0.0.1:9179'}
peers:
  - {name: 'top of \"rack\" \\ a', address: 127.0.0.9, asn: 64500}
advertisements:
  - {name: fabric, poolPrefix: {when: always}}
l2: {enabled: true, interfaces: ['^eth0$']}
";

/// A Service on the segment; Local ones have no endpoint here.
fn service(name: &str, policy: &str, families: &str, stack: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: {policy}
  ipFamilies: {families}
  ipFamilyPolicy: {stack}
  ports: [{{port: 80}}]
"
    )
}

const POOL: &str = "
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: public}
spec: {blocks: [{cidr: 203.0.113.0/24}, {cidr: '2001:db8::/64'}]}
";

fn scrape(node: &Node) -> Value {
    // Debian's, which has the module; another one may come first in the path.
    let ran = node.output(Command::new("/usr/bin/python3").args(["-c", SCRAPE]));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// What there is of `speaker_l2_addresses`, zeroes left out.
fn segment(families: &Value) -> BTreeMap<String, f64> {
    let samples = families["speaker_l2_addresses"]["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 8, "each state of each family: {samples:?}");
    let named = |sample: &Value| {
        let label = |name: &str| sample[1][name].as_str().unwrap().to_owned();
        (format!("{} {}", label("family"), label("state")), sample[2].as_f64().unwrap())
    };
    samples.iter().map(named).filter(|(_, count)| *count > 0.0).collect()
}

#[test]
fn a_scrape_is_openmetrics_to_prometheus_own_parser() {
    let lab = Lab::new();
    let node = lab.node("n1");
    let switch = lab.switch("switch");
    lab.plug(&switch, &node, "eth0");
    let manifests = [
        ("pool.yaml", POOL.to_owned()),
        ("both.yaml", service("both", "Cluster", "[IPv4, IPv6]", "RequireDualStack")),
        ("local.yaml", service("local", "Local", "[IPv4]", "SingleStack")),
    ];
    let _speaker = Speaker::start(&node, CONFIG, &manifests);
    let families = eventually(Duration::from_secs(20), "the segment's addresses are counted", || {
        let families = scrape(&node);
        let counts = segment(&families);
        let wanted = BTreeMap::from([
            ("ipv4 held".to_owned(), 1.0),
            ("ipv6 held".to_owned(), 1.0),
            ("ipv4 excluded".to_owned(), 1.0),
        ]);
        if counts == wanted { Ok(families) } else { Err(format!("{counts:?}")) }
    });

    // The parser refuses wrong suffixes, units, bucket orders and escapes by itself; what it read must be what
    // the page says.
    let page = fs::read_to_string(root().join("speaker/docs/metrics.md")).unwrap();
    let mut seen = 0;
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (name, kind) = (cells[1].trim_matches('`'), cells[2]);
        let name = name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name);
        let Some(family) = families.get(name) else { continue };
        seen += 1;
        assert_eq!(family["kind"], kind, "{name}");
        assert_eq!(family["help"], cells[5], "{name}");
        let labels: Vec<&str> = cells[3].split(", ").map(|label| label.trim_matches('`')).collect();
        for sample in family["samples"].as_array().unwrap() {
            for label in sample[1].as_object().unwrap().keys().filter(|label| *label != "le") {
                assert!(labels.contains(&label.as_str()), "{name} has the label {label}: {sample}");
            }
        }
    }
    let all = families.as_object().unwrap();
    assert_eq!(seen, all.len(), "families that the page does not have: {:?}", all.keys().collect::<Vec<_>>());
    assert!(seen > 30, "{:?}", all.keys().collect::<Vec<_>>());
    let up = &families["speaker_bgp_session_up"]["samples"][0];
    assert_eq!(up[1]["peer"], "top of \"rack\" \\ a");
    assert_eq!(up[2], 0.0);
    let pools = families["speaker_ipam_pool_addresses"]["samples"].as_array().unwrap();
    let of = |family: &str| {
        pools.iter().find(|sample| sample[1]["family"] == family).map(|sample| sample[2].as_f64().unwrap())
    };
    assert_eq!((of("ipv4"), of("ipv6")), (Some(256.0), Some(2.0_f64.powi(64))));
}
