//! A BGP peer in a thread of its own that notes when each prefix was announced and withdrawn.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tests::bgp::{HEADER, Open, Type, frame};
use tests::fake::{Fake, Read1};
use tests::lab::Node;

use crate::seen::each;

const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// When each prefix (address, length) was last announced, and when withdrawn.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Announced and not withdrawn since.
    pub(crate) present: BTreeMap<(u32, u8), Instant>,
    /// Withdrawn and not announced since.
    pub(crate) gone: BTreeMap<(u32, u8), Instant>,
}

/// The peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listener(Arc<(Mutex<Heard>, Condvar)>);

impl Listener {
    /// Accepts one session at port 179 of `local` on `node`, as AS `asn`, and keeps it until the process ends.
    pub(crate) fn start(node: &Node, local: IpAddr, asn: u32) -> Self {
        let listener = Self::default();
        let socket = Fake::listen(node, local);
        let heard = listener.clone();
        std::thread::spawn(move || {
            let mut peer = Fake::accept(&socket, Duration::from_secs(60));
            let mut open = Open::new(asn, [10, 0, 0, 254]);
            open.hold = 90;
            peer.establish(&open, Duration::from_secs(30));
            heard.listen(&mut peer);
        });
        listener
    }

    fn listen(&self, peer: &mut Fake) {
        let mut next = Instant::now() + KEEPALIVE_EVERY;
        loop {
            match peer.read(next.saturating_duration_since(Instant::now())) {
                Read1::Message(message) if message.kind() == Some(Type::Update) => {
                    self.update(&message.bytes[HEADER..]);
                }
                Read1::Message(_) | Read1::Nothing => {}
                Read1::Closed => return,
            }
            if Instant::now() >= next {
                peer.send(&frame(Type::Keepalive, &[]));
                next = Instant::now() + KEEPALIVE_EVERY;
            }
        }
    }

    fn update(&self, body: &[u8]) {
        let now = Instant::now();
        let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let withdrawn = length(0);
        let attributes = length(2 + withdrawn);
        let mut heard = self.0.0.lock().expect("what was heard");
        each(&body[2..2 + withdrawn], |address, length| {
            heard.present.remove(&(address, length));
            heard.gone.insert((address, length), now);
        });
        each(&body[4 + withdrawn + attributes..], |address, length| {
            heard.gone.remove(&(address, length));
            heard.present.entry((address, length)).or_insert(now);
        });
        self.0.1.notify_all();
    }

    /// Waits until `look` finds what it looks for.
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut(&Heard) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(120);
        let mut heard = self.0.0.lock().expect("what was heard");
        loop {
            if let Some(found) = look(&heard) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: {} prefixes are announced", heard.present.len());
            heard = self.0.1.wait_timeout(heard, left).expect("what was heard").0;
        }
    }
}
