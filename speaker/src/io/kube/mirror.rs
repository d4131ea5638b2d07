//! What the hub was told of one kind, so that a list yields what changed since, deletions among it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value as Json;
use speaker_core::ipam::Held;
use tokio::time::Instant;

use super::kind::{Kind, Name};

/// How long the deletion of a custom resource waits: removing a CustomResourceDefinition deletes its objects
/// first, and those deletions do not count (design §5, "A removed CRD freezes its state").
pub(super) const HOLD: Duration = Duration::from_millis(250);

/// What a write needs to be refused where the object has changed since.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Handle {
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// `metadata.resourceVersion`.
    pub(crate) resource_version: String,
}

impl Handle {
    fn of(object: &Json) -> Self {
        let text = |pointer| object.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned();
        Self { uid: text("/metadata/uid"), resource_version: text("/metadata/resourceVersion") }
    }
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delta<T, R> {
    /// A new version.
    Upsert {
        /// What is kept of it.
        item: T,
        /// For writes that depend on it.
        handle: Handle,
    },
    /// A Service that cannot be read and could not before: this is recorded of it.
    Held(Held),
    /// It is gone.
    Delete(R),
}

/// The objects of one kind as the hub knows them.
#[derive(Debug)]
pub(super) struct Mirror<K: Kind> {
    kind: K,
    known: BTreeSet<Name>,
    /// What a list under way has brought.
    listing: Option<BTreeSet<Name>>,
    /// Deletions that are not believed yet.
    held: BTreeMap<Name, Instant>,
    /// Objects of which the hub knows what is recorded, and nothing else.
    recorded: BTreeSet<Name>,
    /// Objects whose newest version cannot be used; the one before it stays in force.
    broken: BTreeMap<Name, String>,
    deltas: Vec<Delta<K::Item, K::Reference>>,
    /// `broken` is other than it was when it was last asked for.
    broken_changed: bool,
}

impl<K: Kind> Mirror<K> {
    pub(super) fn new(kind: K) -> Self {
        Self {
            kind,
            known: BTreeSet::new(),
            listing: None,
            held: BTreeMap::new(),
            recorded: BTreeSet::new(),
            broken: BTreeMap::new(),
            deltas: Vec::new(),
            broken_changed: false,
        }
    }

    pub(super) fn kind(&self) -> &K {
        &self.kind
    }

    /// How many objects the hub has.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// What the hub is to be told.
    pub(super) fn take(&mut self) -> Vec<Delta<K::Item, K::Reference>> {
        std::mem::take(&mut self.deltas)
    }

    /// Objects that cannot be used, where that changed.
    pub(super) fn take_broken_changed(&mut self) -> bool {
        std::mem::take(&mut self.broken_changed)
    }

    /// `Service default/web: spec.ports[0].port: what is wrong`.
    pub(super) fn broken(&self) -> impl Iterator<Item = String> {
        let kind = self.kind.resource().kind;
        self.broken.iter().map(move |(name, text)| format!("{kind} {name}: {text}"))
    }

    /// A list begins. One that did not come to its end is forgotten.
    pub(super) fn begin_list(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// A new version of an object, from a list or a watch.
    pub(super) fn upsert(&mut self, version: &str, object: &Json) {
        let Some(name) = Name::of(object) else {
            tracing::warn!(kind = self.kind.resource().kind, "the API server gave an object without a name");
            return;
        };
        if let Some(listing) = &mut self.listing {
            listing.insert(name.clone());
        }
        self.held.remove(&name);
        let handle = Handle::of(object);
        match self.kind.read(version, object) {
            Ok(item) => {
                self.broken_changed |= self.broken.remove(&name).is_some();
                self.recorded.remove(&name);
                self.known.insert(name);
                self.deltas.push(Delta::Upsert { item, handle });
            }
            Err(error) => {
                let text = error.to_string();
                if !self.known.contains(&name)
                    && let Some(held) = self.kind.held(object)
                {
                    self.recorded.insert(name.clone());
                    self.deltas.push(Delta::Held(held));
                }
                if self.broken.get(&name) != Some(&text) {
                    self.broken_changed = true;
                    self.broken.insert(name, text);
                }
            }
        }
    }

    /// The list is complete: what it did not bring is gone, now or, where `hold` says so, later.
    pub(super) fn end_list(&mut self, hold: Option<Instant>) {
        let Some(listing) = self.listing.take() else { return };
        let known = self.known.iter().chain(self.broken.keys());
        let gone: BTreeSet<Name> = known.filter(|name| !listing.contains(*name)).cloned().collect();
        for name in gone {
            self.gone(name, hold);
        }
    }

    /// A watch says that an object is gone.
    pub(super) fn delete(&mut self, object: &Json, now: Instant) {
        if let Some(name) = Name::of(object) {
            let hold = self.kind.resource().custom.then(|| now + HOLD);
            self.gone(name, hold);
        }
    }

    fn gone(&mut self, name: Name, hold: Option<Instant>) {
        if let Some(until) = hold {
            self.held.insert(name, until);
            return;
        }
        self.broken_changed |= self.broken.remove(&name).is_some();
        if self.known.remove(&name) | self.recorded.remove(&name) {
            self.deltas.push(Delta::Delete(self.kind.reference(&name)));
        }
    }

    /// When the first deletion that waits is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.values().min().copied()
    }

    /// The kind stands: deletions that are due are believed.
    pub(super) fn release(&mut self, now: Instant) {
        let due: Vec<Name> =
            self.held.iter().filter(|(_, until)| **until <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.held.remove(&name);
            self.gone(name, None);
        }
    }

    /// Nobody can say whether the kind stands: deletions that are due wait on.
    pub(super) fn hold_until(&mut self, until: Instant) {
        for held in self.held.values_mut() {
            *held = until.max(*held);
        }
    }

    /// The kind is being removed: deletions say nothing, and the objects stay what they were.
    pub(super) fn freeze(&mut self) {
        self.held.clear();
    }
}
