//! The way to the API server: the Pod's own, or what `$KUBECONFIG` says.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use thiserror::Error;
use tower::{BoxError, ServiceExt as _};

/// Where a Pod's service account says in which namespace it runs.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The namespace where nothing names one.
const DEFAULT_NAMESPACE: &str = "kube-system";

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection on which nothing is heard is asked whether the other side is there, and is given up when it
/// does not answer: a watch over a machine that lost its power would be silent for good.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// The way to the API server.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Sends requests. Tokens and certificates that Kubernetes renews in their files are read again.
    pub(crate) client: Client,
    /// The namespace that the speaker's own objects live in.
    pub(crate) namespace: String,
    /// Where the server is, for messages.
    pub(crate) server: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.server)
            .field("namespace", &self.namespace)
            .finish()
    }
}

/// Why there is no way to the API server. Whether it answers is not asked here.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Nothing says where it is.
    #[error(
        "sources.kubernetes: this is no Pod and $KUBECONFIG is not set; run it in the cluster, or set KUBECONFIG=/path/to/kubeconfig"
    )]
    Nowhere,
    /// `$KUBECONFIG` names a file that cannot be used.
    #[error("sources.kubernetes: $KUBECONFIG {}: {error}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: kube::config::KubeconfigError,
    },
    /// The Pod's service account cannot be used.
    #[error(
        "sources.kubernetes: the Pod's service account cannot be used: {0}; is automountServiceAccountToken off?"
    )]
    InCluster(#[from] kube::config::InClusterError),
    /// A certificate, a key or a token cannot be used.
    #[error("sources.kubernetes: {0}")]
    Client(#[from] kube::Error),
}

/// Finds the API server by `$KUBECONFIG`, else as a Pod does.
///
/// # Errors
/// Neither is there, or what is there cannot be used.
pub(crate) async fn connect() -> Result<Connection, ConnectError> {
    let config = match env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
        Some(path) => from_file(Path::new(&path)).await?,
        None if env::var_os("KUBERNETES_SERVICE_HOST").is_some() => Config::incluster()?,
        None => return Err(ConnectError::Nowhere),
    };
    let namespace = namespace(env::var("POD_NAMESPACE").ok(), Path::new(NAMESPACE_FILE));
    let server = config.cluster_url.to_string();
    Ok(Connection { client: client(&config)?, namespace, server })
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let fault = |error| ConnectError::Kubeconfig { path: path.to_owned(), error };
    let kubeconfig = Kubeconfig::read_from(path).map_err(fault)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(fault)
}

/// The namespace of the speaker's own objects, in which alone it reads Secrets.
fn namespace(pod: Option<String>, file: &Path) -> String {
    let said = pod.or_else(|| std::fs::read_to_string(file).ok());
    let said = said.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    said.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

/// kube's own stack, without its retries (each watch has a back-off of its own, and says what is wrong) and with
/// a guard against connections that are dead and do not say so.
fn client(config: &Config) -> Result<Client, kube::Error> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    http.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    http.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let https = config.rustls_https_connector_with_connector(http)?;
    let service: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(https);
    let service = service.map_err(BoxError::from);
    let namespace = config.default_namespace.clone();
    let service = ClientBuilder::new(service, namespace).with_layer(&config.extra_headers_layer()?);
    Ok(match config.auth_layer()? {
        Some(auth) => service.with_layer(&auth).with_layer(&config.base_uri_layer()).build(),
        None => service.with_layer(&config.base_uri_layer()).build(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_own_namespace_comes_first_and_kube_system_last() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("namespace");
        assert_eq!(namespace(None, &file), "kube-system");
        std::fs::write(&file, "speaker-system\n").unwrap();
        assert_eq!(namespace(None, &file), "speaker-system");
        assert_eq!(namespace(Some("mine".to_owned()), &file), "mine");
        assert_eq!(namespace(Some(String::new()), &file), "kube-system", "an empty variable says nothing");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        let error = from_file(&file).await.unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains("KUBECONFIG"), "{error}");
        std::fs::write(&file, "clusters: 7\n").unwrap();
        let error = from_file(&file).await.unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }
}
