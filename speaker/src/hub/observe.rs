//! What metrics and health are made of. The hub copies what it knows; what a peer's task knows is asked of
//! the task, and the text is made elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use bgp_proto::session::State;
use bgp_proto::types::{Family, Timestamp};
use speaker_config::objects::UnixSeconds;
use speaker_core::fnv::fnv1a_64;
use speaker_core::view::{LearnedView, MessageCounts, PeerSummary};

use super::Hub;
use super::answers::{counts, sent};
use super::running::{LastNotification, Running};
use crate::io::clock;
use crate::io::peer::PeerView;
use crate::metrics::catalogue as names;
use crate::metrics::{Durations, Samples, addresses, errors, float};

/// How fresh what the hub works with is.
#[derive(Debug)]
pub(super) struct Freshness {
    /// Of the text in force.
    hash: String,
    /// When it was loaded.
    loaded: UnixSeconds,
    /// The file as it stands is not in force.
    refused: bool,
    loads: u64,
    refusals: u64,
    /// Sources, and when each last told of something.
    sources: BTreeMap<String, Option<UnixSeconds>>,
    turns: Durations,
}

impl Freshness {
    pub(super) fn new(text: &str, sources: &BTreeSet<String>) -> Self {
        Self {
            hash: hash(text),
            loaded: super::unix_now(),
            refused: false,
            loads: 0,
            refusals: 0,
            sources: sources.iter().map(|source| (source.clone(), None)).collect(),
            turns: Durations::default(),
        }
    }

    /// A new text is in force.
    pub(super) fn loaded(&mut self, text: &str) {
        self.hash = hash(text);
        self.loaded = super::unix_now();
        self.refused = false;
        self.loads += 1;
    }

    /// A new text was refused.
    pub(super) fn refused(&mut self) {
        self.refused = true;
        self.refusals += 1;
    }

    /// A source told of something.
    pub(super) fn heard(&mut self, source: &str) {
        if let Some(last) = self.sources.get_mut(source) {
            *last = Some(super::unix_now());
        }
    }

    /// The hub was busy from `began` to `ended`.
    pub(super) fn turn(&mut self, began: Timestamp, ended: Timestamp) {
        self.turns.add(ended.since(began));
    }
}

fn hash(text: &str) -> String {
    format!("{:016x}", fnv1a_64(text.bytes()))
}

/// What the hub knows at one moment.
#[derive(Debug)]
pub struct Observation {
    samples: Samples,
    peers: Vec<Peer>,
}

/// Completes what the hub knows with what the task knows.
type Complete = Box<dyn FnOnce(Option<&PeerView>) -> PeerSummary + Send>;

struct Peer {
    name: String,
    last_notification: Option<LastNotification>,
    panics: u64,
    complete: Complete,
    view: Pin<Box<dyn Future<Output = Option<PeerView>> + Send>>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Observation {
    /// Adds what peers' tasks and the process as a whole know.
    pub async fn complete(self) -> Samples {
        let Self { mut samples, peers } = self;
        for Peer { name, last_notification, panics, complete, view } in peers {
            samples.count(&names::TASK_PANICS, &[&name], panics);
            let view = view.await;
            let summary = complete(view.as_ref());
            peer(&mut samples, &name, &summary, last_notification);
            if let Some(view) = view {
                task(&mut samples, &name, view);
            }
        }
        for component in errors::Component::ALL {
            samples.count(&names::RECONCILE_ERRORS, &[component.as_str()], errors::count(component));
        }
        samples
    }
}

impl Hub {
    /// What the hub itself knows. It costs a walk over the prefixes of the Loc-RIB.
    pub(super) fn observe(&self) -> Observation {
        let mut samples = Samples::default();
        self.observe_freshness(&mut samples);
        addresses::observe(&mut samples, self.world.inputs(), self.world.ipam());
        samples.number(&names::LEARNED_INSTALLED, &[], self.peers.learn().state().installed);
        let routes = &self.world.announcer().rib().routes;
        let ipv4 = routes.keys().filter(|prefix| prefix.family() == Family::Ipv4Unicast).count();
        samples.number(&names::ROUTES, &["ipv4-unicast"], ipv4);
        samples.number(&names::ROUTES, &["ipv6-unicast"], routes.len() - ipv4);
        addresses::observe_segment(&mut samples, self.world.standings(clock::boot_time()).as_ref());
        for status in self.listening.borrow().iter() {
            samples.flag(&names::LISTENER_UP, &[&status.wanted.to_string()], status.bound.is_ok());
        }
        for (name, _, state) in self.stations.states() {
            samples.flag(&names::BMP_CONNECTED, &[name], state.connected.is_some());
            samples.gauge(&names::BMP_CONNECTED_SINCE, &[name], state.connected.map_or(0.0, time));
            samples.count(&names::BMP_CONNECTIONS, &[name], state.connections);
            samples.count(&names::BMP_MESSAGES_SENT, &[name], state.sent);
            samples.count(&names::BMP_MESSAGES_DROPPED, &[name], state.dropped);
        }
        let peers = self.peers.iter().map(|(_, peer)| self.observed(peer)).take(names::MOST).collect();
        let omitted = self.peers.iter().count().saturating_sub(names::MOST);
        samples.number(&names::OMITTED, &["peer"], omitted);
        Observation { samples, peers }
    }

