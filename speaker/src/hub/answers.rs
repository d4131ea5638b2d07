//! Answers to questions. What a peer's task knows is asked of the task, away from the hub.

use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::session::{Counters, SessionView, State};
use bgp_proto::types::{FamilyMap, Prefix, Timestamp};
use serde::Serialize;
use speaker_config::model::Ttl;
use speaker_config::objects::UnixSeconds;
use speaker_core::export::Held;
use speaker_core::learn::Learned;
use speaker_core::received::ReceivedCount;
use speaker_core::rfc3339;
use speaker_core::view::{
    BmpView, Explanation, FamilyCount, HeldRoute, LastError, LearnedView, ListenerView, MessageCounts,
    NextTimer, PeerDetail, PeerSummary, PropagationView, VersionView,
};
use tokio::sync::oneshot;

use super::Hub;
use super::running::Running;
use crate::capability;
use crate::io::bmp::StationState;
use crate::io::keys::Keys;
use crate::io::listen::ListenStatus;
use crate::io::peer::{PeerView, Propagation};
use crate::question::{Answer, Asked, Question, Refused, Reply, RibFilter};

/// The most held routes that `peers NAME` lists.
const HELD: usize = 20;

pub(super) fn answer<T: Serialize + Send + 'static>(value: T) -> Answer {
    Ok(Reply::Json(Box::new(value)))
}

impl Hub {
    pub(super) fn answer(&mut self, asked: Asked) {
        let Asked { question, reply } = asked;
        let answer = match question {
            Question::Advertised(filter) => self.advertised(&filter),
            Question::Local(filter) => {
                let rib = self.world.announcer().rib();
                answer(self.world.exporter().local(rib, |prefix| filter.wants(prefix)))
            }
            Question::Mrt(table, form, filter) => return self.mrt(table, form, &filter, reply),
            Question::Received(filter) => return self.received(&filter, reply),
            Question::Peers => return self.peer_list(reply),
            Question::Peer(name) => return self.one_peer(&name, reply),
            Question::Pools => answer(self.world.pool_views()),
            Question::Services => answer(self.world.service_views()),
            Question::Explain(target) => return self.explain(&target, reply),
            Question::Version => answer(self.version()),
            Question::Drain(lasts) => return self.order_drain(lasts, false, reply),
            Question::Undrain => return self.order_drain(None, true, reply),
            Question::Reset(peer) => self.reset(&peer),
            Question::Soft { peer, inbound, outbound } => self.soft(&peer, inbound, outbound),
            Question::Shutdown { peer, message } => self.shut_down(&peer, &message),
            Question::NoShutdown(peer) => self.no_shut_down(&peer),
        };
        // Who asked may have gone.
        drop(reply.send(answer));
    }

    pub(super) fn no_peer(&self, name: &str) -> Refused {
        let names: Vec<&str> = self.peers.iter().map(|(name, _)| &**name).collect();
        let known = if names.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        Refused::NotFound(format!("no peer {name:?} on this node: {known}"))
    }

    fn advertised(&self, filter: &RibFilter) -> Answer {
        if let Some(peer) = &filter.peer
            && self.peers.get(peer).is_none()
        {
            return Err(self.no_peer(peer));
        }
        let rib = self.world.announcer().rib();
        let names = self
            .peers
            .iter()
            .map(|(name, _)| name)
            .filter(|name| filter.peer.as_deref().is_none_or(|one| one == &***name));
        let rows =
            names.flat_map(|name| self.world.exporter().advertised(name, rib, |prefix| filter.wants(prefix)));
        answer(rows.collect::<Vec<_>>())
    }

