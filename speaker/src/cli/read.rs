//! Commands that ask the daemon.

use std::io::IsTerminal as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use speaker_core::export::{AdvertisedRoute, LocalRoute};
use speaker_core::received::ReceivedRoute;
use speaker_core::view::{Explanation, PeerDetail, PeerSummary, PoolView, ServiceView, VersionView};

use super::args::{
    Clear, Daemon, Direction, Drain, Explain, Format, OnePeer, Peers, Reader, Rib, RibFormat, RibQuery,
    Shutdown,
};
use super::client::{self, Answer, escape};
use super::{Exit, complain, out, sessions, show};

/// Prints an answer in the format asked for; `table` is called for the two that are tables.
fn print<T: Serialize>(value: &T, format: Format, table: impl FnOnce(bool) -> String) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => table(false),
        Format::Wide => table(true),
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Yaml => serde_yaml::to_string(value)?,
    };
    Ok(out(&text)?)
}

/// Asks, prints, and says how it went.
async fn read<T: DeserializeOwned + Serialize>(
    reader: &Reader,
    path: &str,
    table: impl FnOnce(&T, bool) -> String,
) -> anyhow::Result<Exit> {
    match client::get::<T>(reader.daemon.socket(), path).await? {
        Answer::NotFound(text) => Ok(not_found(&text)),
        Answer::Ok(value) => {
            print(&value, reader.output(), |wide| table(&value, wide))?;
            Ok(Exit::Done)
        }
    }
}

fn not_found(text: &str) -> Exit {
    complain(&format_args!("speaker: {text}"));
    Exit::NotFound
}

/// `rib`.
pub(crate) async fn rib(rib: Rib) -> anyhow::Result<Exit> {
    let (name, query) = match rib {
        Rib::Advertised(query) => ("advertised", query),
        Rib::Local(query) => ("local", query),
        Rib::Received(query) => ("received", query),
    };
    let mut path = rib_path(name, &query);
    let socket = query.daemon.socket();
    let Some(format) = query.output().plain() else {
        let updates = query.output() == RibFormat::MrtUpdates;
        path.push_str(if updates { "&format=mrt-updates" } else { "&format=mrt" });
        return file(socket, &path).await;
    };
    let narrow = query.prefix.is_some();
    match name {
        "advertised" => routes::<AdvertisedRoute>(name, socket, &path, format, narrow).await,
        "local" => routes::<LocalRoute>(name, socket, &path, format, narrow).await,
        _ => routes::<ReceivedRoute>(name, socket, &path, format, narrow).await,
    }
}

/// A table, its keys in the order of the design.
async fn routes<T: DeserializeOwned + Serialize>(
    name: &str,
    socket: &Path,
    path: &str,
    format: Format,
    narrow: bool,
) -> anyhow::Result<Exit> {
    match client::get::<Vec<T>>(socket, path).await? {
        Answer::NotFound(text) => Ok(not_found(&text)),
        Answer::Ok(rows) => {
            let cells: Vec<Value> = rows.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
            print(&rows, format, |wide| super::rib::rib(name, &cells, wide))?;
            if name != "received" {
                note_kept(socket, format).await?;
            }
            Ok(if narrow && rows.is_empty() { Exit::NotFound } else { Exit::Done })
        }
    }
}

/// Behind a table that may be one of another process.
async fn note_kept(socket: &Path, format: Format) -> anyhow::Result<()> {
    if matches!(format, Format::Table | Format::Wide)
        && let Answer::Ok(version) = client::get::<VersionView>(socket, "/v1/version").await?
        && let Some(kept) = version.kept
    {
        out(&format!("{kept}\n"))?;
    }
    Ok(())
}

/// A file of octets, to standard output.
async fn file(socket: &Path, path: &str) -> anyhow::Result<Exit> {
    if std::io::stdout().is_terminal() {
        anyhow::bail!(
            "MRT is a binary format, which a terminal cannot show; write it to a file: -o mrt > table.mrt"
        );
    }
    match client::get_file(socket, path).await? {
        Answer::NotFound(text) => Ok(not_found(&text)),
        Answer::Ok(octets) => {
            super::out_octets(&octets)?;
            Ok(Exit::Done)
        }
    }
}

fn rib_path(table: &str, query: &RibQuery) -> String {
    let mut parameters = Vec::new();
    if let Some(peer) = &query.peer {
        parameters.push(format!("peer={}", escape(peer)));
    }
    if let Some(family) = query.family {
        parameters.push(format!("family={family}"));
    }
    if let Some(prefix) = query.prefix {
        parameters.push(format!("prefix={}", escape(&prefix.to_string())));
    }
    if query.longer.is_some() {
        parameters.push("longer=true".to_owned());
    }
    format!("/v1/rib/{table}?{}", parameters.join("&"))
}

