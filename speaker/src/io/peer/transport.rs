//! What the task does with connections.

use bgp_proto::session::{ConnId, Input};
use bytes::Bytes;
use speaker_config::model::Authentication;
use tokio::net::TcpStream;
use tracing::{debug, warn};

use super::connection::{Connection, Ready};
use super::task::Task;
use crate::io::connect::{Dial, Dialled};
use crate::io::listen::Incoming;
use crate::io::tcp::words as os_words;

/// Below this the next chunk of a table is taken: with a chunk of 64 KiB a slow peer costs twice as much.
const LOW_WATER: usize = 64 * 1024;
/// The most that one turn writes to a connection.
const WRITE_TURN: usize = 512 * 1024;

impl Task {
    pub(super) fn accepted(&mut self, incoming: Incoming) {
        let Incoming { stream, local, remote, .. } = incoming;
        if self.bfd.guard.holds() {
            // Without a word: a refusal would make the peer wait in turn.
            return debug!(%remote, "closed a connection: BFD holds the session");
        }
        if let Err(text) = self.key_is_known() {
            warn!(%remote, "refused a connection: {text}");
            return;
        }
        let socket = socket2::SockRef::from(&stream);
        let applied = self.options.apply(&socket, remote.is_ipv6());
        match applied.and_then(|()| self.options.came_from_near(&socket)) {
            Ok(true) => {}
            Ok(false) => return self.refuse_far(&stream, remote),
            Err(error) => {
                warn!(%remote, "refused a connection: setting TTL and timeouts: {}", os_words(&error));
                return;
            }
        }
        let conn = self.open(stream);
        self.input(Input::Accepted { conn, local, remote });
    }