    fn observed(&self, peer: &Running) -> Peer {
        Peer {
            name: peer.wanted.spec.name.to_string(),
            last_notification: peer.last_notification,
            panics: peer.breaks.count,
            complete: Box::new(self.summary(peer)),
            view: Box::pin(peer.handle.view()),
        }
    }

    fn observe_freshness(&self, samples: &mut Samples) {
        let fresh = &self.freshness;
        samples.flag(&names::READY, &[], self.world.readiness().is_open());
        samples.flag(&names::KEPT_IN_FORCE, &[], self.world.kept_since().is_some());
        if let Some(written) = self.world.kept_since().or(self.keeping.written()) {
            samples.gauge(&names::KEPT, &[], time(written));
        }
        samples.info(&names::CONFIG, &[&fresh.hash]);
        samples.gauge(&names::CONFIG_LOADED, &[], time(fresh.loaded));
        samples.flag(&names::CONFIG_REFUSED, &[], fresh.refused);
        samples.count(&names::CONFIG_RELOADS, &["loaded"], fresh.loads);
        samples.count(&names::CONFIG_RELOADS, &["refused"], fresh.refusals);
        samples.number(&names::CONFIG_RESTART_NEEDED, &[], self.restart_needed.len());
        for (source, heard) in &fresh.sources {
            samples.flag(&names::SOURCE_SYNCED, &[source], !self.world.waiting().contains(source));
            if let Some(heard) = heard {
                samples.gauge(&names::SOURCE_LAST_EVENT, &[source], time(*heard));
            }
        }
        samples.number(&names::SOURCE_FAULTS, &[], self.faults.values().map(Vec::len).sum());
        samples.durations(&names::HUB_TURN, &[], fresh.turns.clone());
    }
}

/// A point in time as OpenMetrics has it.
#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 stay below 2^53 for 285 million years")]
fn time(at: UnixSeconds) -> f64 {
    at as f64
}

/// What operators see of a peer.
fn peer(samples: &mut Samples, name: &str, summary: &PeerSummary, last: Option<LastNotification>) {
    let asn = |asn: Option<bgp_proto::types::Asn>| asn.map(|asn| asn.to_string()).unwrap_or_default();
    let (remote, local) = (asn(summary.remote_as), asn(summary.local_as));
    samples.info(&names::SESSION, &[name, &summary.address, &remote, &local]);
    samples.flag(&names::SESSION_SHUTDOWN, &[name], summary.shutdown.is_some());
    for (metric, counts) in
        [(&names::ROUTES_RECEIVED, &summary.received), (&names::ROUTES_ADVERTISED, &summary.advertised)]
    {
        for count in counts {
            samples.gauge(metric, &[name, &count.family.to_string()], float(count.count));
        }
    }
    for LearnedView { family, count } in &summary.learned {
        let labels = |state| [name.to_owned(), family.to_string(), String::from(state)];
        for (state, number) in [("kept", count.kept), ("used", count.used), ("stale", count.stale)] {
            let labels = labels(state);
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            samples.gauge(&names::ROUTES_LEARNED, &labels, f64::from(number));
        }
    }
    if let Some(LastNotification { code, subcode, sent }) = last {
        let labels = [name, if sent { "sent" } else { "received" }];
        samples.gauge(&names::LAST_ERROR_CODE, &labels, f64::from(code));
        samples.gauge(&names::LAST_ERROR_SUBCODE, &labels, f64::from(subcode));
    }
    let up = summary.is_established();
    samples.flag(&names::SESSION_UP, &[name], up);
    samples.gauge(&names::SESSION_UPTIME, &[name], if up { float(summary.state_seconds) } else { 0.0 });
}

/// What a peer's task counts.
fn task(samples: &mut Samples, name: &str, view: PeerView) {
    let session = &view.session;
    let up = u64::from(session.state == State::Established);
    samples.gauge(&names::SESSION_STATE, &[name], session.state.number().into());
    samples.count(&names::SESSION_ESTABLISHED, &[name], session.established);
    samples.count(&names::SESSION_FLAPS, &[name], session.established.saturating_sub(up));
    messages(samples, &names::MESSAGES_RECEIVED, name, &counts(&session.received));
    messages(samples, &names::MESSAGES_SENT, name, &sent(&view));
    samples.gauge(&names::QUEUE, &[name, "in"], float(view.in_queue));
    samples.gauge(&names::QUEUE, &[name, "out"], float(view.out_queue));
    samples.durations(&names::ADVERTISE, &[name], view.advertise);
    samples.durations(&names::WITHDRAW, &[name], view.withdraw);
}

fn messages(samples: &mut Samples, metric: &'static names::Metric, peer: &str, counts: &MessageCounts) {
    let MessageCounts { opens, updates, notifications, keepalives, route_refreshes } = counts;
    for (kind, count) in [
        ("open", opens),
        ("update", updates),
        ("notification", notifications),
        ("keepalive", keepalives),
        ("route-refresh", route_refreshes),
    ] {
        samples.count(metric, &[peer, kind], *count);
    }
}