/// `peers`.
pub(crate) async fn peers(peers: Peers) -> anyhow::Result<Exit> {
    let Peers { name, reader } = peers;
    if let Some(name) = name {
        let path = format!("/v1/peers/{}", escape(&name));
        return read::<PeerDetail>(&reader, &path, |peer, _| sessions::peer(peer)).await;
    }
    let version = match client::get::<VersionView>(reader.daemon.socket(), "/v1/version").await? {
        Answer::Ok(version) => version,
        Answer::NotFound(text) => return Ok(not_found(&text)),
    };
    read::<Vec<PeerSummary>>(&reader, "/v1/peers", |peers, wide| sessions::peers(peers, &version, wide)).await
}

/// `pools`.
pub(crate) async fn pools(reader: Reader) -> anyhow::Result<Exit> {
    read::<Vec<PoolView>>(&reader, "/v1/pools", |pools, wide| show::pools(pools, wide)).await
}

/// `services`.
pub(crate) async fn services(reader: Reader) -> anyhow::Result<Exit> {
    read::<Vec<ServiceView>>(&reader, "/v1/services", |services, wide| show::services(services, wide)).await
}

/// `version`: ours first, since the daemon may not run.
pub(crate) async fn version(reader: Reader) -> anyhow::Result<Exit> {
    if matches!(reader.output(), Format::Table | Format::Wide) {
        out(&format!("speaker {}\n", env!("CARGO_PKG_VERSION")))?;
        if !reader.daemon.socket().exists() {
            out(&format!("daemon  none on {}\n", reader.daemon.socket().display()))?;
            return Ok(Exit::Done);
        }
    }
    read::<VersionView>(&reader, "/v1/version", |version, _| show::version(version)).await
}

/// `explain`: held back is exit 4, so that a script can wait for a route.
pub(crate) async fn explain(explain: Explain) -> anyhow::Result<Exit> {
    let Explain { target, reader } = explain;
    let path = format!("/v1/explain?target={}", escape(&target));
    match client::get::<Explanation>(reader.daemon.socket(), &path).await? {
        Answer::NotFound(text) => Ok(not_found(&text)),
        Answer::Ok(explanation) => {
            print(&explanation, reader.output(), |_| show::explanation(&explanation))?;
            // What nobody here would announce is asked for as a way to go.
            let used = !explanation.concerns_announcing() && explanation.learned.iter().any(|row| row.best);
            Ok(if explanation.announced || used { Exit::Done } else { Exit::HeldBack })
        }
    }
}

/// Tells the daemon to do something and prints what it did.
async fn tell(socket: &Path, path: &str) -> anyhow::Result<Exit> {
    match client::post::<String>(socket, path).await? {
        Answer::NotFound(text) => Ok(not_found(&text)),
        Answer::Ok(done) => {
            out(&format!("{done}\n"))?;
            Ok(Exit::Done)
        }
    }
}

/// `clear`.
pub(crate) async fn clear(clear: Clear) -> anyhow::Result<Exit> {
    let query = match (clear.soft, clear.direction) {
        (None, _) => "",
        (Some(_), None) => "?soft=both",
        (Some(_), Some(Direction::In)) => "?soft=in",
        (Some(_), Some(Direction::Out)) => "?soft=out",
    };
    tell(clear.daemon.socket(), &format!("/v1/peers/{}/clear{query}", escape(&clear.peer))).await
}

/// `shutdown`.
pub(crate) async fn shutdown(shutdown: Shutdown) -> anyhow::Result<Exit> {
    let message = shutdown.message.join(" ");
    let path = format!("/v1/peers/{}/shutdown?message={}", escape(&shutdown.peer), escape(&message));
    tell(shutdown.daemon.socket(), &path).await
}

/// `no-shutdown`.
pub(crate) async fn no_shutdown(peer: OnePeer) -> anyhow::Result<Exit> {
    tell(peer.daemon.socket(), &format!("/v1/peers/{}/no-shutdown", escape(&peer.peer))).await
}

/// `drain`.
pub(crate) async fn drain(drain: Drain) -> anyhow::Result<Exit> {
    let query = drain.lasts.map(|seconds| format!("?seconds={seconds}")).unwrap_or_default();
    tell(drain.daemon.socket(), &format!("/v1/drain{query}")).await
}

/// `undrain`.
pub(crate) async fn undrain(daemon: Daemon) -> anyhow::Result<Exit> {
    tell(daemon.socket(), "/v1/undrain").await
}