    fn received(&self, filter: &RibFilter, reply: oneshot::Sender<Answer>) {
        if let Some(peer) = &filter.peer
            && self.peers.get(peer).is_none()
        {
            drop(reply.send(Err(self.no_peer(peer))));
            return;
        }
        let wanted = |name: &str| filter.peer.as_deref().is_none_or(|one| one == name);
        let asked: Vec<_> = self
            .peers
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, peer)| {
                let filter = filter.clone();
                peer.handle.received(move |prefix| filter.wants(prefix))
            })
            .collect();
        let filter = filter.clone();
        let learned = self.peers.learn().rows(move |peer, prefix| {
            filter.peer.as_deref().is_none_or(|one| one == peer) && filter.wants(prefix)
        });
        tokio::spawn(async move {
            let mut rows = Vec::new();
            for received in asked {
                rows.extend(received.await);
            }
            drop(reply.send(answer(Learned::merge(rows, learned.await))));
        });
    }

    /// What there is to say of announcing it, and what peers have told of it.
    fn explain(&self, target: &str, reply: oneshot::Sender<Answer>) {
        let explained = self.world.explain(target);
        let asked = target.parse::<Prefix>().ok();
        let host = target.parse::<IpAddr>().ok().map(Prefix::host);
        let learned = self
            .peers
            .learn()
            .rows(move |_, prefix| asked == Some(prefix) || host.is_some_and(|host| prefix.covers(host)));
        let target = target.to_owned();
        tokio::spawn(async move {
            // Of an address the longest match says where its packets go.
            let mut learned = learned.await;
            let longest = learned.iter().map(|row| row.prefix.len()).max();
            learned.retain(|row| Some(row.prefix.len()) == longest);
            let explained = match explained {
                Some(explained) => Some(Explanation { learned, ..explained }),
                None if learned.is_empty() => None,
                None => Some(Explanation::of_learned(&target, learned)),
            };
            let answered = explained.map_or_else(
                || Err(Refused::NotFound(format!("nothing here has to do with {target:?}; give a prefix, an address, NAMESPACE/NAME of a Service or the name of a pool"))),
                answer,
            );
            drop(reply.send(answered));
        });
    }

    fn peer_list(&self, reply: oneshot::Sender<Answer>) {
        let asked: Vec<_> =
            self.peers.iter().map(|(_, peer)| (self.summary(peer), peer.handle.view())).collect();
        tokio::spawn(async move {
            let mut rows = Vec::new();
            for (complete, view) in asked {
                rows.push(complete(view.await.as_ref()));
            }
            drop(reply.send(answer(rows)));
        });
    }

    fn one_peer(&self, name: &str, reply: oneshot::Sender<Answer>) {
        let Some(peer) = self.peers.get(name) else {
            drop(reply.send(Err(self.no_peer(name))));
            return;
        };
        let summary = self.summary(peer);
        let verdicts = self.world.exporter().verdicts(name, self.world.announcer().rib());
        let mut held = verdicts.filter_map(|(prefix, verdict)| Some((prefix, verdict.err()?)));
        let told = |(prefix, reason): (Prefix, Held)| HeldRoute { prefix, reason: reason.to_string() };
        let first: Vec<HeldRoute> = held.by_ref().take(HELD).map(told).collect();
        let held_count = first.len() + held.count();
        let detail = detail(peer, (first, held_count), self.peers.now());
        let view = peer.handle.view();
        tokio::spawn(async move {
            let view = view.await;
            drop(reply.send(answer(detail(summary(view.as_ref()), view.as_ref()))));
        });
    }

    /// What the hub knows of a peer; the rest comes from its task.
    pub(super) fn summary(
        &self,
        peer: &Running,
    ) -> impl FnOnce(Option<&PeerView>) -> PeerSummary + Send + 'static + use<> {
        let spec = &peer.wanted.spec;
        let now = self.peers.now();
        let tables = self.world.tables(&spec.name);
        let negotiated = peer.established.as_ref().map(|established| established.negotiated.clone());
        let configured = match spec.session.peer_asn {
            bgp_proto::session::PeerAsn::Exact(asn) => Some(asn),
            _ => None,
        };
        let mut summary = PeerSummary {
            name: spec.name.to_string(),
            address: address(peer),
            neighbor_address: neighbor_address(peer),
            description: peer.wanted.description.clone(),
            remote_as: negotiated.as_ref().map(|negotiated| negotiated.peer_asn).or(configured),
            local_as: Some(spec.session.local_asn),
            router_id: negotiated.as_ref().map(|negotiated| negotiated.peer_router_id),
            state: State::Idle.to_string(),
            shutdown: peer.shutdown.clone(),
            state_seconds: 0,
            up_down_seconds: peer.changed.map(|changed| now.since(changed).as_secs()),
            established_count: 0,
            messages_received: 0,
            messages_sent: 0,
            in_queue: 0,
            out_queue: 0,
            received: Vec::new(),
            advertised: Vec::new(),
            learned: self.learned(&spec.name),
            last_error: last_error(peer),
            last_note: peer.last_note.clone().map(told),
            bfd: None,
        };
        let advertised = tables
            .iter()
            .filter_map(|(family, table)| {
                let count = u64::try_from(table.as_ref()?.len()).unwrap_or(u64::MAX);
                Some(FamilyCount { family, count, more: false })
            })
            .collect();
        move |view| {
            let Some(view) = view else { return summary };
            let session = &view.session;
            summary.state = session.state.to_string();
            summary.established_count = session.established;
            summary.state_seconds = now.since(session.since).as_secs();
            // The task knows of it before the hub does.
            if session.state == State::Established {
                summary.up_down_seconds = Some(summary.state_seconds);
            }
            summary.messages_received = sum(&counts(&session.received));
            summary.messages_sent = sum(&sent(view));
            summary.bfd = view.bfd.as_ref().map(|bfd| super::bfd::view(bfd, now));
            summary.in_queue = view.in_queue;
            summary.out_queue = view.out_queue;
            if session.state == State::Established {
                summary.advertised = advertised;
                let families = session.negotiated.iter().flat_map(|negotiated| negotiated.families.iter());
                summary.received = families
                    .map(|family| {
                        let (count, more) = match *view.received.get(family) {
                            ReceivedCount::Exact(count) => (u64::from(count), false),
                            ReceivedCount::MoreThan(limit) => (u64::from(limit), true),
                            ReceivedCount::Nlri { announced, .. } => (announced, false),
                        };
                        FamilyCount { family, count, more }
                    })
                    .collect();
            }
            summary
        }
    }

    fn learned(&self, name: &str) -> Vec<LearnedView> {
        let state = self.peers.learn().state();
        let counts = state.counts.get(name).into_iter().flat_map(FamilyMap::iter);
        let any = counts.filter(|(_, count)| count.kept > 0 || count.beyond);
        any.map(|(family, count)| LearnedView { family, count: *count }).collect()
    }

    fn version(&self) -> VersionView {
        let listeners = self.listening.borrow().iter().map(listener).collect();
        VersionView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.world.node().to_owned(),
            asn: self.config.router.asn,
            router_id: self.peers.router_id(),
            started: rfc3339(self.started),
            drain: self.draining.why(),
            readiness: self.world.readiness().problem(),
            kept: self.world.kept_note(),
            waiting_for: self.world.waiting().iter().cloned().collect(),
            listeners,
            config_errors: self.config_errors.clone(),
            restart_needed: self.restart_needed.clone(),
            faults: self.faults.values().flatten().cloned().chain(self.precedence.faults()).collect(),
            kernel: self
                .kernel_problems
                .iter()
                .chain(&self.peers.learn().state().problems)
                .cloned()
                .collect(),
            bmp: self.stations.states().map(collector).collect(),
        }
    }
}

