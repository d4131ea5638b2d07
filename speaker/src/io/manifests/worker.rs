//! The thread: reads what has changed, records what it is told, and delivers both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc as channel;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_config::objects::{Object, ObjectRef};
use tokio::sync::mpsc;

use super::catalogue::Catalogue;
use super::due::{DueFiles, QUIET, WRITING};
use super::source::{self, Notice, Source, Stamp};
use super::{FileFault, ManifestBatch, Message, ObjectChange, StatusPatch};
use crate::io::clock::Clock;
use crate::io::state::{PoolState, Record, ServiceState, Store};
use crate::io::tcp::words;
use crate::metrics::errors::{Component, failed};

/// How often everything is looked at, in case the kernel's word was missed (a network file system, a link
/// to a file elsewhere).
const POLL: Duration = Duration::from_secs(15);
/// How often while something is missing.
const POLL_MISSING: Duration = Duration::from_secs(1);
/// How long a missing file or folder holds the first list back.
pub(crate) const ABSENT: Duration = Duration::from_secs(30);
/// Deletions and counts of pools are written so much later: nobody waits for them, while the peers' tasks that pass
/// a deletion on want the processor.
const LATER: Duration = Duration::from_millis(5);
/// Between two attempts to write the state.
const RETRY: Duration = Duration::from_secs(2);

pub(super) struct Worker {
    source: Source,
    store: Store,
    batches: mpsc::Sender<ManifestBatch>,
    clock: Clock,
    catalogue: Catalogue,
    /// What the hub was told, without statuses.
    delivered: BTreeMap<ObjectRef, Object>,
    stamps: BTreeMap<PathBuf, Stamp>,
    due: DueFiles,
    /// Files that had objects and were empty when they were read, and are read once more.
    emptied: BTreeSet<PathBuf>,
    next_scan: Timestamp,
    /// Of the last scan.
    scan_faults: Vec<FileFault>,
    told_faults: Vec<FileFault>,
    /// There may be other faults than those told.
    faults_moved: bool,
    /// Statuses that are not on the disk yet.
    unsaved: BTreeMap<ObjectRef, StatusPatch>,
    /// Deletions that the hub knows of and the disk does not.
    owed: Vec<Record>,
    /// When to write what nobody waits for.
    later: Option<Timestamp>,
    retry_at: Option<Timestamp>,
    write_fault: Option<FileFault>,
    started: Timestamp,
    synced: bool,
    /// The store may know objects that were gone when we started.
    orphans: bool,
}

/// The hub is gone.
struct Gone;

impl Worker {
    pub(super) fn new(
        source: Source,
        store: Store,
        batches: mpsc::Sender<ManifestBatch>,
        clock: Clock,
    ) -> Self {
        let started = clock.now();
        Self {
            source,
            store,
            batches,
            clock,
            catalogue: Catalogue::default(),
            delivered: BTreeMap::new(),
            stamps: BTreeMap::new(),
            due: DueFiles::default(),
            emptied: BTreeSet::new(),
            next_scan: started,
            scan_faults: Vec::new(),
            told_faults: Vec::new(),
            faults_moved: false,
            unsaved: BTreeMap::new(),
            owed: Vec::new(),
            later: None,
            retry_at: None,
            write_fault: None,
            started,
            synced: false,
            orphans: true,
        }
    }

