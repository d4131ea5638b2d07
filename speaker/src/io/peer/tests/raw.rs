//! A peer that is a script.

use super::*;

pub(super) struct Raw {
    pub(super) stream: TcpStream,
    buffer: BytesMut,
    context: DecodeContext,
    asn: u32,
    /// Octets of whole messages that were read.
    pub(super) taken: usize,
}

impl Raw {
    /// A task of AS `asn` that has dialled a script of AS `peer`, which takes little into its receive buffer.
    pub(super) async fn new(asn: u32, peer: u32, routes: Routes) -> (Self, Node) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket2::SockRef::from(&listener).set_recv_buffer_size(32 * 1024).unwrap();
        Self::behind(&listener, asn, peer, routes).await
    }

    /// The same, with a receive buffer that grows as the kernel sees fit.
    pub(super) async fn roomy(asn: u32, peer: u32, routes: Routes) -> (Self, Node) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::behind(&listener, asn, peer, routes).await
    }

    async fn behind(listener: &TcpListener, asn: u32, peer: u32, routes: Routes) -> (Self, Node) {
        let port = listener.local_addr().unwrap().port();
        let node = Node::new(spec("127.0.0.1", "127.0.0.1", port, asn, peer), routes);
        (Self::accept(listener, peer).await, node)
    }

    pub(super) async fn accept(listener: &TcpListener, asn: u32) -> Self {
        let (stream, _) = soon("the dial", listener.accept()).await.unwrap();
        let context = DecodeContext {
            asn4: true,
            families: FamilySet::from_iter(Family::ALL),
            extended_next_hop: true,
            ..DecodeContext::default()
        };
        Self { stream, buffer: BytesMut::new(), context, asn, taken: 0 }
    }

    pub(super) async fn send(&mut self, bytes: Bytes) {
        soon("writing", self.stream.write_all(&bytes)).await.unwrap();
    }

    /// Tells the task that we live, without waiting.
    pub(super) fn keep_alive(&mut self) {
        let _ = self.stream.try_write(&keepalive());
    }

    /// The capabilities are those that the task announced, but for messages over 4096 octets.
    pub(super) async fn open(&mut self, asn: u32, hold: u16) {
        let Message::Open(theirs) = self.message().await else { panic!("OPEN comes first") };
        let mut capabilities = theirs.capabilities;
        capabilities.retain(|capability| !matches!(capability, bgp_proto::wire::Capability::ExtendedMessage));
        for capability in &mut capabilities {
            if let bgp_proto::wire::Capability::FourOctetAsn(ours) = capability {
                *ours = Asn::new(asn).unwrap();
            }
        }
        let open = Open {
            asn: Asn::new(asn).unwrap(),
            hold_time: HoldTime::new(hold).unwrap(),
            router_id: RouterId::new(std::net::Ipv4Addr::new(192, 0, 2, 99)).unwrap(),
            capabilities,
        };
        self.send(open.encode()).await;
    }

    pub(super) async fn handshake(&mut self, hold: u16) {
        self.open(self.asn, hold).await;
        assert_eq!(self.message().await, Message::Keepalive);
        self.send(keepalive()).await;
    }

    pub(super) async fn message(&mut self) -> Message {
        loop {
            let before = self.buffer.len();
            if let Some(message) = read_message(&mut self.buffer, &self.context).unwrap() {
                self.taken += before - self.buffer.len();
                return message;
            }
            let count = soon("octets", self.stream.read_buf(&mut self.buffer)).await.unwrap();
            assert!(count > 0, "the connection ended");
        }
    }

    pub(super) async fn notification(&mut self) -> Notification {
        loop {
            if let Message::Notification(notification) = self.message().await {
                return notification;
            }
        }
    }

    /// The connection ends in order, with nothing behind what was read.
    pub(super) async fn end(&mut self) {
        let count = soon("the end", self.stream.read_buf(&mut self.buffer)).await.unwrap();
        assert_eq!(count, 0);
    }
}
