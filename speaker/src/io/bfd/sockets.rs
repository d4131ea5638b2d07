//! The sockets: four to receive by (IPv4 and IPv6, one hop and several), and one a session to send by.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use bgp_proto::bfd::PACKET_LEN;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt as option,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::io::tcp::{mark, set_ttl, words};

/// "MUST be transmitted … with destination port 3784" (RFC 5881 §4).
pub(super) const SINGLE_HOP: u16 = 3784;
/// "the UDP destination port MUST have a value of 4784" (RFC 5883 §5).
pub(super) const MULTIHOP: u16 = 4784;
/// "The source port MUST be in the range 49152 through 65535" (RFC 5881 §4).
const FIRST_SOURCE: u16 = 49152;
const SOURCES: u16 = u16::MAX - FIRST_SOURCE + 1;
/// Longer than any Length field can say.
const LONGEST: usize = 256;
/// Room for an address, an interface and a TTL, whatever the family.
const CONTROL: usize = 256;

/// A socket to receive by.
#[derive(Debug)]
pub(super) struct Door(Socket);

/// A datagram as it came.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) source: IpAddr,
    pub(super) interface: u32,
    pub(super) ttl: u8,
    pub(super) length: usize,
}

/// Where datagrams are put.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) payload: [u8; LONGEST],
    control: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { payload: [0; LONGEST], control: vec![0; CONTROL] }
    }
}

impl Door {
    /// # Errors
    /// The port is taken, for example by another BFD daemon; in words.
    pub(super) fn open(v6: bool, port: u16) -> Result<Self, String> {
        let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let open = || -> io::Result<Socket> {
            let socket = udp(v6)?;
            if v6 {
                socket.set_only_v6(true)?;
                setsockopt(&socket, option::Ipv6RecvPacketInfo, &true)?;
                setsockopt(&socket, option::Ipv6RecvHopLimit, &true)?;
            } else {
                setsockopt(&socket, option::Ipv4PacketInfo, &true)?;
                setsockopt(&socket, option::Ipv4RecvTtl, &true)?;
            }
            socket.bind(&SocketAddr::new(any, port).into())?;
            Ok(socket)
        };
        let taken = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => "; does another BFD daemon run on this host?",
                _ => "",
            };
            format!("cannot receive on UDP port {port}: {}{hint}", words(&error))
        };
        open().map(Self).map_err(taken)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next datagram; `None` where none waits. What says nothing of its TTL has none.
    pub(super) fn receive(&self, buffer: &mut Buffer) -> io::Result<Option<Came>> {
        let Buffer { payload, control } = buffer;
        let mut slices = [IoSliceMut::new(payload)];
        let fd = self.0.as_raw_fd();
        let message = match recvmsg::<SockaddrStorage>(fd, &mut slices, Some(control), MsgFlags::MSG_DONTWAIT)
        {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut came = Came {
            source: message.address.as_ref().and_then(ip).unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            interface: 0,
            ttl: 0,
            length: message.bytes,
        };
        let byte = |ttl: i32| u8::try_from(ttl).unwrap_or(0);
        for control in message.cmsgs().into_iter().flatten() {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    came.interface = u32::try_from(info.ipi_ifindex).unwrap_or(0);
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => came.interface = info.ipi6_ifindex,
                ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                    came.ttl = byte(ttl);
                }
                _ => {}
            }
        }
        Ok(Some(came))
    }
}

/// The address in a socket address.
pub(super) fn ip(storage: &SockaddrStorage) -> Option<IpAddr> {
    match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (None, Some(v6)) => Some(v6.ip().into()),
        (None, None) => None,
    }
}

fn udp(v6: bool) -> io::Result<Socket> {
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))
}

/// A session's way out: "the same UDP source port number MUST be used for all BFD Control packets associated
/// with a particular session" (RFC 5881 §4).
#[derive(Debug)]
pub(super) struct Outlet {
    socket: Socket,
    to: SocketAddr,
    /// The address that was asked for.
    pub(super) local: Option<IpAddr>,
    pub(super) port: u16,
}

impl Outlet {
    /// `scope` is the interface of a link-local peer, `to` its port; `start` says with which port of ours to
    /// begin to look for a free one.
    ///
    /// # Errors
    /// In words.
    pub(super) fn open(
        remote: IpAddr,
        local: Option<IpAddr>,
        scope: u32,
        to: u16,
        start: u32,
    ) -> Result<Self, String> {
        let v6 = remote.is_ipv6();
        let end = |address: IpAddr, port: u16| match address {
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
            IpAddr::V4(_) => SocketAddr::new(address, port),
        };
        let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let from = local.unwrap_or(any);
        let fail = |error: &io::Error| format!("cannot send from {from}: {}", words(error));
        let socket = udp(v6).map_err(|error| fail(&error))?;
        let reference = SockRef::from(&socket);
        // The TTL of RFC 5881 §5; what comes to this socket, nobody reads.
        set_ttl(&reference, v6, u8::MAX)
            .and_then(|()| mark(&reference, v6))
            .and_then(|()| socket.set_recv_buffer_size(0))
            .map_err(|error| fail(&error))?;
        for n in 0..SOURCES {
            let offset = start.wrapping_add(u32::from(n)) % u32::from(SOURCES);
            let port = FIRST_SOURCE.saturating_add(u16::try_from(offset).unwrap_or(0));
            match socket.bind(&end(from, port).into()) {
                Ok(()) => {
                    return Ok(Self { socket, to: end(remote, to), local, port });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(fail(&error)),
            }
        }
        Err("every UDP port from 49152 to 65535 is taken".to_owned())
    }

    /// # Errors
    /// In words. A queue that is full is none: the packet is lost, as packets are.
    pub(super) fn send(&self, packet: &[u8; PACKET_LEN]) -> Result<(), String> {
        match self.socket.send_to(packet, &self.to.into()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(format!("cannot send to {}: {}", self.to, words(&error))),
            Ok(_) => Ok(()),
        }
    }
}
