//! The operator's requests against an API server made of a map.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::kube::Client;
use ::kube::client::Body;
use hyper::http::{Method, Request, Response};
use serde_json::{Value as Json, json};
use speaker_config::objects::{ObjectKey, ObjectRef};
use speaker_core::operator::{Change, Outcome, Patch, Version};

use super::*;
use crate::io::kube::patch;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/speaker-operator";

/// What the server has, and what it was asked.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Json>,
    version: u64,
    asked: Vec<(Method, String, String)>,
    /// Answers nothing.
    away: bool,
    /// Answers every write with this status.
    refuses: Option<u16>,
    /// `managedFields` name a version that is served no more: what kube-apiserver does with an apply, and what it drops
    /// on another patch.
    lost_version: bool,
}

type Server = Arc<Mutex<Store>>;

fn answer(store: &mut Store, method: &Method, path: &str, body: &Json) -> (u16, Json) {
    let failure = |code: u16| {
        let reason = match code {
            404 => "NotFound",
            409 => "Conflict",
            _ => "Unknown",
        };
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": "told so",
        });
        (code, status)
    };
    if let Some(code) = store.refuses.filter(|_| *method != Method::GET) {
        return failure(code);
    }
    let path = path.trim_end_matches("/status");
    let path = if *method == Method::POST {
        format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default())
    } else {
        path.to_owned()
    };
    let known = store.objects.get(&path);
    let version = known.map(|known| known["metadata"]["resourceVersion"].clone());
    match (method, version) {
        (&Method::GET | &Method::PUT | &Method::PATCH | &Method::DELETE, None) => failure(404),
        (&Method::GET, Some(_)) => (200, known.cloned().unwrap_or_default()),
        (&Method::POST, Some(_)) => failure(409),
        (&Method::DELETE, Some(version)) if body["preconditions"]["resourceVersion"] != version => {
            failure(409)
        }
        (&Method::DELETE, Some(_)) => {
            store.objects.remove(&path);
            (200, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
        }
        (&Method::PUT | &Method::PATCH, Some(version)) if body["metadata"]["resourceVersion"] != version => {
            failure(409)
        }
        _ => {
            store.version += 1;
            let mut stored = body.clone();
            stored["metadata"]["resourceVersion"] = store.version.to_string().into();
            store.objects.insert(path, stored.clone());
            (200, stored)
        }
    }
}

fn server() -> (Client, Server) {
    let server = Server::default();
    let store = Arc::clone(&server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let store = Arc::clone(&store);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
            let body: Json = serde_json::from_slice(&body).unwrap_or_default();
            if store.lock().unwrap().away {
                return std::future::pending().await;
            }
            let mut store = store.lock().unwrap();
            let kind =
                head.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            store.asked.push((head.method.clone(), head.uri.to_string(), kind.to_owned()));
            let (code, answer) = if store.lost_version && kind.starts_with("application/apply-patch") {
                let message = "request to convert CR to an invalid group/version: cilium.io/v2alpha1";
                (500, json!({"kind": "Status", "status": "Failure", "code": 500, "message": message}))
            } else {
                let (code, answer) = answer(&mut store, &head.method, head.uri.path(), &body);
                store.lost_version &= code != 200 || head.method != Method::PATCH;
                (code, answer)
            };
            let response = Response::builder().status(code).body(axum::body::Body::from(answer.to_string()));
            response.map_err(std::io::Error::other)
        }
    });
    (Client::new(service, "default"), server)
}

/// A candidate that runs.
struct Runs {
    lead: watch::Receiver<Leadership>,
    halt: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn candidate(client: &Client, identity: &str) -> Runs {
    let settings = ElectionSettings { identity: identity.to_owned(), duration: Duration::from_secs(1) };
    let store = LeaseStore::new(client.clone(), "kube-system", "speaker-operator", settings.clone());
    let (say, lead) = watch::channel(Leadership::default());
    let (halt, halted) = watch::channel(false);
    Runs { lead, halt, task: tokio::spawn(candidate::run(store, settings, say, halted)) }
}

impl Runs {
    async fn leads(&mut self) -> bool {
        let leads = self.lead.wait_for(Leadership::leads);
        tokio::time::timeout(Duration::from_secs(20), leads).await.is_ok_and(|leads| leads.is_ok())
    }
}

#[tokio::test]
async fn another_takes_over_when_the_leader_is_killed_and_at_once_when_it_gives_up() {
    let (client, server) = server();
    let mut first = candidate(&client, "first");
    assert!(first.leads().await, "nobody else wants it");
    let lease = server.lock().unwrap().objects[LEASE].clone();
    assert_eq!(lease["spec"]["holderIdentity"], "first");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 1);
    let mut second = candidate(&client, "second");
    let other = second.lead.wait_for(|lead| lead.holder.as_deref() == Some("first"));
    tokio::time::timeout(Duration::from_secs(20), other).await.expect("it sees who leads").unwrap();
    assert!(!second.lead.borrow().leads());
    // Killed: nothing is given up.
    first.task.abort();
    let killed = Instant::now();
    assert!(second.leads().await);
    // It was renewed a while before it was killed, and seen a while later.
    assert!(killed.elapsed() >= Duration::from_millis(700), "{:?}", killed.elapsed());
    assert!(!first.lead.borrow().leads(), "its time ran out before");
    assert_eq!(server.lock().unwrap().objects[LEASE]["spec"]["leaseTransitions"], 1);
    // Halted: the Lease is free.
    let mut third = candidate(&client, "third");
    second.halt.send(true).unwrap();
    second.task.await.unwrap();
    assert_eq!(server.lock().unwrap().objects[LEASE]["spec"].get("holderIdentity"), None);
    assert!(third.leads().await);
}

