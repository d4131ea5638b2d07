//! 10,000 Services brought into the kernel from nothing, and one more among them.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

use tests::fabric::{config, own_lines};
use tests::lab::Lab;
use tests::speaker::Speaker;
use tests::wait::eventually;

use crate::report::{median, quantile, table, time};
use crate::{Options, heading};

const SERVICES: usize = 10_000;
const DEADLINE: Duration = Duration::from_secs(120);

/// Both addresses of a Service are local routes; the guard is two routes and two rules, whatever their number.
const ADVERTISEMENTS: &str = "advertisements: [{name: fabric, poolPrefix: {when: always}, serviceRoutes: {which: all, when: allocated}}]\n";

const POOL: &str = "apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: blue}
spec: {blocks: [{cidr: 203.0.0.0/16}, {cidr: \"2001:db8:1::/64\"}]}
";

fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{type: LoadBalancer, \
         ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6], ports: [{{port: 80}}]}}\n"
    )
}

/// Runs it and prints the table.
pub(crate) fn run(options: &Options) {
    heading(&format!("Kernel: {SERVICES} dual-stack Services delivered on a host"));
    let lab = Lab::new();
    let node = lab.node("node");
    let watch = format!("exec stdbuf -oL ip -ts monitor route > {}", log(&node).display());
    let _monitor = node.spawn("monitor", Command::new("sh").args(["-c", &watch]));
    eventually(DEADLINE, "the monitor runs", || std::fs::metadata(log(&node)).map_err(|e| e.to_string()));
    let mut all = String::new();
    for number in 0..SERVICES {
        // Writing to a String cannot fail.
        let _ = write!(all, "{}", service(&format!("s{number}")));
    }
    let start = SystemTime::now();
    let text = config("{local: announced}", ADVERTISEMENTS, "");
    let (head, _) = text.split_once("peerGroups:").expect("peers");
    let text = format!("{head}{ADVERTISEMENTS}");
    let speaker = Speaker::start(&node, &text, &[("pool.yaml", POOL.to_owned()), ("services.yaml", all)]);
    eventually(DEADLINE, "every Service has its routes", || {
        let have = own_lines(&node).len();
        // The two rules are one line.
        if have == 2 * SERVICES + 3 { Ok(()) } else { Err(format!("{have} lines")) }
    });
    let times = events(&node, "local ");
    let since = |at: &String| moment(at).duration_since(start).unwrap_or_default();
    let first = times.first().map(since).unwrap_or_default();
    let last = times.last().map(since).unwrap_or_default();
    let mut changes = Vec::new();
    for number in 0..options.samples.min(50) {
        let seen = events(&node, "local ").len();
        let written = SystemTime::now();
        speaker.write_manifest(&format!("more-{number}.yaml"), &service(&format!("more{number}")));
        let at = eventually(DEADLINE, "the Service has its routes", || {
            let events = events(&node, "local ");
            events.get(seen + 1).cloned().ok_or_else(|| format!("{} of 2 events", events.len() - seen))
        });
        changes.push(moment(&at).duration_since(written).unwrap_or_default());
    }
    table(
        &["what", "time"],
        &[
            vec!["process started, until the first route".to_owned(), time(first)],
            vec![format!("until the last of {} routes", 2 * SERVICES), time(last)],
            vec!["one more Service, from its file to both routes: median".to_owned(), time(median(&changes))],
            vec!["99 of 100".to_owned(), time(quantile(&changes, 0.99))],
        ],
    );
}

fn log(node: &tests::lab::Node) -> std::path::PathBuf {
    node.dir().join("routes")
}

/// When routes that begin with `kind` were made, as the monitor writes it: `[TIMESTAMP] local …`.
fn events(node: &tests::lab::Node, kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(log(node)).unwrap_or_default();
    let mut lines: Vec<&str> = text.split('\n').collect();
    // The last line may still be under way.
    lines.pop();
    let stamped = lines.into_iter().filter_map(|line| line.strip_prefix('[')?.split_once("] "));
    stamped.filter(|(_, rest)| rest.starts_with(kind)).map(|(at, _)| at.to_owned()).collect()
}

/// `2026-11-21T16:02:41.349949`, in the time zone of this process.
fn moment(text: &str) -> SystemTime {
    let output = Command::new("date").args(["-d", text, "+%s.%N"]).output().expect("date");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(text.trim().parse().expect("seconds"))
}
