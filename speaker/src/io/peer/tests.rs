use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use bgp_proto::session::{DownReason, PeerAsn};
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, HoldTime, RouterId};
use bgp_proto::wire::{
    DecodeContext, EncodeContext, Message, NextHop, Notification, Open, Origin, PathAttributes, RefreshKind,
    RouteRefresh, keepalive, pack_announcements, read_message,
};
use bytes::{Bytes, BytesMut};
use speaker_config::model::{Authentication, PasswordSource, Receive, RouteAttributes, Ttl};
use speaker_core::export::{Exporter, NextHopInputs, PeerOut, next_hop};
use speaker_core::rib::{Contribution, LocRib, Route, Source, SourceKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::testing::{session, settings};
use super::*;
use crate::io::keys::Password;
use crate::io::listen::{self, ListenEvent, ListenHandle, ListenKey};

mod after;
mod ends;
mod load;
mod raw;
mod routes;

use raw::Raw;
use routes::{Routes, prefixes};

const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// A peer task with a hub that answers Established with its tables.
struct Node {
    handle: PeerHandle,
    events: mpsc::Receiver<(PeerName, PeerEvent)>,
    routes: Routes,
    settings: PeerSettings,
}

impl Node {
    fn new(spec: PeerSpec, routes: Routes) -> Self {
        let (sender, events) = mpsc::channel(16);
        let settings = spec.settings.clone();
        let handle = spawn(spec, context(sender));
        handle.start();
        Self { handle, events, routes, settings }
    }

    async fn event(&mut self) -> PeerEvent {
        let (name, event) = soon("an event", self.events.recv()).await.expect("the task lives");
        assert_eq!(&name, self.handle.name());
        event
    }

    /// Until the session is up; its tables are attached.
    async fn up(&mut self) -> Established {
        loop {
            if let PeerEvent::Established(established) = self.event().await {
                self.attach(&established);
                return *established;
            }
        }
    }

    /// The same, with every connection that comes by `door`: while the session is idle they are refused.
    async fn up_by(&mut self, door: &mut Door) {
        loop {
            tokio::select! {
                incoming = door.incoming() => self.handle.accepted(incoming),
                event = self.events.recv() => if let Some((_, PeerEvent::Established(established))) = event {
                    return self.attach(&established);
                },
            }
        }
    }

    fn attach(&mut self, established: &Established) {
        let tables = self.routes.tables(&self.settings, &established.negotiated);
        self.handle.attach(established.negotiated.conn, tables);
    }

    async fn down(&mut self) -> DownReason {
        loop {
            if let PeerEvent::Down(reason) = self.event().await {
                return reason;
            }
        }
    }

    async fn note(&mut self, wanted: &str) {
        loop {
            if let PeerEvent::Note(text) = self.event().await
                && text.contains(wanted)
            {
                return;
            }
        }
    }

    async fn view(&self) -> PeerView {
        soon("a view", self.handle.view()).await.expect("the task lives")
    }

    /// Until the view is as `wanted`.
    async fn until(&self, what: &str, wanted: impl Fn(&PeerView) -> bool) -> PeerView {
        soon(what, async {
            loop {
                let view = self.view().await;
                if wanted(&view) {
                    return view;
                }
                // Between two looks others may have the processor.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
    }
}

fn context(events: mpsc::Sender<(PeerName, PeerEvent)>) -> PeerContext {
    super::testing::context(events, Clock::start())
}

fn spec(local: &str, remote: &str, port: u16, asn: u32, peer: u32) -> PeerSpec {
    let peer_asn = PeerAsn::Exact(Asn::new(peer).unwrap());
    PeerSpec {
        name: format!("{asn}-to-{peer}").into(),
        address: remote.parse().unwrap(),
        zone: None,
        settings: settings(peer_asn, local.parse().unwrap(), port),
        session: session(asn, peer_asn),
        keys: None,
    }
}

/// A listener, as the hub has one.
struct Door {
    _handle: ListenHandle,
    events: mpsc::Receiver<ListenEvent>,
    port: u16,
}

impl Door {
    async fn new(address: &str, keys: Vec<ListenKey>) -> Self {
        let (sender, mut events) = mpsc::channel(16);
        let handle = listen::spawn(&[SocketAddr::new(address.parse().unwrap(), 0)], sender);
        handle.set_keys(keys);
        let Some(ListenEvent::Status(status)) = soon("listening", events.recv()).await else { panic!() };
        Self { _handle: handle, events, port: status.bound.unwrap().port() }
    }

    async fn incoming(&mut self) -> Incoming {
        match soon("a connection", self.events.recv()).await {
            Some(ListenEvent::Incoming(incoming)) => incoming,
            other => panic!("a connection, not {other:?}"),
        }
    }
}

fn stop(subcode: u8, text: &str) -> StopReason {
    StopReason { notification: Some(Notification::cease(subcode, text)), hard: false, restart: false }
}

fn counts(view: &PeerView) -> (ReceivedCount, ReceivedCount) {
    (view.received.ipv4, view.received.ipv6)
}

/// Two tasks over loopback: one listens, one dials. Both are up.
async fn pair(address: &str, left: Routes, right: Routes, change: impl Fn(&mut PeerSpec)) -> (Node, Node) {
    let mut door = Door::new(address, Vec::new()).await;
    let mut listening = spec(address, address, 1, 64501, 64502);
    listening.session.passive = true;
    let mut dialling = spec(address, address, door.port, 64502, 64501);
    change(&mut listening);
    change(&mut dialling);
    let mut left = Node::new(listening, left);
    let mut right = Node::new(dialling, right);
    left.handle.accepted(door.incoming().await);
    left.up().await;
    right.up().await;
    (left, right)
}

#[tokio::test]
async fn two_tasks_tell_each_other_their_tables_and_what_changes() {
    for address in ["127.0.0.1", "::1"] {
        let (mut left, right) = pair(address, Routes::new(300), Routes::new(7), |_| {}).await;
        let complete = |view: &PeerView| view.end_of_rib == FamilySet::from_iter(Family::ALL);
        let view = right.until("the table of the left", complete).await;
        assert_eq!(counts(&view), (ReceivedCount::Exact(300), ReceivedCount::Exact(300)));
        let view = left.until("the table of the right", complete).await;
        assert_eq!(counts(&view), (ReceivedCount::Exact(7), ReceivedCount::Exact(7)));
        left.routes.withdraw(100);
        left.handle.wake(None);
        let fewer = (ReceivedCount::Exact(200), ReceivedCount::Exact(200));
        right.until("the withdrawal", |view| counts(view) == fewer).await;
        let rows = right.handle.received(|prefix| prefix == prefixes(Family::Ipv4Unicast, 300)[150]).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].peer, "64502-to-64501");
        let view = left.until("nothing pending", |view| view.caught_up && view.out_queue == 0).await;
        assert_eq!(view.in_queue, 0);
        assert_eq!(view.session.state, State::Established);
    }
}

#[tokio::test]
async fn a_session_that_is_stopped_comes_back_and_is_told_everything_again() {
    let mut door = Door::new("127.0.0.1", Vec::new()).await;
    let mut listening = spec("127.0.0.1", "127.0.0.1", 1, 64501, 64502);
    listening.session.passive = true;
    let mut left = Node::new(listening, Routes::new(10));
    let mut right = Node::new(spec("127.0.0.1", "127.0.0.1", door.port, 64502, 64501), Routes::new(0));
    for round in 0..3 {
        soon("the session", left.up_by(&mut door)).await;
        right.up().await;
        right.until("the table", |view| view.received.ipv4 == ReceivedCount::Exact(10)).await;
        if round < 2 {
            left.handle.stop(StopReason { restart: true, ..stop(4, "round") });
            assert!(matches!(left.down().await, DownReason::Sent(n, _) if (n.code, n.subcode) == (6, 4)));
            let reason = right.down().await;
            assert!(matches!(reason, DownReason::Received(n) if (n.code, n.subcode) == (6, 4)));
            assert_eq!(
                right.view().await.received.ipv4,
                ReceivedCount::Exact(0),
                "with the session goes its table"
            );
        }
    }
    assert_eq!(right.view().await.session.established, 3);
}

#[tokio::test]
async fn md5_on_both_sides_and_none_without_its_key() {
    let key = Password::new(b"tor secret").unwrap();
    let keys = vec![ListenKey { prefix: "127.0.0.2/32".parse().unwrap(), keys: Some(key.clone().into()) }];
    let mut door = Door::new("127.0.0.1", keys).await;
    let source = Some(Authentication::Md5(PasswordSource::File("tor.key".into())));
    let mut keyless = spec("127.0.0.2", "127.0.0.1", door.port, 64502, 64501);
    keyless.settings.authentication.clone_from(&source);
    let mut dialling = keyless.clone();
    dialling.keys = Some(key.clone().into());
    let mut listening = spec("127.0.0.1", "127.0.0.2", 1, 64501, 64502);
    listening.session.passive = true;
    listening.settings.authentication = source;
    listening.keys = Some(key.into());
    let mut without = Node::new(keyless, Routes::new(0));
    without.note("TCP MD5 key is missing").await;
    assert_eq!(without.view().await.session.established, 0);
    let mut left = Node::new(listening, Routes::new(3));
    let mut right = Node::new(dialling, Routes::new(0));
    left.handle.accepted(door.incoming().await);
    left.up().await;
    right.up().await;
    right.until("the table", |view| view.received.ipv4 == ReceivedCount::Exact(3)).await;
}

#[tokio::test]
async fn ttl_security_and_multihop_come_up() {
    for ttl in [Ttl::Security(1), Ttl::Multihop(3)] {
        let (_left, right) =
            pair("127.0.0.1", Routes::new(3), Routes::new(0), |spec| spec.settings.ttl = ttl).await;
        right.until("the table", |view| view.received.ipv4 == ReceivedCount::Exact(3)).await;
    }
}

#[tokio::test]
async fn what_is_asked_for_again_comes_between_markers() {
    let (left, right) = pair("127.0.0.1", Routes::new(20), Routes::new(0), |_| {}).await;
    let both = (ReceivedCount::Exact(20), ReceivedCount::Exact(20));
    right.until("the tables", |view| counts(view) == both).await;
    right.handle.request_refresh(FamilySet::from_iter([Family::Ipv4Unicast]));
    left.until("BoRR and EoRR", |view| view.refresh_markers_sent == 2 && view.caught_up).await;
    right.until("the table again", |view| view.session.received.route_refreshes == 2).await;
    right.until("the table again", |view| counts(view) == both).await;
    let before = left.view().await.updates_sent;
    left.handle.soft_out(FamilySet::from_iter([Family::Ipv6Unicast]));
    left.until("one more", |view| view.updates_sent == before + 1).await;
}

#[tokio::test]
async fn a_refresh_that_comes_before_end_of_rib_is_answered_after_it() {
    let (mut raw, mut node) = Raw::new(64501, 64502, Routes::new(5)).await;
    raw.handshake(90).await;
    // No table is attached yet.
    raw.send(RouteRefresh { family: Family::Ipv4Unicast.afi_safi(), kind: RefreshKind::Request }.encode())
        .await;
    node.until("the request", |view| view.session.received.route_refreshes == 1).await;
    node.up().await;
    let mut seen = Vec::new();
    while seen.last() != Some(&"EoRR") {
        match raw.message().await {
            Message::Update(update) if update.end_of_rib == Some(Family::Ipv4Unicast) => seen.push("EoR"),
            Message::Update(update) => {
                let families = update.announced.iter().map(|announcement| announcement.nlri.family());
                seen.extend(families.filter(|family| *family == Family::Ipv4Unicast).map(|_| "routes"));
            }
            Message::RouteRefresh(refresh) if refresh.kind == RefreshKind::Begin => seen.push("BoRR"),
            Message::RouteRefresh(refresh) if refresh.kind == RefreshKind::End => seen.push("EoRR"),
            _ => {}
        }
    }
    assert_eq!(seen, ["routes", "EoR", "BoRR", "routes", "EoRR"]);
}

#[tokio::test]
async fn a_hub_that_is_busy_holds_up_no_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mut events) = mpsc::channel(1);
    let handle = spawn(spec("127.0.0.1", "127.0.0.1", port, 64501, 64502), context(sender));
    handle.start();
    let mut raw = Raw::accept(&listener, 64502).await;
    raw.handshake(90).await;
    soon("established with nobody listening", async {
        while handle.view().await.unwrap().session.state != State::Established {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut last = None;
    while !matches!(last, Some(PeerEvent::Established(_))) {
        last = soon("the events in the end", events.recv()).await.map(|(_, event)| event);
    }
    drop(handle);
    raw.end().await;
}

#[tokio::test]
async fn an_established_session_knows_its_egress() {
    let (mut raw, mut node) = Raw::new(64501, 64502, Routes::new(0)).await;
    raw.handshake(90).await;
    let established = node.up().await;
    assert_eq!(established.egress.interface.as_deref(), Some("lo"));
    assert_eq!(established.negotiated.remote.port(), node.settings.port);
}

#[tokio::test]
async fn nothing_is_kept_where_routes_are_only_counted() {
    let (mut raw, mut node) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut spec = spec("127.0.0.1", "127.0.0.1", listener.local_addr().unwrap().port(), 64501, 64502);
        spec.settings.receive = Receive::None;
        let node = Node::new(spec, Routes::new(0));
        (Raw::accept(&listener, 64502).await, node)
    };
    raw.handshake(90).await;
    node.up().await;
    let mut bytes = BytesMut::new();
    let context = EncodeContext { asn4: true, ..EncodeContext::default() };
    let all = prefixes(Family::Ipv4Unicast, 1000).into_iter().map(Into::into);
    pack_announcements(
        &context,
        Family::Ipv4Unicast,
        &routes::attributes(64502),
        &routes::V4,
        all,
        &mut bytes,
    )
    .unwrap();
    raw.send(bytes.freeze()).await;
    let counted = ReceivedCount::Nlri { announced: 1000, withdrawn: 0 };
    node.until("the count", |view| view.received.ipv4 == counted).await;
    assert!(node.handle.received(|_| true).await.is_empty());
}
