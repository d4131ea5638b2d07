use std::future::Future;
use std::io::Write as _;

use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::super::connect::{Dial, Dialled};
use super::super::egress::EgressLookup;
use super::super::keys::Password;
use super::super::peer::testing::options;
use super::super::tcp::{TcpOptions, TtlRule};
use super::super::tcp_ao::{self, AoKey};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

struct Fixture {
    handle: ListenHandle,
    events: mpsc::Receiver<ListenEvent>,
}

impl Fixture {
    fn new(address: &str) -> Self {
        let (sender, events) = mpsc::channel(16);
        Self { handle: spawn(&[address.parse().unwrap()], sender), events }
    }

    async fn status(&mut self) -> ListenStatus {
        match soon("a status", self.events.recv()).await {
            Some(ListenEvent::Status(status)) => status,
            other => panic!("a status, not {other:?}"),
        }
    }

    async fn incoming(&mut self) -> Incoming {
        match soon("a connection", self.events.recv()).await {
            Some(ListenEvent::Incoming(incoming)) => incoming,
            other => panic!("a connection, not {other:?}"),
        }
    }
}

fn key(prefix: &str, password: Option<&str>) -> ListenKey {
    let keys = password.map(|text| Password::new(text.as_bytes()).unwrap().into());
    ListenKey { prefix: prefix.parse().unwrap(), keys }
}

fn dial(from: &str, to: SocketAddr, password: Option<&str>) -> Dial {
    Dial {
        address: to.ip(),
        zone: None,
        port: to.port(),
        local_address: Some(from.parse().unwrap()),
        source_interface: None,
        keys: password.map(|text| Password::new(text.as_bytes()).unwrap().into()),
        options: options(),
    }
}

fn connect(dial: Dial) -> std::pin::Pin<Box<dyn Future<Output = Result<Dialled, String>>>> {
    Box::pin(dial.connect(EgressLookup::open().unwrap()))
}

/// Dials that must be dropped are under way before the one that must succeed, so that they had their chance.
async fn only_the_signed_one_gets_in(mut fixture: Fixture, wrong: Vec<Dial>, right: Dial) {
    let mut dropped: Vec<_> = wrong.into_iter().map(connect).collect();
    for attempt in &mut dropped {
        assert!(attempt.now_or_never().is_none(), "an unsigned SYN must not be answered");
    }
    let expected = right.local_address.unwrap();
    let dialled = soon("the signed dial", connect(right)).await.unwrap();
    let incoming = fixture.incoming().await;
    assert_eq!(incoming.remote.ip(), expected);
    assert_eq!(incoming.remote, dialled.local);
    assert_eq!(incoming.local, dialled.remote);
    for attempt in &mut dropped {
        assert!(attempt.now_or_never().is_none());
    }
    assert!(fixture.events.try_recv().is_err(), "nobody else got in");
}

#[tokio::test]
async fn md5_lets_in_the_right_key_alone() {
    let mut fixture = Fixture::new("127.0.0.1:0");
    fixture.handle.set_keys(vec![
        key("127.0.0.2/32", Some("right")),
        key("127.0.0.3/32", Some("right")),
        key("127.0.0.5/32", Some("right")),
    ]);
    let to = fixture.status().await.bound.unwrap();
    let wrong = vec![
        dial("127.0.0.2", to, Some("wrong")),
        dial("127.0.0.3", to, None),
        // The dialler signs and the listener has no key for it.
        dial("127.0.0.4", to, Some("right")),
    ];
    only_the_signed_one_gets_in(fixture, wrong, dial("127.0.0.5", to, Some("right"))).await;
}

#[tokio::test]
async fn md5_by_prefix_with_a_longer_one_inside() {
    let mut fixture = Fixture::new("127.0.0.1:0");
    fixture.handle.set_keys(vec![key("127.0.9.0/24", Some("rack")), key("127.0.9.9/32", Some("own"))]);
    let to = fixture.status().await.bound.unwrap();
    let wrong = vec![dial("127.0.9.9", to, Some("rack")), dial("127.0.9.1", to, Some("own"))];
    only_the_signed_one_gets_in(fixture, wrong, dial("127.0.9.2", to, Some("rack"))).await;
}

