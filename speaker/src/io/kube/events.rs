//! Kubernetes Events. Nobody waits for them, and one that is lost is lost.

use std::time::Duration;

use jiff::Timestamp as Wall;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use speaker_config::objects::ObjectRef;
use speaker_core::operator::Note;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::patch::{self, MANAGER};

/// How long one may take; those behind it wait.
const LIMIT: Duration = Duration::from_secs(5);

/// First the API server has the agents to tell of what the Event is about.
const AFTER: Duration = Duration::from_millis(100);
/// How many are taken together after that.
const AT_ONCE: usize = 256;

/// Publishes one after the other until nobody sends any more.
pub(crate) async fn publish(client: Client, instance: String, mut notes: mpsc::Receiver<Note>) {
    let mut told = false;
    let mut batch = Vec::new();
    while notes.recv_many(&mut batch, AT_ONCE).await > 0 {
        tokio::time::sleep(AFTER).await;
        for note in batch.drain(..) {
            publish_one(&client, &instance, &note, &mut told).await;
        }
    }
}

/// `told`: a failure was logged and nothing has succeeded since.
async fn publish_one(client: &Client, instance: &str, note: &Note, told: &mut bool) {
    let about = About::of(&note.object);
    let events: Api<Event> = Api::namespaced(client.clone(), &about.event_namespace);
    let event = event(note, about, instance);
    let trouble = match timeout(LIMIT, events.create(&PostParams::default(), &event)).await {
        Ok(Ok(_)) => {
            *told = false;
            return;
        }
        // The namespace is going, and its Services with it.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer for {LIMIT:?}"),
    };
    if !std::mem::replace(told, true) {
        tracing::warn!(object = %note.object, "Events are not published: {trouble}");
    }
}

/// What an Event names.
struct About {
    api_version: &'static str,
    kind: &'static str,
    namespace: Option<String>,
    name: String,
    /// Events about objects without a namespace are kept in `default`, where kubectl looks for them.
    event_namespace: String,
    action: &'static str,
}

impl About {
    fn of(object: &ObjectRef) -> Self {
        let kind = patch::kind(object).map(|kind| kind.resource);
        let (namespace, name) = match object {
            ObjectRef::Service(key) => (Some(key.namespace.clone()), key.name.clone()),
            ObjectRef::BgpClusterConfig(name) | ObjectRef::BgpPeerConfig(name) | ObjectRef::Pool(name) => {
                (None, name.clone())
            }
            _ => (None, String::new()),
        };
        Self {
            api_version: if namespace.is_some() { "v1" } else { "cilium.io/v2" },
            kind: kind.map_or("", |kind| kind.kind),
            event_namespace: namespace.clone().unwrap_or_else(|| "default".to_owned()),
            action: if namespace.is_some() { "Allocate" } else { "Reconcile" },
            namespace,
            name,
        }
    }
}

fn event(note: &Note, about: About, instance: &str) -> Event {
    let now = Wall::now();
    // As client-go names them: the object and the time; the name of an object leaves room for both.
    let mut name = about.name.clone();
    name.truncate(230);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(about.event_namespace),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.clone()),
        note: Some(cut(&note.text)),
        action: Some(about.action.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(about.api_version.to_owned()),
            kind: Some(about.kind.to_owned()),
            namespace: about.namespace,
            name: Some(about.name),
            uid: Some(note.uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(format!("cilium.io/{MANAGER}")),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

/// "Maximal length of the note is 1kB" (events.k8s.io/v1).
fn cut(text: &str) -> String {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 1000).last();
    text.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}