    /// Until it is told to stop or the hub is gone.
    pub(super) fn run(mut self, inbox: &channel::Receiver<Message>) {
        loop {
            if self.turn().is_err() {
                return;
            }
            let wait = self.next().map_or(POLL, |at| at.since(self.clock.now()));
            match inbox.recv_timeout(wait) {
                Ok(first) => {
                    for message in std::iter::once(first).chain(inbox.try_iter()) {
                        if self.take(message).is_err() {
                            // What was to be recorded before is recorded.
                            drop(self.save());
                            return;
                        }
                    }
                }
                Err(channel::RecvTimeoutError::Timeout) => {}
                Err(channel::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn next(&self) -> Option<Timestamp> {
        let waits = !self.unsaved.is_empty() || !self.owed.is_empty();
        let later = if self.is_urgent() { None } else { self.later };
        let saving = self.retry_at.or_else(|| waits.then(|| later.unwrap_or(Timestamp::ZERO)));
        let telling = self.faults_moved.then_some(Timestamp::ZERO);
        [Some(self.next_scan), self.due.next(), saving, telling].into_iter().flatten().min()
    }

    fn take(&mut self, message: Message) -> Result<(), Gone> {
        match message {
            Message::Watch(at, event) => {
                for notice in self.source.notice(&event) {
                    match notice {
                        Notice::File(path, after) => self.due.changed(path, at, after),
                        Notice::Rescan => self.next_scan = self.next_scan.min(at + QUIET),
                    }
                }
            }
            Message::Record(patches) => {
                for patch in patches {
                    let reference = match &patch {
                        StatusPatch::Service { key, .. } => ObjectRef::Service(key.clone()),
                        StatusPatch::Pool { name, .. } => ObjectRef::Pool(name.clone()),
                    };
                    self.unsaved.insert(reference, patch);
                }
                self.later = self.later.or(Some(self.clock.now() + LATER));
            }
            Message::Stop => return Err(Gone),
        }
        Ok(())
    }

    /// Everything that is due now.
    fn turn(&mut self) -> Result<(), Gone> {
        let now = self.clock.now();
        if self.next_scan <= now {
            self.scan(now);
        }
        let (paths, first) = self.due.take(now);
        let mut touched = BTreeSet::new();
        for path in paths {
            touched.extend(self.read(path));
        }
        self.deliver_objects(first.unwrap_or(now), touched)?;
        let now = self.clock.now();
        let due = self.is_urgent() || self.later.is_none_or(|at| at <= now);
        if due && self.retry_at.is_none_or(|at| at <= now) {
            self.save()?;
        }
        Ok(())
    }

    /// A Service is announced when its status is recorded.
    fn is_urgent(&self) -> bool {
        self.unsaved.keys().any(|reference| matches!(reference, ObjectRef::Service(_)))
    }

    /// Compares what there is with what was read.
    fn scan(&mut self, now: Timestamp) {
        let scan = self.source.scan();
        let gone = self.stamps.keys().filter(|path| !scan.files.contains_key(*path));
        // A folder that cannot be looked at is not an empty one.
        let hidden = |path: &&PathBuf| {
            scan.faults.iter().any(|fault| path.starts_with(&fault.path) && **path != fault.path)
        };
        let gone: Vec<PathBuf> = gone.filter(|path| !hidden(path)).cloned().collect();
        let changed = scan.files.iter().filter(|(path, stamp)| self.stamps.get(*path) != Some(*stamp));
        let changed: Vec<PathBuf> = changed.map(|(path, _)| path.clone()).collect();
        for path in gone.into_iter().chain(changed) {
            if !self.due.contains(&path) {
                // On the first scan there is nothing to wait for.
                self.due.changed(path, now, if self.stamps.is_empty() { Duration::ZERO } else { QUIET });
            }
        }
        self.next_scan = now + if scan.faults.is_empty() { POLL } else { POLL_MISSING };
        self.faults_moved |= self.scan_faults != scan.faults;
        self.scan_faults = scan.faults;
    }

    fn read(&mut self, path: PathBuf) -> BTreeSet<ObjectRef> {
        self.faults_moved = true;
        match source::read(&path) {
            // A writer that begins anew empties the file first, and may do so while we read it for an earlier change.
            // What it held is not believed gone before the writer has had its time.
            Some((_, Ok(text)))
                if text.is_empty()
                    && self.catalogue.has_objects(&path)
                    && self.emptied.insert(path.clone()) =>
            {
                self.due.changed(path, self.clock.now(), WRITING);
                BTreeSet::new()
            }
            Some((stamp, text)) => {
                self.emptied.remove(&path);
                let touched = self.catalogue.read(&path, text);
                self.stamps.insert(path, stamp);
                touched
            }
            None => {
                self.emptied.remove(&path);
                self.stamps.remove(&path);
                self.catalogue.remove(&path)
            }
        }
    }

    /// Tells the hub what of `touched` has changed, and of faults.
    fn deliver_objects(&mut self, at: Timestamp, touched: BTreeSet<ObjectRef>) -> Result<(), Gone> {
        if !self.owed.is_empty() && (self.orphans || !touched.is_empty()) {
            // What comes back under a name that was deleted finds nothing of its predecessor.
            self.write_owed();
        }
        let (mut changes, mut records) = (Vec::new(), Vec::new());
        for reference in touched {
            match self.catalogue.get(&reference) {
                Some(object) if self.delivered.get(&reference) == Some(object) => {}
                Some(object) => {
                    let object = object.clone();
                    self.delivered.insert(reference, object.clone());
                    records.extend(self.first_sight(&object));
                    changes.push(ObjectChange::Upsert(self.with_status(object, &records)));
                }
                None if self.delivered.remove(&reference).is_some() => {
                    records.extend(gone(&reference));
                    self.unsaved.remove(&reference);
                    changes.push(ObjectChange::Delete(reference));
                }
                None => {}
            }
        }
        let synced = !self.synced && self.everything_read();
        self.synced |= synced;
        if self.may_forget() {
            self.orphans = false;
            for orphan in self.orphaned() {
                let record = gone(&orphan).filter(|record| !records.contains(record));
                if let Some(record) = record {
                    records.push(record);
                    changes.push(ObjectChange::Delete(orphan));
                }
            }
        }
        self.send(at, changes, synced)?;
        // After the hub was told: a withdrawal does not wait for the disk.
        if records.iter().all(Record::is_deletion) {
            if !records.is_empty() {
                self.owed.extend(records);
                self.later = self.later.or(Some(self.clock.now() + LATER));
            }
        } else if !self.append(&records) {
            self.orphans = true;
        }
        Ok(())
    }

    /// Says whether the deletions are on the disk. Those that are not are found again as orphans.
    fn write_owed(&mut self) -> bool {
        let owed = std::mem::take(&mut self.owed);
        let written = self.append(&owed);
        self.orphans |= !written;
        written
    }

    /// Whether what is not there is gone: nothing hides from us, and nothing waits to be read.
    fn may_forget(&self) -> bool {
        let may_write = self.retry_at.is_none_or(|at| at <= self.clock.now());
        let all_read = self.synced && self.due.next().is_none() && self.scan_faults.is_empty();
        self.orphans && may_write && all_read && !self.catalogue.is_incomplete()
    }

    fn everything_read(&self) -> bool {
        let waited = self.clock.now().since(self.started) >= ABSENT;
        self.due.next().is_none() && (self.scan_faults.is_empty() || waited)
    }

    fn send(&mut self, at: Timestamp, changes: Vec<ObjectChange>, synced: bool) -> Result<(), Gone> {
        let faults = self.new_faults();
        if changes.is_empty() && !synced && faults.is_none() {
            return Ok(());
        }
        let batch = ManifestBatch { at, handed_over: self.clock.now(), changes, synced, faults };
        self.batches.blocking_send(batch).map_err(|_| Gone)
    }

    /// All faults, where they are others than those told.
    fn new_faults(&mut self) -> Option<Vec<FileFault>> {
        if !std::mem::take(&mut self.faults_moved) {
            return None;
        }
        let mut faults = self.catalogue.faults();
        faults.extend(self.scan_faults.iter().chain(&self.write_fault).cloned());
        if faults == self.told_faults {
            return None;
        }
        for fault in faults.iter().filter(|fault| !self.told_faults.contains(fault)) {
            failed(Component::Manifests);
            tracing::warn!("{fault}");
        }
        self.told_faults.clone_from(&faults);
        Some(faults)
    }

    /// What is to be kept of an object that was not known.
    fn first_sight(&self, object: &Object) -> Option<Record> {
        let now = self.clock.unix();
        match object {
            Object::Service(service) if self.store.service(&service.key).is_none() => {
                let created = if service.created == 0 { now } else { service.created };
                let state = ServiceState { created, ..ServiceState::default() };
                Some(Record::Service { key: service.key.clone(), state })
            }
            Object::Pool(pool) if self.store.pool(&pool.name).is_none() => {
                let created = if pool.created == 0 { now } else { pool.created };
                let state = PoolState { created, ..PoolState::default() };
                Some(Record::Pool { name: pool.name.clone(), state })
            }
            _ => None,
        }
    }

    /// The object as the API server would have it. `fresh` ends with what is about to be recorded of it,
    /// where that is its first.
    fn with_status(&self, mut object: Object, fresh: &[Record]) -> Object {
        match &mut object {
            Object::Service(service) => {
                let fresh = match fresh.last() {
                    Some(Record::Service { key, state }) if *key == service.key => Some(state),
                    _ => None,
                };
                if let Some(state) = self.store.service(&service.key).or(fresh) {
                    if service.created == 0 {
                        service.created = state.created;
                    }
                    service.ingress.clone_from(&state.ingress);
                    service.ingress_ours = true;
                    service.conditions.clone_from(&state.conditions);
                }
            }
            Object::Pool(pool) => {
                let fresh = match fresh.last() {
                    Some(Record::Pool { name, state }) if *name == pool.name => Some(state),
                    _ => None,
                };
                if let Some(state) = self.store.pool(&pool.name).or(fresh) {
                    if pool.created == 0 {
                        pool.created = state.created;
                    }
                    pool.conditions.clone_from(&state.conditions);
                }
            }
            _ => {}
        }
        object
    }

    /// What the store knows of objects that have no manifest any more.
    fn orphaned(&self) -> Vec<ObjectRef> {
        let services = self.store.services().map(|key| ObjectRef::Service(key.clone()));
        let pools = self.store.pools().map(|name| ObjectRef::Pool(name.clone()));
        services.chain(pools).filter(|reference| !self.delivered.contains_key(reference)).collect()
    }

    /// Records the deletions and statuses that wait, and delivers their objects again.
    fn save(&mut self) -> Result<(), Gone> {
        self.later = None;
        if !self.write_owed() {
            return Ok(());
        }
        let mut records = Vec::new();
        let mut echoed = Vec::new();
        self.unsaved.retain(|reference, _| self.delivered.contains_key(reference));
        for (reference, patch) in &self.unsaved {
            echoed.push(reference.clone());
            records.extend(self.status_record(patch));
        }
        if echoed.is_empty() || !self.append(&records) {
            return Ok(());
        }
        self.unsaved.clear();
        let objects = echoed.into_iter().filter_map(|reference| self.delivered.get(&reference));
        let changes = objects.map(|object| ObjectChange::Upsert(self.with_status(object.clone(), &[])));
        let changes = changes.collect();
        self.send(self.clock.now(), changes, false)
    }

    /// `None` where that is recorded already.
    fn status_record(&self, patch: &StatusPatch) -> Option<Record> {
        match patch {
            StatusPatch::Service { key, ingress, conditions } => {
                let old = self.store.service(key);
                let created = old.map_or_else(|| self.clock.unix(), |old| old.created);
                let (ingress, conditions) = (ingress.clone(), conditions.clone());
                let state = ServiceState { created, ingress, conditions };
                (old != Some(&state)).then(|| Record::Service { key: key.clone(), state })
            }
            StatusPatch::Pool { name, conditions } => {
                let old = self.store.pool(name);
                let created = old.map_or_else(|| self.clock.unix(), |old| old.created);
                let state = PoolState { created, conditions: conditions.clone() };
                (old != Some(&state)).then(|| Record::Pool { name: name.clone(), state })
            }
        }
    }

    /// Says whether the records are on the disk. A failure is a fault until a write succeeds.
    fn append(&mut self, records: &[Record]) -> bool {
        match self.store.append(records) {
            Ok(()) => {
                if !records.is_empty() {
                    self.faults_moved |= self.write_fault.take().is_some();
                    self.retry_at = None;
                }
                true
            }
            Err(error) => {
                let text = format!("writing failed, nothing new is announced: {}", words(&error));
                self.write_fault = Some(FileFault { path: self.store.path(), text });
                self.faults_moved = true;
                self.retry_at = Some(self.clock.now() + RETRY);
                false
            }
        }
    }
}

fn gone(reference: &ObjectRef) -> Option<Record> {
    match reference {
        ObjectRef::Service(key) => Some(Record::ServiceGone(key.clone())),
        ObjectRef::Pool(name) => Some(Record::PoolGone(name.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
