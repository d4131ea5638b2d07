//! Whether Cilium's own BGP control plane is on, asked again and again: two speakers must not read the same objects, nor
//! two operators write them (design §5, "Beside Cilium"). And what an agent reads while it is off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use speaker_config::objects::ObjectRef;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::answer::jittered;
use super::{Connection, Filter, ObjectKind, spawn_objects};
use crate::io::clock::Clock;
use crate::io::source::{ObjectChange, SourceBatch};

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long whoever begins to lead waits for the first answer.
const FIRST: Duration = Duration::from_secs(5);
/// Between questions while nobody answers.
const SOONER: Duration = Duration::from_secs(2);
/// How many refusals one after the other are believed: for a moment of each start of the API server everything is
/// refused, before it has read its roles.
const REFUSALS: u32 = 3;

/// The namespace and the ConfigMap of Cilium's own settings.
const CILIUM: (&str, &str) = ("kube-system", "cilium-config");

/// What is said of it.
const OFF: &str = "Cilium's own BGP control plane is off: its BGP kinds are read";

/// What one question gave.
enum Answer {
    /// It is on.
    On,
    /// It is not, or there is no Cilium.
    Off,
    /// We may not know; in words.
    Refused(String),
    /// Nobody answers, or nobody knows who we are; in words.
    Unknown(String),
}

async fn ask(connection: &Connection) -> Answer {
    let (namespace, name) = CILIUM;
    let configs: Api<ConfigMap> = Api::namespaced(connection.client.clone(), namespace);
    let found = match timeout(ANSWER, configs.get_opt(name)).await {
        Ok(Ok(found)) => found,
        // One without credentials that count has nothing to read either.
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            return Answer::Refused(format!(
                "ConfigMap {namespace}/{name} cannot be read: {}; it counts as off, and sources.kubernetes.ciliumBGP \
                 says it for sure",
                status.message
            ));
        }
        Ok(Err(error)) => {
            return Answer::Unknown(format!("ConfigMap {namespace}/{name} cannot be read: {error}"));
        }
        Err(_) => return Answer::Unknown("the API server does not answer".to_owned()),
    };
    let data = found.and_then(|config| config.data).unwrap_or_default();
    if data.get("enable-bgp-control-plane").is_some_and(|value| value == "true") {
        Answer::On
    } else {
        Answer::Off
    }
}

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Cilium {
    /// Absent until it is known.
    on: watch::Receiver<Option<bool>>,
    asking: Option<AbortHandle>,
}

impl Drop for Cilium {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

impl Cilium {
    /// As `sources.kubernetes.ciliumBGP` says (`said`: whether ours is to be on), or asked so often, and a little more.
    pub(crate) fn follow(said: Option<bool>, connection: &Connection, every: Duration) -> Self {
        if let Some(ours) = said {
            return Self { on: watch::channel(Some(!ours)).1, asking: None };
        }
        let (say, on) = watch::channel(None);
        let connection = connection.clone();
        let asking = tokio::spawn(async move {
            let (mut told, mut refusals) = (false, 0);
            loop {
                let answer = ask(&connection).await;
                refusals = if matches!(answer, Answer::Refused(_)) { refusals + 1 } else { 0 };
                let believed = refusals >= REFUSALS;
                let known = match &answer {
                    Answer::On => Some(true),
                    Answer::Off => Some(false),
                    Answer::Refused(_) if believed && say.borrow().is_none() => Some(false),
                    // What was known stays: what is on is not to be taken for off since nobody may look any more.
                    Answer::Refused(_) | Answer::Unknown(_) => None,
                };
                let trouble = match answer {
                    Answer::Refused(why) => Some(why).filter(|_| believed),
                    Answer::Unknown(why) => Some(why),
                    Answer::On | Answer::Off => None,
                };
                if let Some(why) = trouble
                    && !std::mem::replace(&mut told, true)
                {
                    tracing::warn!("whether Cilium's own BGP control plane is on cannot be told: {why}");
                }
                if known.is_some() {
                    // The first answer is news, too.
                    say.send_replace(known);
                }
                tokio::time::sleep(jittered(if say.borrow().is_some() { every } else { SOONER })).await;
            }
        });
        Self { on, asking: Some(asking.abort_handle()) }
    }

