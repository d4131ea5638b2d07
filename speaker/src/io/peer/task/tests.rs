use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::time::Duration;

use bgp_proto::bfd::{self, Cause, Change};
use bgp_proto::session::{DownReason, PeerAsn};
use bgp_proto::wire::{Notification, Open, codes, keepalive};
use tokio::net::TcpListener;

use super::super::act::MAX_LINGERING;
use super::super::testing::{context, session, settings};
use super::*;
use crate::io::bfd::Event;
use crate::io::clock::Clock;
use crate::io::listen::Incoming;

const OURS: u32 = 64500;
const THEIRS: u32 = 64501;

fn task() -> Task {
    let peer_asn = PeerAsn::Exact(Asn::new(THEIRS).unwrap());
    let address = "127.0.0.1".parse().unwrap();
    let mut session = session(OURS, peer_asn);
    session.passive = true;
    let settings = settings(peer_asn, address, 179);
    let spec = PeerSpec { name: "peer".into(), address, zone: None, settings, session, keys: None };
    let (events, _) = mpsc::channel(16);
    let (commands, _) = mpsc::unbounded_channel();
    Task::new(spec, context(events, Clock::start()), commands.downgrade())
}

/// A connection and its other end, of which the runtime knows nothing.
async fn connection(listener: &TcpListener) -> (Incoming, StdStream) {
    let theirs = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (stream, remote) = listener.accept().await.unwrap();
    let local = stream.local_addr().unwrap();
    (Incoming::new(stream, local, remote), theirs)
}

/// A task whose session is up, its connection and the peer's end of it.
async fn established(listener: &TcpListener) -> (Task, ConnId, StdStream) {
    let mut task = task();
    task.start();
    let (incoming, theirs) = connection(listener).await;
    task.accepted(incoming);
    let conn = task.connections[0].id;
    let Open { hold_time, capabilities, .. } = our_open();
    let asn = Asn::new(THEIRS).unwrap();
    let open = Open { asn, hold_time, router_id: session(THEIRS, PeerAsn::Any).router_id, capabilities };
    for bytes in [open.encode(), keepalive()] {
        task.input(Input::Received { conn, bytes });
    }
    assert_eq!(task.session.state(), State::Established);
    (task, conn, theirs)
}

fn our_open() -> Open {
    let config = session(OURS, PeerAsn::Any);
    let capabilities = config
        .families
        .iter()
        .map(|family| bgp_proto::wire::Capability::Multiprotocol(family.afi_safi()))
        .collect();
    let hold_time = config.timers.hold;
    Open { asn: config.local_asn, hold_time, router_id: config.router_id, capabilities }
}

async fn door() -> TcpListener {
    TcpListener::bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).await.unwrap()
}

/// As if the process had been stopped for so long.
fn stall(task: &mut Task, time: Duration) {
    task.context.clock = Clock::started_before(Duration::from_nanos(task.now().as_nanos()) + time);
}

/// Our own stall is not the peer's silence.
#[tokio::test]
async fn after_a_stall_what_waits_in_the_socket_goes_before_the_hold_timer() {
    let (mut task, _, mut theirs) = established(&door().await).await;
    let span = tracing::Span::none();
    assert!(task.turn(&span));
    theirs.write_all(&keepalive()).unwrap();
    stall(&mut task, Duration::from_secs(91));
    assert!(task.turn(&span));
    assert_eq!(task.session.state(), State::Established);
    // Nothing waits now: it is the peer that is silent.
    stall(&mut task, Duration::from_secs(91));
    task.turn(&span);
    assert_eq!(task.session.state(), State::Idle);
}