#[tokio::test]
async fn a_leader_that_cannot_renew_knows_when_its_time_is_over() {
    let (client, server) = server();
    let mut only = candidate(&client, "only");
    assert!(only.leads().await);
    server.lock().unwrap().away = true;
    let over = async {
        while only.lead.borrow().leads() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), over).await.expect("it stops leading by itself");
    server.lock().unwrap().away = false;
    assert!(only.leads().await, "and leads again when the server is back");
}

fn of_service(version: &str) -> Patch {
    Patch {
        target: ObjectRef::Service(ObjectKey::new("default", "web")),
        version: Version { uid: "u".to_owned(), resource_version: version.to_owned() },
        change: Change::Service {
            ingress: Some(vec!["192.0.2.1".parse().unwrap()]),
            set: Vec::new(),
            remove: Vec::new(),
        },
    }
}

#[tokio::test]
async fn a_write_goes_to_the_status_and_a_stale_one_is_a_conflict() {
    let (client, server) = server();
    let limit = Duration::from_secs(5);
    let path = "/api/v1/namespaces/default/services/web";
    let object = json!({"metadata": {"resourceVersion": "7"}});
    server.lock().unwrap().objects.insert(path.to_owned(), object);
    assert_eq!(patch::write(&client, &of_service("6"), "v1", limit).await, Outcome::Conflict);
    let written = Outcome::Written { resource_version: "1".to_owned() };
    assert_eq!(patch::write(&client, &of_service("7"), "v1", limit).await, written);
    assert_eq!(
        server.lock().unwrap().objects[path]["status"]["loadBalancer"]["ingress"][0]["ip"],
        "192.0.2.1"
    );
    let asked = server.lock().unwrap().asked.last().cloned().unwrap();
    assert_eq!(asked.0, Method::PATCH);
    assert!(
        asked.1.starts_with(&format!("{path}/status?")) && asked.1.contains("fieldManager=speaker-operator")
    );
    assert!(!asked.1.contains("force"), "{}", asked.1);
    assert_eq!(asked.2, "application/strategic-merge-patch+json");
    // A pool, where v2alpha1 is all that is served.
    let pool = Patch {
        target: ObjectRef::Pool("blue".to_owned()),
        change: Change::Conditions { conditions: Vec::new() },
        ..of_service("1")
    };
    assert_eq!(patch::write(&client, &pool, "v2alpha1", limit).await, Outcome::Conflict, "it is gone");
    let asked = server.lock().unwrap().asked.last().cloned().unwrap();
    assert!(
        asked.1.starts_with("/apis/cilium.io/v2alpha1/ciliumloadbalancerippools/blue/status?"),
        "{}",
        asked.1
    );
    assert!(asked.1.contains("force=true") && asked.2 == "application/apply-patch+yaml", "{asked:?}");
}