    /// Without a word to it: what comes from too far is to be dropped unread (RFC 5082 §3).
    fn refuse_far(&mut self, stream: &TcpStream, remote: std::net::SocketAddr) {
        // Nothing of what it sent is read, so that the kernel resets it.
        drop(socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)));
        self.note(format!(
            "refused a connection of {}: it is more hops away than ttlSecurity allows",
            remote.ip()
        ));
    }

    /// No session without a signature where one is asked for.
    pub(super) fn key_is_known(&self) -> Result<(), String> {
        let missing = match &self.spec.settings.authentication {
            Some(Authentication::Md5(_)) if self.spec.keys.is_none() => "its TCP MD5 key is missing",
            Some(Authentication::TcpAo(_)) if self.spec.keys.is_none() => "a TCP-AO key of it is missing",
            Some(_) | None => return Ok(()),
        };
        Err(format!("{missing}, and there is no session without it"))
    }

    pub(super) fn open(&mut self, stream: TcpStream) -> ConnId {
        let id = ConnId(self.next_id);
        self.next_id += 1;
        self.connections.push(Connection::new(id, stream));
        id
    }

    /// A peer that has read our NOTIFICATION, and not yet done all that follows from it, takes a new connection for a
    /// second one beside the old: FRR 8.4 then forgets a dynamic neighbor whose session is up.
    pub(super) fn connect(&mut self) {
        let settings = &self.spec.settings;
        let dial = Dial {
            address: self.spec.address,
            zone: self.spec.zone.clone(),
            port: settings.port,
            local_address: settings.local_address,
            source_interface: settings.source_interface.clone(),
            keys: self.spec.keys.clone(),
            options: self.options,
        };
        let known = self.key_is_known();
        let egress = self.context.egress.clone();
        self.before.retain(|one| !one.is_over());
        let before = self.before.clone();
        self.dial = Some(Box::pin(async move {
            known?;
            // Each is bounded: by the time that the last words may take, and then the peer.
            for one in before {
                one.over().await;
            }
            dial.connect(egress).await
        }));
    }

    pub(super) fn dialled(&mut self, result: Result<Dialled, String>) {
        self.dial = None;
        match result {
            Ok(Dialled { stream, local, remote }) => {
                let conn = self.open(stream);
                self.input(Input::Connected { conn, local, remote });
            }
            Err(reason) => self.input(Input::ConnectFailed { reason }),
        }
    }

    /// Reads one buffer; says how much came.
    pub(super) fn ready(&mut self, ready: Ready) -> usize {
        if !ready.read {
            return 0;
        }
        let Some(connection) = self.connection(ready.id) else { return 0 };
        let came = connection.read();
        // A connection that floods us leaves the others their turn.
        self.connections.rotate_left(1);
        self.came(ready.id, came)
    }

    fn came(&mut self, id: ConnId, came: Option<std::io::Result<Bytes>>) -> usize {
        match came {
            None => 0,
            Some(Ok(bytes)) if bytes.is_empty() => {
                self.closed(id, "closed by the peer".to_owned());
                0
            }
            Some(Ok(bytes)) => {
                let count = bytes.len();
                self.input(Input::Received { conn: id, bytes });
                count
            }
            Some(Err(error)) => {
                self.closed(id, os_words(&error));
                0
            }
        }
    }

    /// A timer is due. After a stall of ours a KEEPALIVE may wait in the socket, and the runtime may not
    /// know of it yet: it goes first ([`Input::Timeout`]).
    pub(super) fn expire(&mut self) {
        let ids: Vec<ConnId> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            let came = self.connection(id).and_then(|connection| connection.read_now());
            self.came(id, came);
        }
        self.input(Input::Timeout);
    }

    pub(super) fn closed(&mut self, conn: ConnId, reason: String) {
        self.connections.retain(|connection| connection.id != conn);
        self.input(Input::Closed { conn, reason });
    }

    pub(super) fn connection(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == conn)
    }

    /// Takes from the tables and writes, until the kernel takes no more or the turn is over.
    pub(super) fn pump(&mut self) {
        let ids: Vec<ConnId> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            let mut turn = 0;
            loop {
                let more = self.refill(id);
                let Some(connection) = self.connection(id) else { break };
                match connection.write() {
                    None => break,
                    Some(Ok((count, begun))) => {
                        turn += count;
                        self.sent.updates += begun.updates;
                        self.sent.refreshes += begun.refreshes;
                        self.input(Input::Written { conn: id, bytes: count });
                        if !more && self.connection(id).is_none_or(|connection| connection.out.is_empty()) {
                            break;
                        }
                        if turn >= WRITE_TURN {
                            // The kernel may have taken all that waited: what the tables still hold must wait in its
                            // place, since the task wakes to write for that alone.
                            self.refill(id);
                            break;
                        }
                    }
                    Some(Err(error)) => {
                        self.write_failed(id, &error);
                        break;
                    }
                }
            }
        }
    }

    /// Memory is bounded by taking no more than what the peer has room for. Whether the tables may have more.
    pub(super) fn refill(&mut self, id: ConnId) -> bool {
        if self.up.as_ref().is_none_or(|up| up.conn != id) {
            return false;
        }
        while self.connection(id).is_some_and(|connection| connection.out.table_len() < LOW_WATER) {
            let Some(chunk) = self.feed.next_chunk() else { return false };
            let bytes = chunk.len();
            if let Some(connection) = self.connection(id) {
                connection.out.table(chunk);
            }
            self.input(Input::Enqueued { conn: id, bytes });
        }
        true
    }

    /// The peer may have said why before it closed: that is what the session should hear first.
    pub(super) fn write_failed(&mut self, id: ConnId, error: &std::io::Error) {
        while let Some(Some(Ok(bytes))) = self.connection(id).map(|connection| connection.read_now()) {
            if bytes.is_empty() {
                break;
            }
            self.input(Input::Received { conn: id, bytes });
        }
        if self.connection(id).is_some() {
            self.closed(id, os_words(error));
        }
    }

    pub(super) fn caught_up(&self) -> bool {
        self.up.as_ref().is_some_and(|up| {
            let connection = self.connections.iter().find(|connection| connection.id == up.conn);
            self.feed.is_synced() && connection.is_some_and(|connection| connection.out.is_empty())
        })
    }
}