fn last_error(peer: &Running) -> Option<LastError> {
    let error = peer.last_error.clone()?;
    Some(LastError { message: peer.last_malformed.clone(), ..told(error) })
}

fn collector((name, address, state): (&str, &str, StationState)) -> BmpView {
    BmpView {
        name: name.to_owned(),
        address: address.to_owned(),
        connected_since: state.connected.map(rfc3339),
        connections: state.connections,
        messages_sent: state.sent,
        messages_dropped: state.dropped,
        last_error: state.last_error.map(told),
    }
}

fn told((at, text): (UnixSeconds, String)) -> LastError {
    LastError { at: rfc3339(at), text, message: None }
}

fn listener(status: &ListenStatus) -> ListenerView {
    let refused = status.refused.iter().map(|(prefix, reason)| format!("{prefix}: {reason}"));
    ListenerView {
        address: status.wanted.to_string(),
        bound: status.bound.as_ref().ok().map(ToString::to_string),
        error: status.bound.as_ref().err().cloned(),
        refused: refused.collect(),
    }
}

/// Who was found on the interface of an unnumbered peer.
fn neighbor_address(peer: &Running) -> Option<String> {
    let interface = peer.wanted.interface.as_ref().filter(|_| !peer.wanted.is_sought())?;
    Some(format!("{}%{interface}", peer.wanted.spec.address))
}

