//! What this node announces, kept for the next process; and what the one before has left, for as long as no source tells
//! anything newer (ADR 12).

use std::sync::Arc;
use std::time::Duration;

use speaker_config::objects::UnixSeconds;
use speaker_core::kept::NotKept;
use speaker_core::rfc3339;
use speaker_core::world::Event;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::{Hub, unix_now};
use crate::io::kept::Shelf;

/// How long changes are gathered before they are kept.
const GATHER: Duration = Duration::from_secs(1);

/// How long the disk is left alone for each route that was written: a set of 10,000 is written every 10 s at most.
const REST: Duration = Duration::from_millis(1);

/// How often what is kept is marked as still right.
const TOUCH: Duration = Duration::from_secs(60);

/// How long readiness is waited for before it is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the set is, and what it is for.
#[derive(Debug)]
pub struct KeepSpec {
    /// Its place; absent where nothing is kept.
    pub(crate) shelf: Option<Shelf>,
    /// How long after the end of the process before this one its set counts.
    pub(crate) longest: Duration,
}

/// What is known of it.
#[derive(Debug)]
pub(super) struct Keeping {
    shelf: Option<Arc<Shelf>>,
    /// When the set of the process before this one is to be announced.
    open_at: Option<Instant>,
    /// When what has changed is to be kept.
    write_at: Option<Instant>,
    touch_at: Option<Instant>,
    /// The next write is not before this.
    rests_until: Instant,
    writing: Option<JoinHandle<()>>,
    /// When the set on the disk was made, as far as this process made it.
    written: Option<UnixSeconds>,
    /// Why nothing is kept, as it was said last.
    refused: Option<NotKept>,
}

impl Keeping {
    pub(super) fn new(spec: KeepSpec) -> Self {
        let KeepSpec { shelf, longest } = spec;
        let patience = shelf.as_ref().map_or(Ok(None), |shelf| shelf.look(longest));
        let patience = patience.unwrap_or_else(|why| {
            tracing::info!("the set that was announced last does not count: {why}");
            None
        });
        let now = Instant::now();
        Self {
            open_at: patience.map(|patience| now + patience),
            touch_at: shelf.is_some().then(|| now + TOUCH),
            shelf: shelf.map(Arc::new),
            write_at: None,
            rests_until: now,
            writing: None,
            written: None,
            refused: None,
        }
    }

    /// How long until there is something to do.
    pub(super) fn wait(&self) -> Option<Duration> {
        let next = [self.open_at, self.write_at, self.touch_at].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// When the set on the disk was made.
    pub(super) fn written(&self) -> Option<UnixSeconds> {
        self.written
    }
}

/// Whether it is time; then it is over.
fn due(at: &mut Option<Instant>, now: Instant) -> bool {
    at.take_if(|at| *at <= now).is_some()
}

impl Hub {
    /// Announces what the process before this one has left, once it is time.
    pub(super) fn open_kept(&mut self) {
        if self.world.waiting().is_empty() {
            self.keeping.open_at = None;
        }
        let now = Instant::now();
        if !due(&mut self.keeping.open_at, now) {
            return;
        }
        let Some(shelf) = self.keeping.shelf.clone() else { return };
        if !self.world.readiness().is_open() {
            self.keeping.open_at = Some(now + AGAIN);
            return;
        }
        let set = match shelf.read() {
            Ok(set) => set,
            Err(why) => {
                tracing::error!("the set that was announced last cannot be used: {why}");
                return;
            }
        };
        let waiting = self.world.waiting().iter().cloned().collect::<Vec<_>>().join(", ");
        tracing::warn!(
            routes = set.routes.len(),
            "the API server has not answered yet for {waiting}: announcing the set kept at {}",
            rfc3339(set.written),
        );
        if self.recorder.is_some() {
            self.record(&Event::Kept { set: Box::new(set.clone()) });
        }
        self.world.open_kept(set);
        self.peers.configuration_changed();
    }

    /// Keeps what has changed, a while later.
    pub(super) fn keep(&mut self) {
        let Some(shelf) = self.keeping.shelf.clone() else { return };
        let now = Instant::now();
        if self.world.take_keep_stale() {
            let at = (now + GATHER).max(self.keeping.rests_until);
            self.keeping.write_at.get_or_insert(at);
        }
        if due(&mut self.keeping.touch_at, now) {
            // Also while nothing is heard of the API server: it is what this node announces.
            if self.world.is_open() {
                shelf.touch();
            }
            self.keeping.touch_at = Some(now + TOUCH);
        }
        if !due(&mut self.keeping.write_at, now) {
            return;
        }
        if self.keeping.writing.as_ref().is_some_and(|task| !task.is_finished()) {
            self.keeping.write_at = Some(now + GATHER);
            return;
        }
        let routes = self.world.announcer().rib().routes.len();
        self.keeping.rests_until = now + REST * u32::try_from(routes).unwrap_or(u32::MAX);
        self.keeping.writing = Some(self.put(shelf));
    }

    fn put(&mut self, shelf: Arc<Shelf>) -> JoinHandle<()> {
        let now = unix_now();
        let snapshot = self.world.to_keep();
        let refused = snapshot.as_ref().err().copied();
        if let Some(why) = refused.filter(|_| self.keeping.refused != refused) {
            tracing::warn!("what is announced is not kept for a restart without the API server: {why}");
        }
        self.keeping.refused = refused;
        self.keeping.written = refused.is_none().then_some(now);
        spawn_blocking(move || {
            let done = match snapshot {
                Ok(snapshot) => shelf.put(snapshot, now),
                Err(_) => shelf.forget(),
            };
            if let Err(error) = done {
                tracing::warn!("{}: {error}; ipam.stateDir says where it is", shelf.path().display());
            }
        })
    }

    /// The last word: what goes on being announced stays kept, and nothing is where this node has stopped for good.
    pub(super) async fn finish_keeping(&mut self, stopped: bool) {
        let Some(shelf) = self.keeping.shelf.clone() else { return };
        if let Some(task) = self.keeping.writing.take() {
            // It has said for itself what went wrong.
            let _ = task.await;
        }
        if stopped {
            if let Err(error) = shelf.forget() {
                tracing::warn!("{}: {error}", shelf.path().display());
            }
        } else if self.world.is_complete() {
            let _ = self.put(shelf).await;
        } else if self.world.is_open() {
            shelf.touch();
        }
    }
}
