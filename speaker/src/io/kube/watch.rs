//! One kind, listed and watched for as long as somebody listens, whatever becomes of the API server.
//!
//! An error never takes anything back: what was known stays until a complete list or a watch says otherwise.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answer::{Trouble, answer, jittered, trouble};
use super::batch::{Batch, Filter, Part};
use super::kind::Kind;
use super::mirror::Mirror;
use crate::io::clock::Clock;
use crate::metrics::errors::{Component, failed};

/// Objects in one answer to a list: the largest part of the memory that a start needs.
const PAGE: u32 = 200;
/// The most events that are handed over together.
const TOGETHER: usize = 256;
/// The server ends each watch after this time, and one that lasts longer is dead.
const WATCH: u32 = 290;
const DEAD: Duration = Duration::from_secs(300);
/// Between attempts: doubled from the first to the last, jittered.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(6);
/// Between attempts at a kind that everything works without: it comes with an upgrade, or with another product.
const LACKING: Duration = Duration::from_secs(60);
/// How long a kind that the API server does not know holds the first list back: a server that has just
/// started learns its CustomResourceDefinitions first.
pub(super) const ABSENT: Duration = Duration::from_secs(5);
/// After a CustomResourceDefinition is back, how long its objects may take to follow before those that did
/// not are gone.
pub(super) const RETURN: Duration = Duration::from_secs(60);

/// Watches until nobody listens any more.
pub(crate) async fn follow<K: Kind>(
    client: Client,
    kind: K,
    filter: Filter,
    out: mpsc::Sender<Batch<K::Item, K::Reference>>,
    clock: Clock,
) {
    let follower = Follower {
        client,
        source: filter.source(&kind.resource()),
        mirror: Mirror::new(kind),
        filter,
        out,
        clock,
        version: 0,
        part: Part::Watch,
        synced: false,
        listed: None,
        frozen: false,
        absent_since: None,
        trouble: None,
        trouble_changed: false,
        retry: FIRST_RETRY,
    };
    let Gone = follower.run().await;
}

/// Nobody listens any more.
struct Gone;

/// How a watch ended.
enum End {
    /// It was its time.
    Closed,
    /// It cannot go on from where it was.
    Relist,
    /// It broke, or did not begin.
    Broken(Trouble),
}

/// A page of a list. kube's own reads each page into memory twice.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<Json>>,
}

struct Follower<K: Kind> {
    client: Client,
    source: Arc<str>,
    mirror: Mirror<K>,
    filter: Filter,
    out: mpsc::Sender<Batch<K::Item, K::Reference>>,
    clock: Clock,
    /// Which of the kind's versions is in use.
    version: usize,
    /// Where what is sent next comes from.
    part: Part,
    synced: bool,
    /// The version, as [`Self::version`], in which a whole list was handed over last.
    listed: Option<usize>,
    /// The kind was there and is removed.
    frozen: bool,
    absent_since: Option<Instant>,
    trouble: Option<String>,
    trouble_changed: bool,
    retry: Duration,
}

impl<K: Kind> Follower<K> {
    async fn run(mut self) -> Gone {
        loop {
            let done = match self.list().await {
                Ok(Ok(version)) => self.watch(version).await,
                Ok(Err(trouble)) => self.pause(trouble).await,
                Err(gone) => Err(gone),
            };
            if let Err(gone) = done {
                return gone;
            }
        }
    }

    /// Brings the whole list, page by page; gives the version that a watch begins at.
    async fn list(&mut self) -> Result<Result<String, Trouble>, Gone> {
        self.mirror.begin_list();
        let mut params = self.list_params(PAGE);
        loop {
            let page = match self.page(&params).await {
                Ok(page) => page,
                Err(trouble) => return Ok(Err(trouble)),
            };
            let version = self.api_version();
            for object in page.items.unwrap_or_default() {
                self.mirror.upsert(version, &object);
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_some() {
                self.part = Part::Page;
                self.send(false).await?;
                self.part = Part::Watch;
                continue;
            }
            let back = std::mem::take(&mut self.frozen);
            self.mirror.end_list(back.then(|| Instant::now() + RETURN));
            self.absent_since = None;
            self.well();
            let first = !std::mem::replace(&mut self.synced, true);
            self.part = Part::LastPage;
            self.send(first).await?;
            self.part = Part::Watch;
            return Ok(Ok(page.metadata.resource_version.unwrap_or_default()));
        }
    }

    fn list_params(&self, limit: u32) -> ListParams {
        ListParams {
            label_selector: self.filter.labels.clone(),
            field_selector: self.filter.name.as_ref().map(|name| format!("metadata.name={name}")),
            limit: Some(limit),
            ..ListParams::default()
        }
    }

    fn api_version(&self) -> &'static str {
        self.mirror.kind().resource().versions.get(self.version).copied().unwrap_or_default()
    }

    fn request(&self) -> Request {
        let resource = self.mirror.kind().resource();
        Request::new(resource.path(self.api_version(), self.filter.namespace.as_deref()))
    }

