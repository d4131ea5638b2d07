//! The API server of these tests, and the hub's end of a watch.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hyper::http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value as Json, json};
use speaker_config::objects::ObjectRef;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::*;

type Answer = Response<axum::body::Body>;

/// The API server.
pub(super) struct Server(mpsc::Receiver<(Request<Body>, oneshot::Sender<Answer>)>);

/// A request that waits for its answer.
pub(super) struct Call {
    pub(super) target: String,
    reply: oneshot::Sender<Answer>,
}

/// A watch under way.
pub(super) struct Watch(mpsc::Sender<Result<Bytes, std::io::Error>>);

pub(super) fn server() -> (kube::Client, Server) {
    let (sender, receiver) = mpsc::channel(16);
    let service = tower::service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            sender.send((request, reply)).await.map_err(|_| std::io::Error::other("the test is over"))?;
            answer.await.map_err(|_| std::io::Error::other("connection refused"))
        }
    });
    (kube::Client::new(service, "default"), Server(receiver))
}

impl Server {
    /// The next request, which must be for `target`: the path and what its query must hold.
    pub(super) async fn call(&mut self, target: &str) -> Call {
        let next = timeout(Duration::from_secs(600), self.0.recv()).await;
        let (request, reply) = next.unwrap_or_else(|_| panic!("nobody asked for {target}")).unwrap();
        let asked = request.uri().to_string();
        for part in target.split('&') {
            assert!(asked.contains(part), "{asked} instead of {target}");
        }
        Call { target: asked, reply }
    }

    pub(super) async fn list(&mut self, version: &str, items: &[Json]) {
        let call = self.call("limit=200").await;
        assert!(!call.target.contains("watch"), "{}", call.target);
        call.page(version, items, "");
    }

    pub(super) async fn watch(&mut self, version: &str) -> Watch {
        let call = self.call(&format!("watch=true&resourceVersion={version}")).await;
        assert!(call.target.contains("allowWatchBookmarks=true"), "{}", call.target);
        call.stream()
    }

    /// The question whether the server is older than what we know.
    pub(super) async fn version(&mut self, version: &str) {
        self.call("limit=1").await.page(version, &[], "");
    }
}

impl Call {
    pub(super) fn json(self, status: u16, body: &Json) {
        let body = axum::body::Body::from(body.to_string());
        let response = Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body).unwrap();
        self.reply.send(response).unwrap();
    }

    pub(super) fn page(self, version: &str, items: &[Json], token: &str) {
        self.json(200, &json!({"metadata": {"resourceVersion": version, "continue": token}, "items": items}));
    }

    pub(super) fn refuse(self, code: u16, message: &str) {
        self.json(code, &json!({"kind": "Status", "status": "Failure", "code": code, "message": message}));
    }

    /// A watch that has said all of this, and ended.
    pub(super) fn finished(self, lines: String) {
        self.reply.send(Response::new(axum::body::Body::from(lines))).unwrap();
    }

    pub(super) fn stream(self) -> Watch {
        let (sender, receiver) = mpsc::channel(64);
        let lines =
            stream::unfold(receiver, |mut lines| async { lines.recv().await.map(|line| (line, lines)) });
        self.reply.send(Response::new(axum::body::Body::from_stream(lines))).unwrap();
        Watch(sender)
    }
}

impl Watch {
    pub(super) async fn event(&self, kind: &str, object: &Json) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.0.send(Ok(Bytes::from(line))).await.unwrap();
    }

    pub(super) async fn break_off(self) {
        self.0.send(Err(std::io::Error::other("connection reset"))).await.unwrap();
    }
}

pub(super) fn service(name: &str, version: &str) -> Json {
    json!({
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version, "uid": format!("uid-{name}")},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    })
}

pub(super) fn pool(name: &str, version: &str) -> Json {
    json!({
        "metadata": {"name": name, "resourceVersion": version},
        "spec": {"blocks": [{"cidr": "192.0.2.0/24"}]},
    })
}

/// The hub's end.
pub(super) struct Hub(pub(super) mpsc::Receiver<SourceBatch>);

pub(super) fn start(kind: ObjectKind, filter: Filter) -> (Server, Hub) {
    let (client, server) = server();
    let (batches, receiver) = mpsc::channel(16);
    drop(spawn_objects(client, kind, filter, batches, Clock::start()));
    (server, Hub(receiver))
}

impl Hub {
    pub(super) async fn batch(&mut self) -> SourceBatch {
        let next = timeout(Duration::from_secs(600), self.0.recv()).await;
        next.expect("no batch came").expect("the watch ended")
    }

    /// The changes of the next batch that has some, in words.
    pub(super) async fn changes(&mut self) -> Vec<String> {
        loop {
            let batch = self.batch().await;
            if !batch.changes.is_empty() {
                return batch.changes.iter().map(words).collect();
            }
        }
    }

    /// The faults as the next batch that tells them has them.
    pub(super) async fn faults(&mut self) -> Vec<String> {
        loop {
            if let Some(faults) = self.batch().await.faults {
                return faults;
            }
        }
    }

    pub(super) fn nothing(&mut self) {
        assert!(self.0.try_recv().is_err());
    }
}

pub(super) fn words(change: &ObjectChange) -> String {
    match change {
        ObjectChange::Upsert(object) => format!("+{}", short(&object.reference())),
        ObjectChange::Delete(reference) => format!("-{}", short(reference)),
    }
}

pub(super) fn short(reference: &ObjectRef) -> String {
    match reference {
        ObjectRef::Service(key) | ObjectRef::EndpointSlice(key) => key.name.clone(),
        ObjectRef::Pool(name) | ObjectRef::Node(name) => name.clone(),
        other => other.to_string(),
    }
}
