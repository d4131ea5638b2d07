//! The kernel's routes and rules, brought in line with what is wanted and kept there.
//!
//! ```text
//! hub ── Change ──► task: plan ─► apply ─► KernelReport ──► hub
//!                    ▲ dump, where what is known may be wrong: at the start, when the monitor tells of others'
//!                    │ doings or has lost something, after a failure, and every minute
//! rtnetlink monitor ─┘
//! ```

mod apply;
mod capability;
mod dump;
mod lock;
mod monitor;
mod task;

use std::io;

use rtnetlink::Handle;
use rtnetlink::sys::AsyncSocket as _;
use speaker_core::datapath::{self, Change, KernelOp, KernelState};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::clock::Clock;
pub use capability::may_change_network;
pub(crate) use capability::{MISSING, MISSING_RAW, may_open_raw_sockets};
pub use lock::Holder;
pub use speaker_core::datapath::KernelReport;
use task::Task;

/// The task that looks after the kernel.
#[derive(Debug)]
pub struct KernelHandle {
    changes: mpsc::UnboundedSender<Change>,
    stop: mpsc::Sender<Stop>,
    task: JoinHandle<()>,
}

/// How the task is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// What is in the kernel stays.
    Keep,
    /// What this process put there goes.
    Remove,
}

/// Starts the task. It reads the kernel and reports at once, and changes nothing before it is told what is wanted.
///
/// # Errors
/// The kernel gives no netlink socket.
pub fn spawn(reports: mpsc::Sender<KernelReport>, holder: Holder, clock: Clock) -> io::Result<KernelHandle> {
    let kernel = Kernel::open()?;
    let monitor = monitor::Monitor::open(kernel.port)?;
    // The hub never waits for the kernel.
    let (changes, changed) = mpsc::unbounded_channel();
    let (stop, stopped) = mpsc::channel(1);
    let task = Task::new(kernel, monitor, reports, holder, clock);
    Ok(KernelHandle { changes, stop, task: tokio::spawn(task.run(changed, stopped)) })
}

impl KernelHandle {
    /// What is wanted from now on, or no longer.
    pub fn want(&self, change: Change) {
        // A task that has ended has said so.
        let _ = self.changes.send(change);
    }

    /// Ends the task; `remove` takes out of the kernel what it has put there.
    pub async fn stop(self, remove: bool) {
        // A task that has ended by itself has nothing left to do.
        let _ = self.stop.send(if remove { Stop::Remove } else { Stop::Keep }).await;
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the kernel's task ended badly");
        }
    }
}

/// A connection for questions and changes.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    handle: Handle,
    /// By which the monitor knows what was done over this connection (nlmsg_pid).
    port: u32,
}

impl Kernel {
    /// Opens it, and the task that serves it until the last clone is gone; call inside the runtime.
    pub(crate) fn open() -> io::Result<Self> {
        let (mut connection, handle, _) = rtnetlink::new_connection()?;
        let port = connection.socket_mut().socket_mut().bind_auto()?.port_number();
        tokio::spawn(connection);
        Ok(Self { handle, port })
    }

    /// Reads rules, and routes of all tables.
    ///
    /// # Errors
    /// The kernel's words.
    pub(crate) async fn read(&self) -> Result<KernelState, String> {
        dump::read(&self.handle).await.map_err(|error| format!("reading the kernel's routes: {error}"))
    }
}

/// `speaker run --cleanup`: removes everything that bears our mark, and says what.
///
/// # Errors
/// Another speaker runs here, a right is missing, or the kernel's words.
pub async fn cleanup() -> Result<Vec<String>, String> {
    let kernel = Kernel::open().map_err(|error| format!("no netlink socket: {error}"))?;
    let ops = datapath::cleanup(kernel.read().await?);
    let learned = super::learn::found().await?;
    if ops.is_empty() && learned.is_empty() {
        return Ok(Vec::new());
    }
    if !may_change_network() {
        return Err(capability::MISSING.to_owned());
    }
    let _lock =
        lock::take().map_err(|error| format!("{error}; stop it first: it would put back what goes"))?;
    for op in &ops {
        apply::apply(&kernel.handle, op).await.map_err(|error| format!("{}: {error}", in_words(op)))?;
    }
    super::learn::remove().await?;
    let left = datapath::cleanup(kernel.read().await?);
    if left.is_empty() {
        let routes = learned.iter().map(|one| {
            let (prefix, metric) = (one.prefix, one.metric);
            format!("route delete {prefix} table main metric {metric} protocol {}", datapath::PROTOCOL)
        });
        return Ok(ops.iter().map(in_words).chain(routes).collect());
    }
    Err(format!("still there: {}", left.iter().map(in_words).collect::<Vec<_>>().join(", ")))
}

/// What stands in the way of `datapath` on this host, in words.
pub async fn obstacles() -> Vec<String> {
    let mut found = Vec::new();
    if !may_change_network() {
        found.push(capability::MISSING.to_owned());
    }
    if let Err(why) = lock::take() {
        found.push(why);
    }
    let state = match Kernel::open() {
        Ok(kernel) => kernel.read().await,
        Err(error) => Err(format!("no netlink socket: {error}")),
    };
    match state {
        Ok(state) => found.extend(datapath::obstacles(state)),
        Err(error) => found.push(error),
    }
    found
}

/// An operation as the `ip` command would have it.
fn in_words(op: &KernelOp) -> String {
    use speaker_core::datapath::{PROTOCOL, RouteKind, TABLE};
    let word = |kind: RouteKind| match kind {
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Local => "local",
        RouteKind::Unicast | RouteKind::Other => "unicast",
    };
    let family = |family: bgp_proto::types::Family| match family {
        bgp_proto::types::Family::Ipv4Unicast => "-4",
        bgp_proto::types::Family::Ipv6Unicast => "-6",
    };
    match op {
        KernelOp::AddRoute(route) | KernelOp::ReplaceRoute(route) => {
            let verb = if matches!(op, KernelOp::AddRoute(_)) { "add" } else { "replace" };
            let (kind, key) = (word(route.kind), route.key);
            format!("route {verb} {kind} {} table {} protocol {PROTOCOL}", key.prefix, key.table)
        }
        KernelOp::DeleteRoute(key) => {
            format!("route delete {} table {} protocol {PROTOCOL}", key.prefix, key.table)
        }
        KernelOp::AddRule { family: which, preference } => {
            format!("{} rule add not iif lo lookup {TABLE} preference {preference}", family(*which))
        }
        KernelOp::DeleteRule { family: which, preference } => {
            format!("{} rule delete lookup {TABLE} preference {preference}", family(*which))
        }
    }
}