    /// One page, in the first version that the API server knows.
    async fn page(&mut self, params: &ListParams) -> Result<Page, Trouble> {
        let versions = self.mirror.kind().resource().versions.len();
        for _ in 0..versions {
            let request = if self.filter.metadata { Request::list_metadata } else { Request::list };
            let request =
                request(&self.request(), params).map_err(|error| Trouble::Failed(error.to_string()))?;
            match answer(self.client.request::<Page>(request)).await {
                Err(Trouble::Absent) => self.version = (self.version + 1) % versions,
                other => return other,
            }
        }
        Err(Trouble::Absent)
    }

    /// Watches from a version on, until it takes a list to go on.
    async fn watch(&mut self, mut version: String) -> Result<(), Gone> {
        loop {
            let begun = Instant::now();
            let end = self.stream(&mut version).await?;
            self.send(false).await?;
            match end {
                End::Relist => return Ok(()),
                // A server that closes at once is not to be asked in a loop.
                End::Closed if begun.elapsed() >= Duration::from_secs(1) => {
                    self.retry = FIRST_RETRY;
                    continue;
                }
                End::Closed => self.sleep().await?,
                End::Broken(Trouble::Absent | Trouble::Expired) => return Ok(()),
                End::Broken(trouble) => self.pause(trouble).await?,
            }
            if self.must_list(&version).await? {
                return Ok(());
            }
        }
    }

    /// Waits until the API server answers again. One that came back with an older state would leave us waiting
    /// for a version that it has yet to reach.
    async fn must_list(&mut self, version: &str) -> Result<bool, Gone> {
        loop {
            match self.page(&self.list_params(1)).await {
                Ok(page) => {
                    self.well();
                    self.send(false).await?;
                    let older = older(page.metadata.resource_version.as_deref(), version);
                    if older {
                        tracing::warn!(kind = %self.source, "the API server is back with an older state");
                    }
                    return Ok(older);
                }
                Err(Trouble::Absent | Trouble::Expired) => return Ok(true),
                Err(trouble) => self.pause(trouble).await?,
            }
        }
    }

