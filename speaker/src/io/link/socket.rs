//! A packet socket on one interface, for one kind of frame.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::super::sockopt;

/// The kind of frames that a socket takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Arp,
    Neighbour,
}

/// A classic BPF instruction; the codes are those of linux/bpf_common.h.
const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Neighbour solicitations and advertisements alone: whatever else IPv6 carries never wakes this process.
/// Next header at 14 + 6, ICMPv6 type at 14 + 40.
const NEIGHBOUR_DISCOVERY: [SockFilter; 7] = [
    instruction(LOAD_BYTE, 0, 0, 20),
    instruction(JUMP_EQUAL, 0, 4, 58),
    instruction(LOAD_BYTE, 0, 0, 54),
    instruction(JUMP_EQUAL, 1, 0, 135),
    instruction(JUMP_EQUAL, 0, 1, 136),
    instruction(RETURN, 0, 0, u32::MAX),
    instruction(RETURN, 0, 0, 0),
];

/// Frames of one kind on one interface.
#[derive(Debug)]
pub(super) struct PacketSocket(AsyncFd<Socket>);

impl PacketSocket {
    /// Opens it; call inside the runtime.
    pub(super) fn open(interface: u32, kind: Kind) -> io::Result<Self> {
        // With protocol 0 nothing arrives before the socket is bound to its interface.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
        let protocol = match kind {
            Kind::Arp => libc::ETH_P_ARP,
            Kind::Neighbour => {
                socket.attach_filter(&NEIGHBOUR_DISCOVERY)?;
                libc::ETH_P_IPV6
            }
        };
        sockopt::bind_packet(socket.as_fd(), interface, protocol)?;
        Ok(Self(sockopt::watched(socket)?))
    }

    /// Waits for a frame and reads it; gives its length.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(result) = ready.try_io(|socket| socket.get_ref().read(buffer)) {
                return result;
            }
        }
    }

    /// Sends a frame, or drops it where the queue is full: whoever asked asks again.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        match self.0.get_ref().send(frame) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
