//! Why this process is told to end: another takes its place, or none does (design §5, "Stopping"). Routers keep routes
//! for the first alone; whoever knows is asked while there is still time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::kube::Connection;

/// How long those who know may take to answer. A rolling update has an API server; a node that goes down may not.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the DaemonSet is asked for until it was seen once.
const AGAIN: Duration = Duration::from_secs(30);

/// The name of the DaemonSet that this process is of.
const DAEMON_SET: &str = "DAEMONSET_NAME";

/// What kubelet says in the Node's condition Ready while it ends the Pods of a node that shuts down
/// (`shutdownGracePeriod`).
const NODE_SHUTS_DOWN: &str = "node is shutting down";

/// What comes after the end of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parting {
    /// Another one, as far as anybody knows.
    Restart,
    /// None: why, in words.
    ForGood(String),
}

/// Those who know why this process is told to end.
#[derive(Debug)]
pub struct Witness {
    /// Its unit, where systemd has started it.
    unit: Option<String>,
    cluster: Option<Cluster>,
}

impl Witness {
    /// Of this process. `cluster` where it is a part of one, with the name of its Node.
    pub(crate) fn new(cluster: Option<(&Connection, &str)>) -> Self {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let systemd = Path::new("/run/systemd/system").exists();
        let unit = unit(&cgroup).filter(|_| systemd).map(str::to_owned);
        Self { unit, cluster: cluster.map(|(connection, node)| Cluster::new(connection, node)) }
    }

    /// Asks them. Whoever does not answer in time has said nothing.
    pub async fn ask(&self) -> Parting {
        let asked = async {
            if let Some(why) = self.ask_systemd().await {
                return Parting::ForGood(why);
            }
            match &self.cluster {
                Some(cluster) => cluster.ask().await.map_or(Parting::Restart, Parting::ForGood),
                None => Parting::Restart,
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            tracing::warn!("nobody says in time whether this node stops for good: routers keep its routes where graceful restart says so");
            Parting::Restart
        })
    }

    /// A job `stop` is what `systemctl stop` and the shutdown of the host have in common, and `systemctl restart` has
    /// another.
    async fn ask_systemd(&self) -> Option<String> {
        let unit = self.unit.as_deref()?;
        let mut command = Command::new("systemctl");
        command.args(["list-jobs", "--no-legend", "--plain"]).kill_on_drop(true);
        let output = match command.output().await {
            Ok(output) => output,
            Err(error) => {
                tracing::warn!("cannot ask systemd why it stops {unit}: systemctl: {error}");
                return None;
            }
        };
        let stops = job(&String::from_utf8_lossy(&output.stdout), unit) == Some("stop");
        stops.then(|| format!("systemd stops {unit}"))
    }
}

/// The unit of systemd that a cgroup stands for (`/proc/self/cgroup`).
fn unit(cgroup: &str) -> Option<&str> {
    let path = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::").or_else(|| line.strip_prefix("1:name=systemd:")))?;
    path.rsplit('/').next().filter(|name| name.ends_with(".service"))
}

/// The type of a unit's job: `1234 speaker.service stop running`.
fn job<'a>(jobs: &'a str, unit: &str) -> Option<&'a str> {
    jobs.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().filter(|name| *name == unit)?;
        words.next()
    })
}

/// The cluster that this agent is a part of.
struct Cluster {
    nodes: Api<Node>,
    node: String,
    daemon_set: Option<(Api<DaemonSet>, String)>,
    /// The DaemonSet was there, and this agent may see it.
    seen: Arc<AtomicBool>,
    watching: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("node", &self.node).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(task) = &self.watching {
            task.abort();
        }
    }
}

impl Cluster {
    fn new(connection: &Connection, node: &str) -> Self {
        let client = connection.client.clone();
        let name = std::env::var(DAEMON_SET).ok().filter(|name| !name.is_empty());
        let daemon_set = name.map(|name| (Api::namespaced(client.clone(), &connection.namespace), name));
        let seen = Arc::new(AtomicBool::new(false));
        let watching = daemon_set.clone().map(|(api, name)| tokio::spawn(see(api, name, Arc::clone(&seen))));
        Self { nodes: Api::all(client), node: node.to_owned(), daemon_set, seen, watching }
    }

    /// Why no other process follows, if that is known.
    async fn ask(&self) -> Option<String> {
        let daemon_set = match &self.daemon_set {
            None => None,
            Some((api, name)) => match api.get(name).await {
                Ok(found) => Some(found),
                Err(error) => {
                    let why = self.not_seen(name, &error);
                    if why.is_some() {
                        return why;
                    }
                    tracing::warn!("cannot ask why this agent is told to stop: DaemonSet {name}: {error}");
                    None
                }
            },
        };
        if let Some((daemon_set, (_, name))) = daemon_set.as_ref().zip(self.daemon_set.as_ref())
            && daemon_set.metadata.deletion_timestamp.is_some()
        {
            return Some(format!("DaemonSet {name} is being deleted"));
        }
        // As the watch of the Node asks: the right to list is there.
        let only = ListParams::default().fields(&format!("metadata.name={}", self.node));
        match self.nodes.list(&only).await {
            Ok(list) => leaves(list.items.first(), daemon_set.as_ref(), &self.node),
            Err(error) => {
                tracing::warn!("cannot ask why this agent is told to stop: Node {}: {error}", self.node);
                None
            }
        }
    }

