//! What the task does with BFD (RFC 5882): the session with the peer, and what it means for BGP.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd::{Config, Guard, Order};
use bgp_proto::session::{DownReason, Input, PeerAsn, StopReason};
use bgp_proto::types::Timestamp;
use bgp_proto::wire::{Notification, codes};
use speaker_config::model::{Bfd, Ttl};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::task::{Boxed, Task};
use super::{BfdView, Command, PeerSpec};
use crate::io::bfd::{Event, Reach, Session, Spec};

/// How long BGP waits for the thread of BFD to say AdminDown before it closes.
const TELL: Duration = Duration::from_millis(200);

/// BFD with the peer.
#[derive(Default)]
pub(super) struct PeerBfd {
    session: Option<Session>,
    pub(super) guard: Guard,
    /// An operator wants the session with the peer.
    wanted: bool,
    /// Until then the peer is expected back under graceful restart.
    restarting: Option<Timestamp>,
    /// The thread of BFD is saying AdminDown.
    pub(super) farewell: Option<Farewell>,
}

pub(super) struct Farewell {
    pub(super) told: Boxed<()>,
    /// What follows.
    then: Option<StopReason>,
}

impl Task {
    /// ManualStart: of BFD at once, of BGP unless BFD holds it.
    pub(super) fn start(&mut self) {
        self.farewell_said();
        self.bfd.wanted = true;
        match &self.bfd.session {
            Some(session) => session.enable(),
            None => self.open_bfd(),
        }
        if !self.bfd.guard.holds() {
            self.input(Input::Start);
        }
    }

    /// The end of the session. One that does not come back by itself is announced by AdminDown, so that the
    /// peer does not take it for a failure of the path.
    pub(super) fn stop(&mut self, reason: StopReason) {
        if reason.restart {
            return self.input(Input::Stop(reason));
        }
        self.bfd.wanted = false;
        self.say_farewell(Some(reason));
        if self.up.is_none() {
            // Nor is it waited for in its restart.
            self.learning.flush();
        }
    }

    /// AdminDown first; then, where the thread has sent it, `then`.
    pub(super) fn say_farewell(&mut self, then: Option<StopReason>) {
        self.farewell_said();
        self.bfd.guard = Guard::default();
        let Some(session) = &self.bfd.session else {
            if let Some(reason) = then {
                self.input(Input::Stop(reason));
            }
            return;
        };
        let answer: oneshot::Receiver<()> = session.disable();
        let told: Boxed<()> = Box::pin(async move {
            // A thread that does not answer is not waited for.
            let _ = tokio::time::timeout(TELL, answer).await;
        });
        self.bfd.farewell = Some(Farewell { told, then });
    }

    /// AdminDown has left.
    pub(super) fn farewell_said(&mut self) {
        if let Some(Farewell { then: Some(reason), .. }) = self.bfd.farewell.take() {
            self.input(Input::Stop(reason));
        }
    }

    /// New settings.
    pub(super) fn set_bfd(&mut self, settings: Option<Bfd>) {
        self.spec.settings.bfd = settings;
        match (&self.bfd.session, settings) {
            (Some(session), Some(settings)) => session.configure(config(settings)),
            (None, Some(_)) if self.bfd.wanted => self.open_bfd(),
            (Some(_), None) => {
                self.bfd.session = None;
                let held = std::mem::take(&mut self.bfd.guard).holds();
                if held && self.bfd.wanted {
                    self.input(Input::Start);
                }
            }
            (None, _) => {}
        }
    }

    fn open_bfd(&mut self) {
        let Some(settings) = self.spec.settings.bfd else { return };
        let spec = Spec {
            owner: Arc::clone(&self.spec.name),
            remote: self.spec.address,
            zone: self.spec.zone.clone(),
            reach: reach(&self.spec),
            local: self.spec.settings.local_address,
            source_interface: self.spec.settings.source_interface.clone(),
            config: config(settings),
        };
        // Weak: what BFD has to tell must not keep a task alive that nobody holds.
        let commands = self.commands.clone();
        self.bfd.session = Some(self.context.bfd.open(spec, move |event| {
            if let Some(commands) = commands.upgrade() {
                let _ = commands.send(Command::Bfd(event));
            }
        }));
    }

    /// What BFD tells.
    pub(super) fn bfd_event(&mut self, event: Event) {
        let now = self.now();
        let order = match event {
            Event::Changed(change) => {
                let text = format!("BFD {} -> {}: {}", change.from, change.to, change.cause);
                if change.is_failure() {
                    warn!("{text}");
                } else {
                    info!("{text}");
                }
                let restarting = self.bfd.restarting.is_some_and(|until| now < until);
                self.bfd.guard.changed(now, &change, restarting)
            }
            Event::NeighborAdminDown => self.bfd.guard.neighbor_admin_down(now),
            Event::NotOpen(text) => return self.note(format!("no BFD session yet: {text}")),
        };
        self.obey_bfd(order);
    }

    /// The guard's deadline may have come.
    pub(super) fn expire_bfd(&mut self) {
        let order = self.bfd.guard.expire(self.now());
        self.obey_bfd(order);
    }

