//! Peers that no real daemon can be made to be: hand-made messages over a plain socket.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::bgp::{Message, Open, Type, frame};
use crate::daemon::Family;
use crate::fake::{Fake, Read1};
use crate::lab::{Lab, Node};
use crate::pair::{address, nodes};
use crate::speaker::Speaker;
use crate::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

/// A speaker with one peer, which is us.
#[derive(Debug)]
pub struct Stranger {
    /// The speaker, AS 64501 at 10.0.0.1 and fd00::1.
    pub speaker: Speaker,
    /// Where we are, at 10.0.0.2 and fd00::2, AS 64502.
    pub node: Node,
    /// Which of the addresses the session uses.
    pub session: Family,
    /// The laboratory.
    pub lab: Lab,
}

impl Stranger {
    /// Starts the speaker with a peer that is said to be `keys` beside its address.
    #[must_use]
    pub fn start(session: Family, keys: &str) -> Self {
        let (lab, node, other) = nodes();
        let peer = address(session, 2);
        let config = format!(
            "node: {{name: n1}}\n\
             router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\", \"[::]:179\"]}}\n\
             sources: {{manifests: [manifests]}}\nipam: {{stateDir: state}}\n\
             peers:\n  - {{name: stranger, address: \"{peer}\", timers: {{hold: 9s, connectRetry: 1s}}, {keys}}}\n\
             advertisements:\n  - {{name: fixed, prefixes: [203.0.113.0/24, \"2001:db8:1::/48\"]}}\n\
             datapath: {{loops: none}}\napi: {{socket: api.sock}}\n"
        );
        Self { speaker: Speaker::start(&node, &config, &[]), node: other, session, lab }
    }

    /// The speaker's address.
    #[must_use]
    pub fn target(&self) -> IpAddr {
        address(self.session, 1)
    }

    /// Dials and sends `open`; gives up the connections that the speaker closes at once, as it does while its
    /// own attempt or an idle hold is under way.
    #[track_caller]
    pub fn dial(&self, open: &Open) -> (Fake, Vec<Message>) {
        eventually(SOON, "the speaker answers with an OPEN or a NOTIFICATION", || {
            let mut fake = Fake::dial(&self.node, self.target(), SOON);
            fake.send(&open.encode());
            match fake.read(Duration::from_secs(5)) {
                Read1::Message(first) => Ok((fake, vec![first])),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// Sends `open` and returns the NOTIFICATION that it is refused with.
    ///
    /// # Panics
    /// If it is not refused.
    #[track_caller]
    pub fn refusal(&self, open: &Open) -> Message {
        let (mut fake, mut messages) = self.dial(open);
        messages.extend(fake.read_to_close(SOON));
        let refusal = messages.iter().find(|m| m.kind() == Some(Type::Notification));
        refusal.cloned().unwrap_or_else(|| panic!("{open:?} is not refused: {messages:?}"))
    }

    /// Establishes, sends `bytes`, and returns the NOTIFICATION that ends the session.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn provoke(&self, bytes: &[u8]) -> Message {
        let (mut fake, first) = self.dial(&self.open());
        assert_eq!(first[0].kind(), Some(Type::Open), "{first:?}");
        fake.send(&frame(Type::Keepalive, &[]));
        fake.read_until(Type::Keepalive, SOON);
        fake.send(bytes);
        let messages = fake.read_to_close(SOON);
        let last = messages.iter().find(|m| m.kind() == Some(Type::Notification));
        last.cloned().unwrap_or_else(|| panic!("no NOTIFICATION: {messages:?}"))
    }

    /// The OPEN that the speaker expects.
    #[must_use]
    pub fn open(&self) -> Open {
        Open::new(64502, [10, 0, 0, 2])
    }

    /// How often the speaker dials within `time`, when each connection is answered with `bytes` and closed.
    pub fn count_dials(&self, time: Duration, bytes: &[u8]) -> usize {
        let listener = Fake::listen(&self.node, address(self.session, 2));
        let end = Instant::now() + time;
        let mut dials = 0;
        while Instant::now() < end {
            if let Ok((stream, _)) = listener.accept() {
                dials += 1;
                let mut fake = Fake::over(stream);
                fake.send(bytes);
                fake.read_to_close(Duration::from_millis(200));
            } else {
                crate::wait::pause();
            }
        }
        dials
    }
}