    /// What an error says. An uninstalled release takes the agent's rights and account away along with the DaemonSet.
    fn not_seen(&self, name: &str, error: &kube::Error) -> Option<String> {
        let kube::Error::Api(status) = error else { return None };
        if !self.seen.load(Ordering::Relaxed) {
            return None;
        }
        match status.code {
            404 => Some(format!("DaemonSet {name} is gone")),
            401 | 403 => Some(format!("DaemonSet {name} may no longer be seen: the agent's rights are gone")),
            _ => None,
        }
    }
}

/// Finds out whether the DaemonSet may be seen, so that a later refusal says something.
async fn see(api: Api<DaemonSet>, name: String, seen: Arc<AtomicBool>) {
    let mut told = false;
    loop {
        match api.get(&name).await {
            Ok(_) => {
                seen.store(true, Ordering::Relaxed);
                return;
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) && !told => {
                told = true;
                tracing::warn!(
                    "DaemonSet {name} of ${DAEMON_SET} cannot be seen, so that an uninstallation cannot be told from a rolling update: {}",
                    status.message
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Why no agent follows on this node, by what the API says of it.
fn leaves(node: Option<&Node>, daemon_set: Option<&DaemonSet>, name: &str) -> Option<String> {
    let Some(node) = node else { return Some(format!("Node {name} is gone")) };
    if node.metadata.deletion_timestamp.is_some() {
        return Some(format!("Node {name} is being deleted"));
    }
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let shuts_down = conditions.into_iter().flatten().any(|condition| {
        let message = condition.message.as_deref().unwrap_or_default();
        condition.type_ == "Ready" && condition.status != "True" && message.contains(NODE_SHUTS_DOWN)
    });
    if shuts_down {
        return Some(format!("Node {name} is shutting down"));
    }
    let spec = daemon_set.and_then(|one| one.spec.as_ref()?.template.spec.as_ref()?.node_selector.as_ref());
    let labels = node.metadata.labels.as_ref();
    let selected = |(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value);
    let deselected = spec.is_some_and(|selector| !selector.iter().all(selected));
    deselected.then(|| format!("the DaemonSet no longer selects Node {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_unit_is_the_last_part_of_its_cgroup() {
        for (cgroup, expected) in [
            ("0::/system.slice/speaker.service\n", Some("speaker.service")),
            ("12:cpu:/\n1:name=systemd:/system.slice/speaker.service\n0::/\n", Some("speaker.service")),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit(cgroup), expected, "{cgroup:?}");
        }
    }

    #[test]
    fn a_job_is_found_by_its_unit() {
        let jobs = "  12 other.service      stop    waiting\n 1234 speaker.service restart running\n";
        assert_eq!(job(jobs, "speaker.service"), Some("restart"));
        assert_eq!(job(jobs, "other.service"), Some("stop"));
        assert_eq!(job(jobs, "third.service"), None);
        assert_eq!(job("No jobs running.\n", "speaker.service"), None);
    }

    #[test]
    fn a_node_is_left_for_good_where_no_agent_can_follow() {
        let node = |status: serde_json::Value, labels: serde_json::Value| -> Node {
            serde_json::from_value(json!({
                "metadata": { "name": "n1", "labels": labels },
                "status": { "conditions": [{ "type": "DiskPressure", "status": "False" }, status] },
            }))
            .unwrap()
        };
        let condition =
            |status: &str, message: &str| json!({ "type": "Ready", "status": status, "message": message });
        let ready = node(condition("True", "kubelet is posting ready status"), json!({ "rack": "r1" }));
        let going = node(condition("False", "node is shutting down"), json!({}));
        let ill = node(condition("False", "container runtime is down"), json!({ "rack": "r2" }));
        let daemon_set: DaemonSet = serde_json::from_value(json!({
            "metadata": { "name": "speaker-agent" },
            "spec": {
                "selector": {},
                "template": { "spec": { "containers": [], "nodeSelector": { "rack": "r1" } } },
            },
        }))
        .unwrap();
        assert_eq!(leaves(Some(&ready), Some(&daemon_set), "n1"), None);
        assert_eq!(leaves(Some(&ill), None, "n1"), None);
        for (node, daemon_set, words) in [
            (None, Some(&daemon_set), "is gone"),
            (Some(&going), None, "is shutting down"),
            (Some(&ill), Some(&daemon_set), "no longer selects"),
        ] {
            let why = leaves(node, daemon_set, "n1").unwrap();
            assert!(why.contains(words), "{why}");
        }
    }
}