#[tokio::test]
async fn a_notification_that_waits_is_heard_before_a_failed_write_ends_the_session() {
    let (mut task, conn, mut theirs) = established(&door().await).await;
    let cease = Notification::new(codes::CEASE, codes::CEASE_PEER_DECONFIGURED);
    theirs.write_all(&cease.encode()).unwrap();
    task.write_failed(conn, &std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    let (_, reason) = task.session.view().last_down.unwrap();
    assert_eq!(reason, DownReason::Received(cease));
}

#[tokio::test]
async fn a_peer_that_is_refused_again_and_again_costs_a_bounded_number_of_connections() {
    let door = door().await;
    let mut task = task();
    let mut refused = Vec::new();
    for _ in 0..4 * MAX_LINGERING {
        let (incoming, theirs) = connection(&door).await;
        task.accepted(incoming);
        assert!(task.lingering.len() <= MAX_LINGERING);
        refused.push(theirs);
    }
    assert!(task.connections.is_empty());
    let expected = Notification::new(codes::CEASE, codes::CEASE_CONNECTION_REJECTED).encode();
    // Those that are closed in order need the runtime for it.
    tokio::task::spawn_blocking(move || {
        for mut theirs in refused {
            let mut heard = vec![0; expected.len()];
            theirs.read_exact(&mut heard).unwrap();
            assert_eq!(heard, expected);
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_connection_that_floods_us_leaves_the_other_its_turn() {
    let door = door().await;
    let (mut task, first, mut flood) = established(&door).await;
    let (incoming, mut quiet) = connection(&door).await;
    task.accepted(incoming);
    let second = task.connections[1].id;
    flood.set_nonblocking(true).unwrap();
    quiet.write_all(&[0xff; 10]).unwrap();
    let (_commands, mut inbox) = mpsc::unbounded_channel();
    let moved = Moved::default();
    let mut turns = Vec::new();
    // The kernel may take a while to tell of the second; without fairness it would never have its turn.
    for _ in 0..1000 {
        // There is no hub to take events.
        task.pending.clear();
        while flood.write(&keepalive()).is_ok() {}
        match task.wait(&mut inbox, &moved).await {
            Wake::Ready(ready) => {
                turns.push(ready.id);
                task.ready(ready);
            }
            Wake::Looked(_) => task.lookup = None,
            _ => {}
        }
        if turns.contains(&first) && turns.contains(&second) {
            return;
        }
    }
    panic!("the flood had every turn");
}

const FAILED: Change =
    Change { from: bfd::State::Up, to: bfd::State::Down, cause: Cause::DetectionTimeExpired };
const BACK: Change = Change { from: bfd::State::Init, to: bfd::State::Up, cause: Cause::Heard };

/// What the peer was sent until the connection was closed.
fn read_all(mut theirs: StdStream) -> Vec<u8> {
    let mut octets = Vec::new();
    theirs.read_to_end(&mut octets).unwrap();
    octets
}

#[tokio::test]
async fn a_failure_of_bfd_closes_bgp_and_holds_it_until_bfd_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut task, _, theirs) = established(&listener).await;
    task.command(Command::Bfd(Event::Changed(FAILED)));
    assert_eq!(task.session.state(), State::Idle);
    assert!(task.up.is_none() && task.bfd.guard.holds());
    let down = task.pending.iter().find_map(|event| match event {
        PeerEvent::Down(DownReason::Sent(notification, text)) => Some((notification.clone(), text.clone())),
        _ => None,
    });
    let (notification, text) = down.expect("the hub is told");
    assert_eq!((notification.code, notification.subcode), (codes::CEASE, codes::CEASE_BFD_DOWN));
    assert_eq!(text, "BFD has found that the path is down");
    task.lingering.join_next().await;
    let said = read_all(theirs);
    assert!(said.ends_with(&Notification::new(codes::CEASE, codes::CEASE_BFD_DOWN).encode()), "{said:02x?}");

    // Who dials meanwhile is not answered, not even by a refusal.
    let (incoming, theirs) = connection(&listener).await;
    task.accepted(incoming);
    assert_eq!(read_all(theirs), b"");
    task.command(Command::Start);
    assert_eq!(task.session.state(), State::Idle, "an operator's start does not pass BFD by");
    task.command(Command::Bfd(Event::Changed(BACK)));
    assert_eq!(task.session.state(), State::Active);
    let (incoming, _theirs) = connection(&listener).await;
    task.accepted(incoming);
    assert_eq!(task.session.state(), State::OpenSent);
}

#[tokio::test]
async fn what_an_operator_shut_down_bfd_does_not_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut task, ..) = established(&listener).await;
    task.command(Command::Bfd(Event::Changed(FAILED)));
    task.command(Command::Stop(StopReason { notification: None, hard: false, restart: false }));
    task.command(Command::Bfd(Event::Changed(BACK)));
    assert_eq!(task.session.state(), State::Idle);
    task.command(Command::Start);
    assert_eq!(task.session.state(), State::Active, "and what it failed before is forgotten");
}

#[tokio::test]
async fn a_failure_of_bfd_while_the_peer_restarts_is_no_news() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (restart_time, reason, held) in [
        (Some(Duration::from_secs(60)), "closed by the peer", false),
        (Some(Duration::ZERO), "closed by the peer", true),
        (None, "closed by the peer", true),
    ] {
        let (mut task, conn, _theirs) = established(&listener).await;
        task.up.as_mut().unwrap().restart_time = restart_time;
        task.closed(conn, reason.to_owned());
        task.command(Command::Bfd(Event::Changed(FAILED)));
        assert_eq!(task.bfd.guard.holds(), held, "{restart_time:?}");
    }
}

#[tokio::test]
async fn a_link_that_goes_down_takes_its_session_along() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut task, ..) = established(&listener).await;
    task.up.as_mut().unwrap().interface = Some("eth1".to_owned());
    task.link_down("eth2");
    assert_eq!(task.session.state(), State::Established);
    task.link_down("eth1");
    assert_eq!(task.session.state(), State::Idle);
    let expected = PeerEvent::Down(DownReason::Transport("interface eth1 went down".to_owned()));
    assert!(task.pending.contains(&expected), "{:?}", task.pending);
    // Several hops may go another way.
    let (mut task, ..) = established(&listener).await;
    task.spec.settings.ttl = speaker_config::model::Ttl::Multihop(4);
    task.up.as_mut().unwrap().interface = Some("eth1".to_owned());
    task.link_down("eth1");
    assert_eq!(task.session.state(), State::Established);
}
