//! A client of ARP, made by hand: requests as often as wanted, and who answers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use crate::lab::Node;

/// Asks on `eth0` of a node who has one address.
#[derive(Debug)]
pub struct Asker {
    socket: OwnedFd,
    link: LinkAddr,
    own: Ipv4Addr,
    target: Ipv4Addr,
}

impl Asker {
    /// One that asks as `own` for `target`, and waits for a frame for `patience`, which is shorter than a second.
    ///
    /// # Panics
    /// If the node has no `eth0`.
    #[must_use]
    pub fn new(node: &Node, own: Ipv4Addr, target: Ipv4Addr, patience: Duration) -> Self {
        let (socket, link) = node.inside(|| {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
                    .expect("packet socket");
            let micros = i64::from(patience.subsec_micros());
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, micros)).expect("SO_RCVTIMEO");
            let mut all = getifaddrs().expect("interfaces");
            let link = all.find_map(|one| {
                let address = one.address.filter(|_| one.interface_name == "eth0")?;
                address.as_link_addr().copied()
            });
            (socket, link.expect("eth0"))
        });
        Self { socket, link, own, target }
    }

    /// Sends one request.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn ask(&self) {
        let mac = self.link.addr().expect("Ethernet address");
        let mut frame = Vec::with_capacity(60);
        frame.extend([0xff; 6]);
        frame.extend(mac);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac);
        frame.extend(self.own.octets());
        frame.extend([0; 6]);
        frame.extend(self.target.octets());
        frame.resize(60, 0);
        sendto(self.socket.as_raw_fd(), &frame, &self.link, MsgFlags::empty()).expect("send");
    }

    /// Waits for an answer, no longer than its patience between any two frames: whose Ethernet address it tells.
    #[must_use]
    pub fn answered_by(&self) -> Option<[u8; 6]> {
        let mut frame = [0; 128];
        loop {
            let n = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
            if let Some(by) = self.answer(&frame, n) {
                return Some(by);
            }
        }
    }

    /// Everybody who answers one request within a while.
    #[must_use]
    pub fn answerers(&self, within: Duration) -> BTreeSet<[u8; 6]> {
        let begun = Instant::now();
        self.ask();
        let mut all = BTreeSet::new();
        while begun.elapsed() < within {
            let mut frame = [0; 128];
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                Ok(n) => all.extend(self.answer(&frame, n)),
                Err(_) => std::thread::yield_now(),
            }
        }
        all
    }

    /// Who says in a frame of `n` octets that the address is his.
    fn answer(&self, frame: &[u8; 128], n: usize) -> Option<[u8; 6]> {
        let reply = n >= 42 && frame[12..14] == [8, 6] && frame[20..22] == [0, 2];
        let ours = reply && frame[28..32] == self.target.octets();
        ours.then(|| frame[22..28].try_into().ok()).flatten()
    }
}
