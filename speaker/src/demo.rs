//! `speaker demo`: a router and a speaker in one process, with real BGP between them over loopback.
//!
//! Both are the daemon itself. The speaker reads a folder of manifests that the demo writes; the router
//! only listens and shows what it was told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::app::{App, AppSpec};
use crate::cli::{out, rib};
use crate::hub::Message;
use crate::load;
use crate::question::{Asked, Question, Reply, RibFilter};

const POOL: &str = include_str!("demo/pool.yaml");
const SERVICE: &str = include_str!("demo/service.yaml");
const ROUTER: &str = include_str!("demo/router.yaml");
const SPEAKER: &str = include_str!("demo/speaker.yaml");

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs the demo; every step is checked at the router.
///
/// # Errors
/// A step did not happen.
pub async fn run() -> anyhow::Result<()> {
    let folder = Folder::create()?;
    let manifests = folder.path.join("manifests");
    std::fs::create_dir(&manifests)?;

    say("A router (AS 64500) and a speaker (AS 64501), BGP over loopback.
")?;
    let router = start(ROUTER, &folder.path, "router").await?;
    let port = bound(&router).await?.port();
    let speaker = start(&SPEAKER.replace("ROUTER_PORT", &port.to_string()), &folder.path, "speaker").await?;
    let outcome = story(&router, &speaker, &manifests).await;
    speaker.stop().await;
    router.stop().await;
    outcome?;
    say("Done: announced, withdrawn, and the session closed with a Cease.")?;
    say("Next: `speaker run --config speaker.yaml`; README.md has a ten-minute guide with FRR.")
}

async fn story(router: &App, speaker: &App, manifests: &Path) -> anyhow::Result<()> {
    say("1. The session comes up.")?;
    until(speaker, Question::Peers, "the session is established", |peers| {
        peers.as_array().is_some_and(|peers| peers.iter().any(|peer| peer["state"] == "Established"))
    })
    .await?;

    say("2. A pool, 203.0.113.0/24. Its prefix waits for the first address to be given out.")?;
    std::fs::write(manifests.join("pool.yaml"), POOL)?;
    until(speaker, Question::Pools, "the pool is known", |pools| {
        pools.as_array().is_some_and(|p| !p.is_empty())
    })
    .await?;
    expect(router, &[]).await?;

    say("3. A Service of type LoadBalancer with a ready endpoint on this node.")?;
    std::fs::write(manifests.join("service.yaml"), SERVICE)?;
    say("   It gets 203.0.113.1. The router is told the pool's prefix, and, since the Service's")?;
    say("   traffic policy is Local, the address itself:\n")?;
    expect(router, &["203.0.113.0/24", "203.0.113.1/32"]).await?;
    show(router).await?;

    say("4. The Service is deleted. Both routes are withdrawn.")?;
    let deleted = Instant::now();
    std::fs::remove_file(manifests.join("service.yaml"))?;
    expect(router, &[]).await?;
    say(&format!("   Gone from the router {} ms after the file.\n", deleted.elapsed().as_millis()))
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(out(&format!("{text}\n"))?)
}

async fn start(text: &str, folder: &Path, name: &str) -> anyhow::Result<App> {
    let loaded = load::parse(text.to_owned(), &format!("{name}.yaml"), folder)?;
    App::start(AppSpec { loaded, file: None, record: None, metrics: None, kernel: false }).await
}

/// Where the router listens.
async fn bound(router: &App) -> anyhow::Result<SocketAddr> {
    let mut listening = router.listening();
    let wait = listening.wait_for(|all| all.iter().any(|status| status.bound.is_ok()));
    let all = tokio::time::timeout(PATIENCE, wait).await.context("the router does not listen")??;
    all.iter().find_map(|status| status.bound.clone().ok()).context("the router does not listen")
}

/// Asks until the answer is right.
async fn until(
    app: &App,
    question: Question,
    what: &str,
    right: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask(&app.hub(), question.clone()).await?;
        if right(&answer) {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain until {what}; last seen: {answer}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the router has exactly these prefixes.
async fn expect(router: &App, prefixes: &[&str]) -> anyhow::Result<()> {
    let right = |rows: &Value| {
        let seen: Option<Vec<&str>> =
            rows.as_array().map(|rows| rows.iter().filter_map(|row| row["prefix"].as_str()).collect());
        seen.as_deref() == Some(prefixes)
    };
    let what = format!("the router has [{}]", prefixes.join(", "));
    until(router, Question::Received(RibFilter::default()), &what, right).await.map(drop)
}

async fn show(router: &App) -> anyhow::Result<()> {
    let answer = ask(&router.hub(), Question::Received(RibFilter::default())).await?;
    let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    for line in rib::rib("received", rows, false).lines() {
        say(&format!("   {line}"))?;
    }
    say("")
}

async fn ask(hub: &mpsc::Sender<Message>, question: Question) -> anyhow::Result<Value> {
    let (reply, answer) = oneshot::channel();
    hub.send(Message::Asked(Asked { question, reply })).await.context("the daemon has stopped")?;
    match answer.await.context("the daemon has stopped")? {
        Ok(Reply::Json(value)) => Ok(serde_json::to_value(&value)?),
        Ok(Reply::File(_)) => bail!("the answer is a file"),
        Err(refused) => bail!("refused: {refused:?}"),
    }
}

/// A folder of our own, removed at the end.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("speaker-demo-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "cannot remove the demo's folder");
        }
    }
}
