//! Metrics and health over HTTP, for Prometheus and the kubelet. Nothing can be changed through it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The media type of OpenMetrics 1.0.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The most connections at a time on one socket; more wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long a client may take over the head of a request, and stay connected without one.
const HEAD: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(10) };

/// After the kernel had no room for another connection.
const PAUSE: Duration = Duration::from_millis(500);

/// A role of the program that can be looked at: the agent, or the operator.
pub trait Observed: Send + Sync + 'static {
    /// `/healthz`: whether it does its work at all. An error says what does not.
    fn healthy(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// `/readyz`: whether it has what it needs to be of use. An error says what it waits for.
    fn ready(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// `/metrics`: the text of a scrape ([`crate::metrics::text`]). An error says why there is none.
    fn metrics(&self) -> impl Future<Output = Result<String, String>> + Send;
}

/// What a socket serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// `/metrics`, `/healthz` and `/readyz`.
    All,
    /// `/metrics`.
    Metrics,
}

/// Binds a socket.
///
/// # Errors
/// The address is not this host's, or it is taken; the text says so.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the task is ended.
pub async fn serve<O: Observed>(listener: TcpListener, observed: Arc<O>, paths: Paths) {
    let service = TowerToHyperService::new(routes(observed, paths));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Nobody closes the semaphore.
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection to the metrics was lost before it was accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let service = service.clone();
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD);
            // A client that breaks off or talks no HTTP harms nobody but itself.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

fn routes<O: Observed>(observed: Arc<O>, paths: Paths) -> Router {
    let (healthy, ready) = (Arc::clone(&observed), Arc::clone(&observed));
    let metrics = get(move || async move {
        match observed.metrics().await {
            Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
            Err(error) => unavailable(&error),
        }
    });
    let router = Router::new().route("/metrics", metrics);
    if paths == Paths::Metrics {
        return router;
    }
    router
        .route("/healthz", get(move || async move { verdict(healthy.healthy().await) }))
        .route("/readyz", get(move || async move { verdict(ready.ready().await) }))
}

fn verdict(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => "ok\n".into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    struct Fake;

    impl Observed for Fake {
        async fn healthy(&self) -> Result<(), String> {
            Ok(())
        }

        async fn ready(&self) -> Result<(), String> {
            Err("waiting for manifests".to_owned())
        }

        async fn metrics(&self) -> Result<String, String> {
            Ok("# EOF\n".to_owned())
        }
    }

    async fn served(paths: Paths) -> SocketAddr {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(Fake), paths));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_three_paths_answer_and_nothing_else_does() {
        let address = served(Paths::All).await;
        let metrics = ask(address, "GET /metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(metrics.contains(&format!("content-type: {OPENMETRICS}")), "{metrics}");
        let health = ask(address, "GET /healthz").await;
        assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("ok\n"), "{health}");
        let ready = ask(address, "GET /readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503 ") && ready.ends_with("waiting for manifests\n"), "{ready}");
        for refused in ["POST /metrics", "DELETE /healthz", "PUT /readyz"] {
            let answer = ask(address, refused).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{refused}: {answer}");
        }
        for unknown in ["GET /", "GET /v1/peers", "POST /v1/peers/all/clear"] {
            let answer = ask(address, unknown).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{unknown}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_socket_for_metrics_shows_no_health() {
        let address = served(Paths::Metrics).await;
        assert!(ask(address, "GET /metrics").await.starts_with("HTTP/1.1 200 "));
        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test]
    async fn silent_clients_lose_their_connection_and_then_others_have_room() {
        let address = served(Paths::All).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let waited = tokio::time::timeout(HEAD * 40, ask(address, "GET /healthz")).await;
        let answer = waited.expect("the silent clients keep everybody out");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}
