//! Kubernetes Events about Services. Nobody waits for them, and one that is lost is lost.

use std::time::Duration;

use jiff::Timestamp as Wall;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use speaker_core::operator::Note;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::patch::MANAGER;

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
    let events: Api<Event> = Api::namespaced(client.clone(), &note.service.namespace);
    let event = event(note, instance);
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
        tracing::warn!(service = %note.service, "Events are not published: {trouble}");
    }
}

fn event(note: &Note, instance: &str) -> Event {
    let now = Wall::now();
    // As client-go names them: the object and the time; the name of an object leaves room for both.
    let mut name = note.service.name.clone();
    name.truncate(230);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(note.service.namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(if note.reason.is_warning() { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.to_string()),
        note: Some(cut(&note.text)),
        action: Some("Allocate".to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(note.service.namespace.clone()),
            name: Some(note.service.name.clone()),
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