    /// Waits for the first answer, though not for long.
    pub(crate) async fn first(&mut self) {
        let _ = timeout(FIRST, self.on.wait_for(Option::is_some)).await;
    }

    /// Waits for the first answer, for good.
    async fn known(&mut self) -> bool {
        if self.on.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
        self.is_on()
    }

    /// Whether it is on. Until it is known it is: what we leave alone harms nobody.
    pub(crate) fn is_on(&self) -> bool {
        self.on.borrow().unwrap_or(true)
    }

    /// Waits until it is not what it was; for good where it was said.
    pub(crate) async fn differs(&mut self, from: bool) {
        if self.on.wait_for(|on| on.unwrap_or(true) != from).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Reads Cilium's BGP kinds for an agent while Cilium's own control plane is off. When it is switched on, what was read
/// is taken back. The sources wait for the first answer, as for a first list.
pub(crate) fn spawn_bgp_kinds(
    mut cilium: Cilium,
    client: kube::Client,
    kinds: Vec<(ObjectKind, Filter)>,
    batches: mpsc::Sender<SourceBatch>,
    clock: Clock,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let sources: Vec<Arc<str>> =
            kinds.iter().map(|(kind, filter)| filter.source(&kind.resource)).collect();
        let mut synced = BTreeSet::new();
        loop {
            let mut known = BTreeMap::new();
            if !cilium.known().await {
                // Where it was said and not asked, nothing is known of Cilium's.
                let asked = cilium.asking.is_some();
                tracing::info!("{}", if asked { OFF } else { "Cilium's BGP kinds are read" });
                let reading = Reading { kinds: &kinds, batches: &batches, synced: &mut synced };
                let Some(read) = reading.until_on(&mut cilium, &client, clock).await else { return };
                known = read;
            }
            tracing::warn!("Cilium's own BGP control plane is on: its BGP kinds are left alone");
            for source in &sources {
                let gone = known.remove(source).unwrap_or_default();
                let batch = SourceBatch {
                    source: Arc::clone(source),
                    handed_over: clock.now(),
                    changes: gone.into_iter().map(ObjectChange::Delete).collect(),
                    synced: synced.insert(Arc::clone(source)),
                    faults: Some(Vec::new()),
                };
                if batches.send(batch).await.is_err() {
                    return;
                }
            }
            if cilium.is_on() {
                cilium.differs(true).await;
            }
        }
    })
}

/// Watches under way.
struct Reading<'a> {
    kinds: &'a [(ObjectKind, Filter)],
    batches: &'a mpsc::Sender<SourceBatch>,
    /// Sources whose first list the hub has.
    synced: &'a mut BTreeSet<Arc<str>>,
}

impl Reading<'_> {
    /// Passes on what the watches bring until Cilium's control plane is on; gives the objects that the hub has then.
    /// `None`: nobody listens any more.
    async fn until_on(
        self,
        cilium: &mut Cilium,
        client: &kube::Client,
        clock: Clock,
    ) -> Option<BTreeMap<Arc<str>, BTreeSet<ObjectRef>>> {
        let (out, mut inner) = mpsc::channel(8);
        for (kind, filter) in self.kinds {
            // They end with the channel.
            drop(spawn_objects(client.clone(), *kind, filter.clone(), out.clone(), clock));
        }
        let mut known: BTreeMap<Arc<str>, BTreeSet<ObjectRef>> = BTreeMap::new();
        loop {
            let mut batch: SourceBatch = tokio::select! {
                Some(batch) = inner.recv() => batch,
                () = cilium.differs(false) => return Some(known),
                () = self.batches.closed() => return None,
            };
            let objects = known.entry(Arc::clone(&batch.source)).or_default();
            for change in &batch.changes {
                match change {
                    ObjectChange::Upsert(object) => objects.insert(object.reference()),
                    ObjectChange::Delete(reference) => objects.remove(reference),
                };
            }
            batch.synced = batch.synced && self.synced.insert(Arc::clone(&batch.source));
            self.batches.send(batch).await.ok()?;
        }
    }
}
