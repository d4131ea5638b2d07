//! One end of a peering: the session with what a shell keeps for it.

use std::collections::BTreeMap;

use bgp_proto::session::{ConnId, Negotiated, Session, SessionConfig};
use bgp_proto::types::Timestamp;
use speaker_core::export::{Feed, Outbox};

/// A connection of this end.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) wire: usize,
    pub(crate) out: Outbox,
}

/// A session and its connections. `Session`, `Feed` and `Outbox` are those that the speaker runs.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Tells this one from those before it.
    pub(crate) generation: u64,
    pub(crate) session: Session,
    pub(crate) connections: BTreeMap<ConnId, Connection>,
    next_conn: u64,
    /// The dial under way.
    pub(crate) dial: Option<u64>,
    pub(crate) dials: u64,
    pub(crate) up: Option<Box<Negotiated>>,
    /// The earliest wake-up that was noted.
    pub(crate) alarm: Option<Timestamp>,
    /// What the node has for the peer; empty at a ToR.
    pub(crate) feed: Feed,
    pub(crate) updates_sent: u64,
    pub(crate) established: u64,
}

impl Endpoint {
    pub(crate) fn new(generation: u64, config: SessionConfig) -> Self {
        Self {
            generation,
            session: Session::new(config),
            connections: BTreeMap::new(),
            next_conn: 0,
            dial: None,
            dials: 0,
            up: None,
            alarm: None,
            feed: Feed::default(),
            updates_sent: 0,
            established: 0,
        }
    }

    pub(crate) fn open(&mut self, wire: usize) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.connections.insert(conn, Connection { wire, out: Outbox::default() });
        conn
    }

    pub(crate) fn is_up(&self, conn: ConnId) -> bool {
        self.up.as_ref().is_some_and(|up| up.conn == conn)
    }

    /// The wire that carries the session.
    pub(crate) fn wire(&self) -> Option<usize> {
        Some(self.connections.get(&self.up.as_ref()?.conn)?.wire)
    }
}