    async fn stream(&mut self, version: &mut String) -> Result<End, Gone> {
        let params = WatchParams {
            label_selector: self.filter.labels.clone(),
            field_selector: self.filter.name.as_ref().map(|name| format!("metadata.name={name}")),
            timeout: Some(WATCH),
            ..WatchParams::default()
        };
        let request = if self.filter.metadata { Request::watch_metadata } else { Request::watch };
        let request = match request(&self.request(), &params, version) {
            Ok(request) => request,
            Err(error) => return Ok(End::Broken(Trouble::Failed(error.to_string()))),
        };
        let events = match answer(self.client.request_events::<Json>(request)).await {
            Ok(events) => events,
            Err(trouble) => return Ok(End::Broken(trouble)),
        };
        self.well();
        self.retry = FIRST_RETRY;
        self.send(false).await?;
        let mut events = std::pin::pin!(events);
        loop {
            let event = tokio::select! {
                event = timeout(DEAD, events.next()) => event,
                () = until(self.mirror.due()) => {
                    self.believe_deletions().await;
                    self.send(false).await?;
                    continue;
                }
                () = self.out.closed() => return Err(Gone),
            };
            let Ok(event) = event else {
                return Ok(End::Broken(Trouble::Failed("a watch has gone silent".to_owned())));
            };
            let end = self.take_ready(event, events.as_mut(), version);
            self.send(false).await?;
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// Takes an event and those that are there already.
    fn take_ready(
        &mut self,
        first: Option<kube::Result<WatchEvent<Json>>>,
        mut events: std::pin::Pin<&mut impl Stream<Item = kube::Result<WatchEvent<Json>>>>,
        version: &mut String,
    ) -> Option<End> {
        let mut next = first;
        for _ in 0..TOGETHER {
            if let Some(end) = self.event(next, version) {
                return Some(end);
            }
            next = events.as_mut().next().now_or_never()?;
        }
        self.event(next, version)
    }

    /// `None`: the watch goes on.
    fn event(&mut self, event: Option<kube::Result<WatchEvent<Json>>>, version: &mut String) -> Option<End> {
        let seen = match event {
            None => return Some(End::Closed),
            Some(Err(error)) => return Some(End::Broken(trouble(error))),
            Some(Ok(WatchEvent::Error(status))) => {
                return Some(End::Broken(trouble(kube::Error::Api(status))));
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => bookmark.metadata.resource_version,
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                let seen = resource_version(&object);
                self.mirror.upsert(self.api_version(), &object);
                seen
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                self.mirror.delete(&object, Instant::now());
                resource_version(&object)
            }
        };
        if older(Some(&seen), version) {
            return Some(End::Relist);
        }
        if !seen.is_empty() {
            *version = seen;
        }
        None
    }

    /// Deletions of custom resources count while their kind stands.
    async fn believe_deletions(&mut self) {
        #[derive(Deserialize)]
        struct Served {
            name: String,
            #[serde(default)]
            verbs: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Group {
            resources: Vec<Served>,
        }
        let resource = self.mirror.kind().resource();
        let request = hyper::http::Request::get(resource.root(self.api_version())).body(Vec::new());
        let Ok(request) = request else { return };
        let stands = match answer(self.client.request::<Group>(request)).await {
            // A kind that is being removed takes no new object.
            Ok(group) => group.resources.iter().any(|served| {
                served.name == resource.plural && served.verbs.iter().any(|verb| verb == "create")
            }),
            Err(Trouble::Absent) => false,
            Err(_) => {
                self.mirror.hold_until(Instant::now() + Duration::from_secs(1));
                return;
            }
        };
        if stands {
            self.mirror.release(Instant::now());
        } else {
            self.mirror.freeze();
            self.freeze();
        }
    }

    fn freeze(&mut self) {
        self.frozen = true;
        let (resource, count) = (self.mirror.kind().resource(), self.mirror.len());
        self.ill(format!(
            "{}: its CustomResourceDefinition is removed; the {count} objects that were there stay in force \
             until it is back",
            resource.kind
        ));
    }

    /// Says what is wrong and waits before the next attempt.
    async fn pause(&mut self, trouble: Trouble) -> Result<(), Gone> {
        let resource = self.mirror.kind().resource();
        let mut synced = false;
        match trouble {
            Trouble::Expired => {}
            Trouble::Absent | Trouble::Refused(_) if self.filter.dispensable => {
                match trouble {
                    // Also for a moment of each start of the API server, before it has read its roles.
                    Trouble::Refused(text) => {
                        self.ill(format!("{}: {text}; it goes on without", resource.plural));
                    }
                    _ if resource.custom && self.mirror.len() > 0 => self.freeze(),
                    _ => {
                        self.well();
                        self.retry = LACKING;
                    }
                }
                synced = !std::mem::replace(&mut self.synced, true);
            }
            Trouble::Absent if resource.custom => {
                let since = *self.absent_since.get_or_insert_with(Instant::now);
                if self.mirror.len() > 0 {
                    self.freeze();
                } else if !self.filter.optional {
                    let group = resource.group;
                    self.ill(format!(
                        "{}: the API server does not know the kind; install its CustomResourceDefinition \
                         ({}.{group})",
                        resource.kind, resource.plural
                    ));
                }
                synced = !self.synced && since.elapsed() >= ABSENT;
                self.synced |= synced;
            }
            Trouble::Absent => self.ill(format!("{}: the API server answers 404", resource.plural)),
            Trouble::Failed(text) | Trouble::Refused(text) => {
                failed(Component::Kubernetes);
                self.ill(format!("{}: {text}; what was known stays", resource.plural));
            }
        }
        self.send(synced).await?;
        self.sleep().await
    }

    async fn sleep(&mut self) -> Result<(), Gone> {
        let delay = jittered(self.retry);
        self.retry = (self.retry * 2).min(LAST_RETRY);
        tokio::select! {
            () = sleep(delay) => Ok(()),
            () = self.out.closed() => Err(Gone),
        }
    }

    fn ill(&mut self, text: String) {
        if self.trouble.as_ref() != Some(&text) {
            tracing::warn!("{text}");
            self.trouble = Some(text);
            self.trouble_changed = true;
        }
    }

    /// The API server answers as it should.
    fn well(&mut self) {
        if !self.frozen && self.trouble.take().is_some() {
            tracing::info!(kind = %self.source, "the API server answers");
            self.trouble_changed = true;
        }
    }

    async fn send(&mut self, synced: bool) -> Result<(), Gone> {
        let deltas = self.mirror.take();
        let faults = (self.mirror.take_broken_changed() | std::mem::take(&mut self.trouble_changed))
            .then(|| self.trouble.iter().cloned().chain(self.mirror.broken()).collect());
        // Of an empty list, too, is told who waits for a whole one of a kind that came late, or comes in another version.
        let whole = self.part == Part::LastPage && self.listed.replace(self.version) != Some(self.version);
        if deltas.is_empty() && !synced && faults.is_none() && !whole {
            return Ok(());
        }
        let (source, handed_over) = (Arc::clone(&self.source), self.clock.now());
        let (part, version) = (self.part, self.api_version());
        let batch = Batch { source, version, handed_over, deltas, synced, part, faults };
        self.out.send(batch).await.map_err(|_| Gone)
    }
}

/// Waits for a point in time, or for good.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn resource_version(object: &Json) -> String {
    let version = object.pointer("/metadata/resourceVersion").and_then(Json::as_str);
    version.unwrap_or_default().to_owned()
}

/// Whether `seen` is an older version than `known`. Since Kubernetes 1.35 versions may be compared (KEP-5504),
/// and etcd's always could.
fn older(seen: Option<&str>, known: &str) -> bool {
    let number = |text: &str| text.parse::<u128>().ok();
    matches!((seen.and_then(number), number(known)), (Some(seen), Some(known)) if seen < known)
}
