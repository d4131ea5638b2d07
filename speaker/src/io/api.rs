//! The API: HTTP with JSON over a unix socket, for the command line.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bgp_proto::types::{Family, FamilySet, Prefix};
use serde::Deserialize;
use speaker_core::dump::Form;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::question::{Asked, Question, Refused, Reply, RibFilter, Table};

/// Where questions go.
type Hub = mpsc::Sender<Asked>;

/// A bound socket, removed when dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: RemoveOnDrop,
}

#[derive(Debug)]
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Whoever removed it before us wanted the same.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Binds the API's socket, readable by its owner's group alone. A socket that nobody listens on is a
/// leftover and is replaced; one that answers belongs to another daemon.
///
/// # Errors
/// The folder cannot be made, the path is taken by a daemon or by a file that is no socket.
pub fn bind(path: &Path) -> io::Result<Socket> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        use std::os::unix::fs::FileTypeExt as _;
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(Socket { listener, file: RemoveOnDrop(path.to_owned()) })
}

/// Answers until the task is ended.
///
/// # Errors
/// The socket fails.
pub async fn serve(socket: Socket, hub: Hub) -> io::Result<()> {
    let Socket { listener, file } = socket;
    let served = axum::serve(listener, routes(hub)).await;
    drop(file);
    served
}

fn routes(hub: Hub) -> Router {
    Router::new()
        .route("/v1/rib/{table}", get(rib))
        .route("/v1/peers", get(|hub: State<Hub>| ask(hub.0, Question::Peers)))
        .route("/v1/peers/{name}", get(peer))
        .route("/v1/peers/{name}/clear", post(clear))
        .route("/v1/peers/{name}/shutdown", post(shutdown))
        .route("/v1/peers/{name}/no-shutdown", post(no_shutdown))
        .route("/v1/pools", get(|hub: State<Hub>| ask(hub.0, Question::Pools)))
        .route("/v1/services", get(|hub: State<Hub>| ask(hub.0, Question::Services)))
        .route("/v1/explain", get(explain))
        .route("/v1/drain", post(drain))
        .route("/v1/undrain", post(|hub: State<Hub>| ask(hub.0, Question::Undrain)))
        .route("/v1/version", get(|hub: State<Hub>| ask(hub.0, Question::Version)))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "no such path in the API of this version"))
        .with_state(hub)
}

#[derive(Debug, Deserialize)]
struct RibParameters {
    peer: Option<String>,
    family: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    longer: bool,
    format: Option<String>,
}

async fn rib(
    State(hub): State<Hub>,
    UrlPath(table): UrlPath<String>,
    Query(parameters): Query<RibParameters>,
) -> Response {
    let form = match parameters.format.as_deref() {
        None | Some("json") => None,
        Some("mrt") => Some(Form::Table),
        Some("mrt-updates") => Some(Form::Updates),
        Some(other) => {
            let error = format!("format={other:?}: json, mrt or mrt-updates");
            return refuse(StatusCode::BAD_REQUEST, &error);
        }
    };
    let filter = match filter(parameters) {
        Ok(filter) => filter,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
    };
    let question = match (table.as_str(), form) {
        ("advertised", None) => Question::Advertised(filter),
        ("local", None) => Question::Local(filter),
        ("received", None) => Question::Received(filter),
        ("advertised", Some(form)) => Question::Mrt(Table::Advertised, form, filter),
        ("local", Some(form)) => Question::Mrt(Table::Local, form, filter),
        ("received", Some(form)) => Question::Mrt(Table::Received, form, filter),
        (other, _) => {
            return refuse(
                StatusCode::NOT_FOUND,
                &format!("no table {other:?}: advertised, local or received"),
            );
        }
    };
    ask(hub, question).await
}

fn filter(parameters: RibParameters) -> Result<RibFilter, String> {
    let RibParameters { peer, family, prefix, longer, .. } = parameters;
    let family = family.map(|text| text.parse::<Family>()).transpose()?;
    let prefix = prefix.map(|text| text.parse::<Prefix>()).transpose().map_err(|error| error.to_string())?;
    Ok(RibFilter { peer, family, prefix, longer })
}

async fn peer(State(hub): State<Hub>, UrlPath(name): UrlPath<String>) -> Response {
    ask(hub, Question::Peer(name)).await
}

#[derive(Debug, Deserialize)]
struct ClearParameters {
    soft: Option<String>,
}

async fn clear(
    State(hub): State<Hub>,
    UrlPath(peer): UrlPath<String>,
    Query(parameters): Query<ClearParameters>,
) -> Response {
    let all = FamilySet::from_iter(Family::ALL);
    let none = FamilySet::EMPTY;
    let (inbound, outbound) = match parameters.soft.as_deref() {
        None => return ask(hub, Question::Reset(peer)).await,
        Some("in") => (all, none),
        Some("out") => (none, all),
        Some("both") => (all, all),
        Some(other) => return refuse(StatusCode::BAD_REQUEST, &format!("soft={other:?}: in, out or both")),
    };
    ask(hub, Question::Soft { peer, inbound, outbound }).await
}

#[derive(Debug, Deserialize)]
struct ShutdownParameters {
    #[serde(default)]
    message: String,
}

async fn shutdown(
    State(hub): State<Hub>,
    UrlPath(peer): UrlPath<String>,
    Query(ShutdownParameters { message }): Query<ShutdownParameters>,
) -> Response {
    ask(hub, Question::Shutdown { peer, message }).await
}

async fn no_shutdown(State(hub): State<Hub>, UrlPath(peer): UrlPath<String>) -> Response {
    ask(hub, Question::NoShutdown(peer)).await
}

#[derive(Debug, Deserialize)]
struct DrainParameters {
    seconds: Option<u32>,
}

async fn drain(
    State(hub): State<Hub>,
    Query(DrainParameters { seconds }): Query<DrainParameters>,
) -> Response {
    ask(hub, Question::Drain(seconds.map(|seconds| std::time::Duration::from_secs(seconds.into())))).await
}

#[derive(Debug, Deserialize)]
struct ExplainParameters {
    target: String,
}

async fn explain(State(hub): State<Hub>, Query(parameters): Query<ExplainParameters>) -> Response {
    ask(hub, Question::Explain(parameters.target)).await
}

async fn ask(hub: Hub, question: Question) -> Response {
    let (reply, answer) = oneshot::channel();
    if hub.send(Asked { question, reply }).await.is_err() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
    }
    match answer.await {
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping"),
        Ok(Err(Refused::NotFound(text))) => refuse(StatusCode::NOT_FOUND, &text),
        Ok(Err(Refused::Invalid(text))) => refuse(StatusCode::BAD_REQUEST, &text),
        Ok(Ok(Reply::File(octets))) => {
            (StatusCode::OK, [(header::CONTENT_TYPE, "application/octet-stream")], octets).into_response()
        }
        Ok(Ok(Reply::Json(value))) => match serde_json::to_vec(&value) {
            Ok(body) => json(StatusCode::OK, body),
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
    }
}

fn refuse(status: StatusCode, error: &str) -> Response {
    json(status, serde_json::json!({ "error": error }).to_string().into_bytes())
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
