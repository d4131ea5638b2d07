//! `speaker operator`: replicas that elect a leader; the leader allocates and writes statuses.
//!
//! ```text
//! candidate ──Leadership──► run ──leads──► Session: watches ─► Operator ─► io/kube/patch, events
//!     │ Lease                 ▲                          ▲         │
//!     ▼                       └──lost, SIGTERM───────────┴─Outcome─┘
//! API server
//! ```
//!
//! A replica that does not lead reads nothing but the Lease. One that begins to lead reads everything anew, so
//! that it decides on what its predecessor has written.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use speaker_config::model::SpeakerConfig;
use speaker_core::node_ipam::NodeIpamSettings;
use speaker_core::operator::OperatorSettings;
use speaker_core::operator::election::ElectionSettings;
use speaker_core::world::ipam_settings;
use tokio::sync::{mpsc, watch};

mod candidate;
mod observe;
mod session;
#[cfg(test)]
mod tests;

use candidate::Leadership;
use observe::{Look, Question, Replica};
use session::{Session, SessionSpec};

use crate::io::http::{self, Paths};
use crate::io::kube::lease::LeaseStore;
use crate::io::kube::{self, Cilium, Connection};

/// How often it is asked whether Cilium's own BGP control plane is on: the answer changes with an upgrade of Cilium.
const ASK_CILIUM: Duration = Duration::from_secs(10);
/// Questions that may wait.
const QUESTIONS: usize = 16;

/// Runs a replica until `stopped`; gives the Lease up then.
///
/// # Errors
/// There is no way to the API server, or a socket for metrics cannot be bound.
pub async fn run(
    config: &SpeakerConfig,
    metrics: Option<SocketAddr>,
    stopped: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let connection = kube::connect().await?;
    let (asked, questions) = mpsc::channel(QUESTIONS);
    let replica = Arc::new(Replica::new(asked));
    for (address, paths, key) in
        [(config.api.http, Paths::All, "api.http"), (metrics, Paths::Metrics, "--metrics")]
    {
        let Some(address) = address else { continue };
        let socket = http::bind(address).await.map_err(|error| {
            anyhow::anyhow!("cannot serve metrics on {address}: {error}; {key} says where they are")
        })?;
        tracing::info!("{key}: listening on {}", socket.local_addr().unwrap_or(address));
        tokio::spawn(http::serve(socket, Arc::clone(&replica), paths));
    }
    let spec = ReplicaSpec {
        settings: settings(config),
        cilium_bgp: config.sources.cilium_bgp,
        lease: config.operator.lease_name.clone(),
        election: ElectionSettings { identity: identity(), duration: config.operator.lease_duration },
    };
    follow(connection, spec, questions, stopped).await;
    Ok(())
}

/// What a replica is.
struct ReplicaSpec {
    settings: OperatorSettings,
    /// `sources.kubernetes.ciliumBGP`; absent is `auto`.
    cilium_bgp: Option<bool>,
    /// The Lease's name.
    lease: String,
    election: ElectionSettings,
}

fn settings(config: &SpeakerConfig) -> OperatorSettings {
    OperatorSettings {
        ipam: config.ipam.enabled.then(|| ipam_settings(config)),
        l2_policies: config.l2.enabled && config.sources.cilium_l2 != Some(false),
        hold_deleted: config.operator.hold_deleted,
        node_ipam: NodeIpamSettings { enabled: config.node_ipam, default_class: config.ipam.default_class },
        surroundings: if config.ipam.enabled { session::surroundings() } else { Default::default() },
        bgp: None,
        router_id_pool: config.cilium_bgp.router_id_pool,
    }
}

/// Who we are: the Pod or host, and a number of this process, so that one that takes our place under the same name
/// is somebody else.
fn identity() -> String {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};

    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let name = pod.unwrap_or_else(|| host.trim().to_owned());
    format!("{name}_{:016x}", RandomState::new().build_hasher().finish())
}

/// Leads whenever the Lease allows it.
async fn follow(
    connection: Connection,
    spec: ReplicaSpec,
    mut questions: mpsc::Receiver<Question>,
    stopped: impl Future<Output = ()> + Send,
) {
    let ReplicaSpec { settings, cilium_bgp, lease, election } = spec;
    let Connection { client, namespace, server } = &connection;
    tracing::info!(server, lease = format!("{namespace}/{lease}"), identity = election.identity, "running");
    let limit = election.write_timeout();
    let instance = election.identity.clone();
    let store = LeaseStore::new(client.clone(), namespace, &lease, election.clone());
    let (say, mut lead) = watch::channel(Leadership::default());
    let (halt, halted) = watch::channel(false);
    let candidate = tokio::spawn(candidate::run(store, election, say, halted));
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let standby = async {
            loop {
                tokio::select! {
                    leads = lead.wait_for(Leadership::leads) => return leads.is_ok(),
                    Some(question) = questions.recv() => question.answer(Look::default()),
                }
            }
        };
        tokio::select! {
            leads = standby => if !leads { break },
            () = &mut stopped => break,
        }
        let mut cilium = Cilium::follow(cilium_bgp, &connection, ASK_CILIUM);
        cilium.first().await;
        let bgp = !cilium.is_on();
        tracing::info!(bgp_kinds = bgp, "leading: reading everything anew");
        let session = Session::start(SessionSpec {
            client: client.clone(),
            settings: OperatorSettings { bgp: bgp.then(session::bgp_sources), ..settings.clone() },
            namespace: namespace.clone(),
            limit,
            instance: instance.clone(),
            lead: lead.clone(),
            cilium,
        });
        match session.run(&mut questions, stopped.as_mut()).await {
            session::End::Stopped => break,
            session::End::Cilium => tracing::warn!(
                "Cilium's own BGP control plane was switched {}",
                if bgp { "on: its BGP kinds are left alone" } else { "off: its BGP kinds are ours" }
            ),
            session::End::Lost => tracing::warn!("leading no more"),
        }
    }
    // Everything that was being written has ended: somebody else may begin.
    let _ = halt.send(true);
    let _ = candidate.await;
}
