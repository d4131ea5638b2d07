//! The API over HTTP, for what would be too slow or too much through kubectl.

use std::fmt;
use std::fs;
use std::future::Future;
use std::path::Path;

use hyper::http::{Method, Request};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::lab::Node;

/// A client whose sockets are in a node's namespace.
pub struct Rest {
    runtime: Runtime,
    client: Client,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").finish_non_exhaustive()
    }
}

impl Rest {
    /// A client on `node` that authenticates with a kubeconfig.
    ///
    /// # Panics
    /// If the kubeconfig cannot be read.
    #[must_use]
    pub fn new(node: &Node, kubeconfig: &Path) -> Self {
        let namespace = node.namespace_file();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || {
                let namespace = fs::File::open(&namespace).expect("namespace");
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            })
            .build()
            .expect("runtime");
        let config = Kubeconfig::read_from(kubeconfig).expect("kubeconfig");
        let made = runtime.spawn(async move {
            let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
            Client::try_from(config.expect("kubeconfig")).expect("client")
        });
        let client = runtime.block_on(made).expect("client");
        Self { runtime, client }
    }

    /// Runs `work` with the client, on a thread inside of the namespace.
    ///
    /// # Panics
    /// If `work` panics.
    pub fn run<F>(&self, work: impl FnOnce(Client) -> F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let done = self.runtime.spawn(work(self.client.clone()));
        self.runtime.block_on(done).unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
    }

    /// A request with a JSON body and the answer's body as text.
    ///
    /// # Errors
    /// The API server's words, or why it was not reached.
    ///
    /// # Panics
    /// If `path` is none.
    pub fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<String, String> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(bytes).expect("request");
        self.run(|client| async move { client.request_text(request).await }).map_err(|e| e.to_string())
    }

    /// GET, as text.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn text(&self, path: &str) -> Result<String, String> {
        self.send(Method::GET, path, JSON, &Value::Null)
    }

    /// GET of an object or a list (`/api/v1/namespaces/default/services/web`).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn get(&self, path: &str) -> Result<Value, String> {
        self.text(path).and_then(|text| serde_json::from_str(&text).map_err(|e| format!("{e}: {text}")))
    }

    /// POST to a collection.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn create(&self, path: &str, object: &Value) {
        self.send(Method::POST, path, JSON, object).unwrap_or_else(|e| panic!("create {path}: {e}"));
    }

    /// Requests of one kind, sixteen at a time: thousands of objects in seconds.
    ///
    /// # Panics
    /// When one is refused.
    #[track_caller]
    pub fn send_all(&self, method: &Method, requests: Vec<(String, Value)>) {
        let mut shares: Vec<Vec<(String, Value)>> = (0..16).map(|_| Vec::new()).collect();
        for (n, request) in requests.into_iter().enumerate() {
            shares[n % 16].push(request);
        }
        let method = method.clone();
        self.run(|client| async move {
            let mut workers = tokio::task::JoinSet::new();
            for share in shares {
                let (client, method) = (client.clone(), method.clone());
                workers.spawn(async move {
                    for (path, body) in share {
                        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
                        let request =
                            Request::builder().method(&method).uri(&path).header("content-type", JSON);
                        let request = request.body(bytes).expect("request");
                        client.request_text(request).await.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
                    }
                });
            }
            while let Some(done) = workers.join_next().await {
                done.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
            }
        });
    }

    /// A JSON merge patch.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn patch(&self, path: &str, patch: &Value) {
        self.send(Method::PATCH, path, "application/merge-patch+json", patch)
            .unwrap_or_else(|e| panic!("patch {path}: {e}"));
    }

    /// Server-side apply, forced, as the field manager `laboratory`.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn apply(&self, path: &str, object: &Value) {
        let path = format!("{path}?fieldManager=laboratory&force=true");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", object)
            .unwrap_or_else(|e| panic!("apply {path}: {e}"));
    }

    /// DELETE.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn delete(&self, path: &str) {
        self.send(Method::DELETE, path, JSON, &Value::Null).unwrap_or_else(|e| panic!("delete {path}: {e}"));
    }
}

const JSON: &str = "application/json";