    fn obey_bfd(&mut self, order: Option<Order>) {
        if !self.bfd.wanted {
            return;
        }
        match order {
            // "the BGP speaker SHOULD send a NOTIFICATION message with the Error Code "Cease" and the Error Subcode
            // "BFD Down"" (RFC 9384 §3), within a Hard Reset where RFC 8538 was negotiated (§4): there is no
            // forwarding on a path that has failed, and nothing to keep routes for.
            Some(Order::Close) => {
                // Over a path that has failed nothing that was learned leads anywhere.
                self.learning.way_is_gone();
                if self.up.is_none() {
                    self.learning.flush();
                }
                let notification = Notification::new(codes::CEASE, codes::CEASE_BFD_DOWN);
                self.input(Input::Stop(StopReason {
                    notification: Some(notification),
                    hard: true,
                    restart: false,
                }));
            }
            Some(Order::Open) => self.input(Input::Start),
            None => {}
        }
    }

    /// The session is over: is the peer expected back, with its routes kept (RFC 4724 §4.2)?
    pub(super) fn expect_restart(&mut self, reason: &DownReason) {
        let time = self.up.as_ref().and_then(|up| up.restart_time);
        self.bfd.restarting = match (reason, time) {
            (DownReason::Transport(_), Some(time)) => Some(self.now() + time),
            // An attempt that comes to nothing changes nothing.
            (DownReason::Transport(_), None) => self.bfd.restarting,
            _ => None,
        };
    }

    /// The session is up: nobody is restarting.
    pub(super) fn restart_is_over(&mut self) {
        self.bfd.restarting = None;
    }

    pub(super) fn bfd_view(&self) -> Option<BfdView> {
        let session = self.bfd.session.as_ref()?;
        Some(BfdView {
            port: session.view(),
            held_until: self.bfd.guard.deadline(),
            discarded: self.context.bfd.discarded(),
        })
    }
}

fn config(settings: Bfd) -> Config {
    Config {
        transmit: settings.transmit,
        receive: settings.receive,
        detect_multiplier: NonZeroU8::new(settings.detect_multiplier).unwrap_or(NonZeroU8::MIN),
    }
}

/// One hop or several, by the same rules as the TTL of BGP's own connection.
fn reach(spec: &PeerSpec) -> Reach {
    let link_local = spec.zone.is_some();
    match spec.settings.ttl {
        _ if link_local => Reach::Link,
        Ttl::Security(1) => Reach::Link,
        Ttl::Security(hops) => Reach::Routed { least_ttl: 255 - hops.saturating_sub(1) },
        Ttl::Multihop(_) => Reach::Routed { least_ttl: 0 },
        Ttl::Direct => match spec.session.peer_asn {
            PeerAsn::External => Reach::Link,
            PeerAsn::Exact(asn) if asn != spec.session.local_asn => Reach::Link,
            PeerAsn::Exact(_) | PeerAsn::Internal | PeerAsn::Any => Reach::Unknown,
        },
    }
}

/// The session's connection cannot outlive the link that it is on.
pub(super) fn is_on_link(spec: &PeerSpec) -> bool {
    reach(spec) == Reach::Link
}

#[cfg(test)]
mod tests {
    use bgp_proto::types::Asn;

    use super::super::testing::{session, settings};
    use super::*;

    fn spec(ttl: Ttl, peer_asn: PeerAsn, zone: Option<&str>) -> PeerSpec {
        let mut settings = settings(peer_asn, "10.0.0.1".parse().unwrap(), 179);
        settings.ttl = ttl;
        PeerSpec {
            name: "tor".into(),
            address: "10.0.0.254".parse().unwrap(),
            zone: zone.map(str::to_owned),
            settings,
            session: session(64501, peer_asn),
            keys: None,
        }
    }

    #[test]
    fn one_hop_or_several_follows_the_sessions_ttl() {
        let exact = |asn| PeerAsn::Exact(Asn::new(asn).unwrap());
        for (ttl, peer_asn, zone, expected) in [
            (Ttl::Direct, exact(64500), None, Reach::Link),
            (Ttl::Direct, PeerAsn::External, None, Reach::Link),
            (Ttl::Direct, exact(64501), None, Reach::Unknown),
            (Ttl::Direct, PeerAsn::Internal, None, Reach::Unknown),
            (Ttl::Direct, PeerAsn::Any, None, Reach::Unknown),
            (Ttl::Direct, PeerAsn::Internal, Some("eth1"), Reach::Link),
            (Ttl::Security(1), PeerAsn::Internal, None, Reach::Link),
            (Ttl::Security(3), PeerAsn::External, None, Reach::Routed { least_ttl: 253 }),
            (Ttl::Multihop(4), PeerAsn::External, None, Reach::Routed { least_ttl: 0 }),
        ] {
            assert_eq!(reach(&spec(ttl, peer_asn, zone)), expected, "{ttl:?} {peer_asn:?} {zone:?}");
        }
    }
}