/// The CiliumBGPNodeConfig of a node, written, changed and deleted.
#[tokio::test]
async fn a_node_config_is_created_changed_and_deleted_on_top_of_a_version() {
    let (client, server) = server();
    let limit = Duration::from_secs(5);
    let wanted = speaker_core::cilium::operator::NodeConfigWrite {
        node: "n1".to_owned(),
        owner: speaker_config::objects::Owner {
            kind: "CiliumBGPClusterConfig".to_owned(),
            name: "fabric".to_owned(),
            uid: "u1".to_owned(),
        },
        instances: Vec::new(),
    };
    let of = |version: &str, change: Change| Patch {
        target: ObjectRef::BgpNodeConfig("n1".to_owned()),
        version: Version { uid: "u".to_owned(), resource_version: version.to_owned() },
        change,
    };
    let create = Patch { version: Version::default(), ..of("", Change::Create(wanted.clone())) };
    let written = |version: &str| Outcome::Written { resource_version: version.to_owned() };
    assert_eq!(patch::write(&client, &create, "v2", limit).await, written("1"));
    assert_eq!(patch::write(&client, &create, "v2", limit).await, Outcome::Conflict, "it is there already");
    let path = "/apis/cilium.io/v2/ciliumbgpnodeconfigs/n1";
    assert_eq!(server.lock().unwrap().objects[path]["metadata"]["ownerReferences"][0]["uid"], "u1");
    assert_eq!(
        patch::write(&client, &of("0", Change::Spec(wanted.clone())), "v2", limit).await,
        Outcome::Conflict
    );
    assert_eq!(patch::write(&client, &of("1", Change::Spec(wanted)), "v2", limit).await, written("2"));
    let (method, asked, kind) = server.lock().unwrap().asked.last().cloned().unwrap();
    assert_eq!((method, kind.as_str()), (Method::PATCH, "application/merge-patch+json"));
    assert!(!asked.contains("/status"), "{asked}");
    assert_eq!(patch::write(&client, &of("2", Change::Delete), "v2", limit).await, written(""));
    assert_eq!(
        patch::write(&client, &of("2", Change::Delete), "v2", limit).await,
        Outcome::Conflict,
        "it is gone"
    );
    // The kind is not there at all: nothing will be shown that could be waited for.
    server.lock().unwrap().refuses = Some(404);
    assert_eq!(patch::write(&client, &create, "v2", limit).await, Outcome::Failed);
}

/// What a pool, or the CiliumBGPNodeConfig of a node, was once written in.
#[tokio::test]
async fn fields_of_a_version_that_is_served_no_more_are_reset_and_the_write_goes_on() {
    let (client, server) = server();
    let path = "/apis/cilium.io/v2/ciliumloadbalancerippools/blue";
    let pool = |version: &str| Patch {
        target: ObjectRef::Pool("blue".to_owned()),
        change: Change::Conditions { conditions: Vec::new() },
        ..of_service(version)
    };
    let object = json!({"metadata": {"resourceVersion": "7"}});
    server.lock().unwrap().objects.insert(path.to_owned(), object);
    server.lock().unwrap().lost_version = true;
    let limit = Duration::from_secs(5);
    // Somebody else has written it meanwhile: he wins, as over any write.
    assert_eq!(patch::write(&client, &pool("6"), "v2", limit).await, Outcome::Conflict);
    assert!(server.lock().unwrap().lost_version);
    let written = Outcome::Written { resource_version: "2".to_owned() };
    assert_eq!(patch::write(&client, &pool("7"), "v2", limit).await, written);
    let asked = server.lock().unwrap().asked.clone();
    let kinds: Vec<&str> = asked[asked.len() - 3..].iter().map(|(_, _, kind)| kind.as_str()).collect();
    let (apply, merge) = ("application/apply-patch+yaml", "application/merge-patch+json");
    assert_eq!(kinds, [apply, merge, apply]);
    assert!(asked.iter().all(|(_, uri, _)| uri.contains("/blue/status?")), "no right but the one there is");
    // The agent's own status of its node.
    let path = "/apis/cilium.io/v2/ciliumbgpnodeconfigs/n1";
    server.lock().unwrap().objects.insert(path.to_owned(), json!({"metadata": {}}));
    server.lock().unwrap().lost_version = true;
    let mut writer = crate::io::kube::node_status::StatusWriter::new(client);
    let body = json!({"metadata": {"name": "n1", "uid": "u"}, "status": {"bgpInstances": []}});
    // This server asks for a version, which the agent does not name: the first answer is all that counts.
    writer.write("n1", body).await;
    assert!(!server.lock().unwrap().lost_version, "{:?}", server.lock().unwrap().asked);
}

#[tokio::test]
async fn what_is_refused_or_not_answered_is_a_failure() {
    let (client, server) = server();
    for code in [403, 422, 429, 500] {
        server.lock().unwrap().refuses = Some(code);
        let outcome = patch::write(&client, &of_service("7"), "v1", Duration::from_secs(5)).await;
        assert_eq!(outcome, Outcome::Failed, "{code}");
    }
    server.lock().unwrap().away = true;
    let outcome = patch::write(&client, &of_service("7"), "v1", Duration::from_millis(50)).await;
    assert_eq!(outcome, Outcome::Failed);
    let node = Patch { target: ObjectRef::Node("n1".to_owned()), ..of_service("7") };
    let outcome = patch::write(&client, &node, "v2", Duration::from_secs(5)).await;
    assert_eq!(outcome, Outcome::Failed, "not ours to write, and nothing is asked");
}