#[tokio::test]
async fn md5_on_ipv6() {
    let mut fixture = Fixture::new("[::1]:0");
    fixture.handle.set_keys(vec![key("::1/128", Some("six")), key("127.0.0.2/32", Some("four"))]);
    let status = fixture.status().await;
    assert!(status.refused.is_empty(), "keys of the other family are the other socket's: {status:?}");
    let to = status.bound.unwrap();
    let wrong = vec![dial("::1", to, Some("wrong")), dial("::1", to, None)];
    only_the_signed_one_gets_in(fixture, wrong, dial("::1", to, Some("six"))).await;
}

/// On a kernel with TCP-AO who signs comes in; on one without nobody does, and neither side sends anything unsigned.
#[tokio::test]
async fn tcp_ao_lets_in_who_signs_and_nobody_where_the_kernel_has_none() {
    let ao = |secret: &[u8]| {
        let key = Password::new(secret).unwrap();
        let key = AoKey {
            send_id: 5,
            receive_id: 5,
            algorithm: speaker_config::model::TcpAoAlgorithm::HmacSha1,
            key,
        };
        Some(Keys::TcpAo([key].into()))
    };
    let mut fixture = Fixture::new("127.0.0.1:0");
    let from = |from: &str, keys| ListenKey { prefix: from.parse().unwrap(), keys };
    fixture.handle.set_keys(vec![from("127.0.0.2/32", ao(b"right")), from("127.0.0.3/32", ao(b"right"))]);
    let status = fixture.status().await;
    let to = status.bound.unwrap();
    let signed = |from: &str, secret: &[u8]| Dial { keys: ao(secret), ..dial(from, to, None) };
    if tcp_ao::available().is_ok() {
        assert!(status.refused.is_empty(), "{:?}", status.refused);
        let wrong = vec![signed("127.0.0.2", b"wrong"), dial("127.0.0.2", to, None)];
        return only_the_signed_one_gets_in(fixture, wrong, signed("127.0.0.3", b"right")).await;
    }
    let why = status.refused.get(&"127.0.0.2/32".parse().unwrap()).unwrap();
    assert!(why.contains("does not take the TCP-AO key: this kernel has no TCP-AO"), "{why}");
    let error = soon("the dial", connect(signed("127.0.0.2", b"right"))).await.unwrap_err();
    assert!(error.starts_with("setting the TCP-AO key: this kernel has no TCP-AO (RFC 5925)"), "{error}");
    // Who does not sign gets through the handshake, since the kernel knows of no key, and no further.
    let mut unsigned = soon("the handshake", connect(dial("127.0.0.2", to, None))).await.unwrap().stream;
    let mut end = [0; 1];
    let read = soon("the end", tokio::io::AsyncReadExt::read(&mut unsigned, &mut end)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let _free = soon("the handshake", connect(dial("127.0.0.4", to, None))).await.unwrap();
    assert_eq!(fixture.incoming().await.remote.ip().to_string(), "127.0.0.4", "the first that got in");
}

#[tokio::test]
async fn a_key_that_changes_holds_for_the_next_connection() {
    let mut fixture = Fixture::new("127.0.0.1:0");
    fixture.handle.set_keys(vec![key("127.0.0.0/8", Some("old"))]);
    let to = fixture.status().await.bound.unwrap();
    fixture.handle.set_keys(vec![key("127.0.0.0/8", Some("new"))]);
    assert!(fixture.status().await.refused.is_empty());
    let wrong = vec![dial("127.0.0.2", to, Some("old"))];
    only_the_signed_one_gets_in(fixture, wrong, dial("127.0.0.3", to, Some("new"))).await;
}

#[tokio::test]
async fn a_missing_or_contradictory_key_lets_nobody_in() {
    let mut fixture = Fixture::new("127.0.0.1:0");
    fixture.handle.set_keys(vec![
        key("127.0.0.2/32", None),
        key("127.0.0.3/32", Some("a")),
        key("127.0.0.3/32", Some("b")),
    ]);
    let status = fixture.status().await;
    let refused: Vec<String> = status.refused.keys().map(ToString::to_string).collect();
    assert_eq!(refused, ["127.0.0.2/32", "127.0.0.3/32"]);
    let to = status.bound.unwrap();
    let mut refused = Vec::new();
    for from in ["127.0.0.2", "127.0.0.3"] {
        refused.push(soon("the handshake", connect(dial(from, to, None))).await.unwrap());
    }
    let _kept = soon("the handshake", connect(dial("127.0.0.4", to, None))).await.unwrap();
    assert_eq!(fixture.incoming().await.remote.ip().to_string(), "127.0.0.4");
    for dialled in refused {
        soon("the close", dialled.stream.readable()).await.unwrap();
        let end = dialled.stream.try_read(&mut [0; 16]);
        assert!(matches!(end, Ok(0) | Err(_)), "closed at once, not {end:?}");
    }
}

#[tokio::test]
async fn a_taken_port_is_a_status_and_is_tried_again() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut fixture = Fixture::new(&address.to_string());
    fixture.handle.set_keys(Vec::new());
    assert_eq!(fixture.status().await.bound.unwrap_err(), "binding: Address already in use");
    drop(taken);
    assert_eq!(fixture.status().await.bound.unwrap(), address);
    fixture.handle.set_addresses(&[]);
    soon("the port to be free", async {
        while std::net::TcpListener::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn ipv4_and_ipv6_share_a_port_on_sockets_of_their_own() {
    let mut first = Fixture::new("0.0.0.0:0");
    first.handle.set_keys(Vec::new());
    let port = first.status().await.bound.unwrap().port();
    let mut second = Fixture::new(&format!("[::]:{port}"));
    second.handle.set_keys(Vec::new());
    assert_eq!(second.status().await.bound.unwrap().port(), port);
    let to = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    let _dialled = soon("the dial", connect(dial("127.0.0.2", to, None))).await.unwrap();
    assert_eq!(first.incoming().await.remote.ip().to_string(), "127.0.0.2");
}

fn min_ttl_drops() -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let found =
        names.split_whitespace().zip(values.split_whitespace()).find(|(name, _)| *name == "TCPMinTTLDrop");
    found.expect("the kernel counts segments dropped by the minimum TTL").1.parse().unwrap()
}

#[tokio::test]
async fn ttl_security_drops_what_came_too_far() {
    for (bind, from) in [("127.0.0.1:0", "127.0.0.2"), ("[::1]:0", "::1")] {
        let mut fixture = Fixture::new(bind);
        fixture.handle.set_keys(Vec::new());
        let to = fixture.status().await.bound.unwrap();
        for (send, passes) in [(255, true), (253, true), (252, false)] {
            let mut dial = dial(from, to, None);
            dial.options = TcpOptions { ttl: TtlRule { send, accept: None }, ..dial.options };
            let dialled = soon("the dial", connect(dial)).await.unwrap();
            let incoming = fixture.incoming().await;
            let rule = TtlRule { send: 255, accept: Some(253) };
            let strict = TcpOptions { ttl: rule, ..options() };
            strict.apply(&SockRef::from(&incoming.stream), to.is_ipv6()).unwrap();
            let before = min_ttl_drops();
            dialled.stream.into_std().unwrap().write_all(b"x").unwrap();
            if passes {
                soon("the octet", incoming.stream.readable()).await.unwrap();
                assert_eq!(incoming.stream.try_read(&mut [0; 4]).unwrap(), 1, "TTL {send} from {from}");
            } else {
                soon("a drop", async {
                    while min_ttl_drops() == before {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
                let end = incoming.stream.try_read(&mut [0; 4]);
                assert_eq!(end.unwrap_err().kind(), io::ErrorKind::WouldBlock, "TTL {send} from {from}");
            }
        }
    }
}

#[test]
fn strangers_are_logged_once_in_ten_seconds() {
    let mut log = RefusalLog::default();
    let at = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
    assert_eq!(log.count(at(0)), Some(0));
    assert_eq!(log.count(at(1)), None);
    assert_eq!(log.count(at(9)), None);
    assert_eq!(log.count(at(10)), Some(2));
    assert_eq!(log.count(at(20)), Some(0));
}