/// As routers print it: an unnumbered peer by its interface.
fn address(peer: &Running) -> String {
    if let Some(interface) = &peer.wanted.interface {
        return interface.clone();
    }
    let spec = &peer.wanted.spec;
    let zone = spec.zone.as_ref().map(|zone| format!("%{zone}")).unwrap_or_default();
    if spec.settings.port == 179 || peer.dynamic {
        format!("{}{zone}", spec.address)
    } else {
        std::net::SocketAddr::new(spec.address, spec.settings.port).to_string()
    }
}

/// The rest of what operators see of a peer.
pub(super) fn detail(
    peer: &Running,
    (held, held_count): (Vec<HeldRoute>, usize),
    now: Timestamp,
) -> impl FnOnce(PeerSummary, Option<&PeerView>) -> PeerDetail + Send + 'static + use<> {
    let spec = peer.wanted.spec.clone();
    let group = peer.wanted.group.clone();
    let pending = peer.pending().into_iter().map(str::to_owned).collect();
    move |summary, view| {
        let session: Option<&SessionView> = view.map(|view| &view.session);
        let negotiated = session.and_then(|session| session.negotiated.as_deref());
        let hold = negotiated.map_or(spec.settings.hold, |negotiated| negotiated.hold_time);
        let keepalive = match (hold.keepalive(), spec.settings.keepalive) {
            (Some(longest), Some(configured)) => Some(configured.min(longest)),
            (longest, _) => longest,
        };
        PeerDetail {
            summary,
            group,
            local_address: negotiated.map(|negotiated| negotiated.local.to_string()),
            internal: negotiated.map(bgp_proto::session::Negotiated::internal),
            hold_time: hold.seconds(),
            keepalive: keepalive.map(|keepalive| keepalive.as_secs()),
            ttl: ttl(spec.settings.ttl),
            md5: matches!(spec.keys, Some(Keys::Md5(_))),
            tcp_ao: matches!(spec.keys, Some(Keys::TcpAo(_))),
            families: negotiated.map(|negotiated| negotiated.families.iter().collect()).unwrap_or_default(),
            our_capabilities: negotiated.map(|n| capability::views(&n.our_capabilities)).unwrap_or_default(),
            peer_capabilities: negotiated
                .map(|n| capability::views(&n.peer_capabilities))
                .unwrap_or_default(),
            received_by_kind: session.map(|session| counts(&session.received)).unwrap_or_default(),
            sent_by_kind: view.map(sent).unwrap_or_default(),
            next_timer: session.and_then(|session| session.deadline).map(|(at, name)| NextTimer {
                name: name.to_owned(),
                milliseconds: u64::try_from(at.since(now).as_millis()).unwrap_or(u64::MAX),
            }),
            pending,
            propagation: view.and_then(|view| view.propagation).map(propagation),
            held,
            held_count,
        }
    }
}

/// In words.
fn ttl(ttl: Ttl) -> String {
    match ttl {
        Ttl::Direct => "directly connected".to_owned(),
        Ttl::Security(hops) => format!("at least {} accepted (RFC 5082)", 256 - u16::from(hops)),
        Ttl::Multihop(ttl) => format!("multihop, {ttl} sent"),
    }
}

fn propagation(seen: Propagation) -> PropagationView {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    PropagationView {
        changes: seen.changes,
        median_microseconds: micros(seen.median),
        p99_microseconds: micros(seen.p99),
        longest_microseconds: micros(seen.longest),
    }
}

pub(super) fn counts(counters: &Counters) -> MessageCounts {
    MessageCounts {
        opens: counters.opens,
        updates: counters.updates,
        notifications: counters.notifications,
        keepalives: counters.keepalives,
        route_refreshes: counters.route_refreshes,
    }
}

/// Messages sent: the session's own, and the UPDATEs that the task wrote.
pub(super) fn sent(view: &PeerView) -> MessageCounts {
    let own = counts(&view.session.sent);
    MessageCounts { updates: own.updates + view.updates_sent, ..own }
}

fn sum(counts: &MessageCounts) -> u64 {
    counts.opens + counts.updates + counts.notifications + counts.keepalives + counts.route_refreshes
}
