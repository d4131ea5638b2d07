//! A raw ICMPv6 socket on one interface, for router advertisements and solicitations (RFC 3542).

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use socket2::{Domain, Protocol, Socket, Type};
use speaker_core::discovery::packet;
use tokio::io::unix::AsyncFd;

use crate::io::sockopt;

/// Longer than an advertisement needs to be; what is cut off is not valid.
const LONGEST: usize = 1500;

/// The socket.
#[derive(Debug)]
pub(super) struct Door {
    socket: AsyncFd<Socket>,
    interface: u32,
}

/// A message as it came; the kernel has checked its sum.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) source: Ipv6Addr,
    pub(super) hop_limit: u8,
    pub(super) message: Vec<u8>,
}

impl Door {
    /// Opens it; call inside the runtime.
    pub(super) fn open(name: &str, interface: u32) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6))?;
        sockopt::take_icmp6(socket.as_fd(), &[packet::SOLICITATION, packet::ADVERTISEMENT])?;
        socket.bind_device(Some(name.as_bytes()))?;
        socket.set_recv_hoplimit_v6(true)?;
        // What is forwarded cannot have 255 on arrival: receivers believe nothing less (RFC 4861 §4.1, §4.2).
        socket.set_unicast_hops_v6(255)?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_if_v6(interface)?;
        // Solicitations go to the routers; every node is among the nodes.
        socket.join_multicast_v6(&packet::ALL_ROUTERS, interface)?;
        Ok(Self { socket: sockopt::watched(socket)?, interface })
    }

    /// The next message that came in on the interface.
    pub(super) async fn receive(&self) -> io::Result<Came> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| read(socket.get_ref())) {
                // What waited before the socket was bound to its interface may be from another.
                Ok(Ok((interface, came))) if interface == self.interface => return Ok(came),
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Sends a message to a group, or drops it where the queue is full: it is said again.
    pub(super) fn send(&self, group: Ipv6Addr, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrV6::new(group, 0, 0, self.interface);
        match self.socket.get_ref().send_to(message, &to.into()) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

fn read(socket: &Socket) -> io::Result<(u32, Came)> {
    let mut buffer = [0; LONGEST];
    let mut control = [0; 128];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let fd = socket.as_raw_fd();
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrIn6>(fd, &mut slices, Some(&mut control), flags)?;
    let hops = message.cmsgs().into_iter().flatten().find_map(|control| match control {
        ControlMessageOwned::Ipv6HopLimit(hops) => u8::try_from(hops).ok(),
        _ => None,
    });
    let from = message.address.map_or(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0), SocketAddrV6::from);
    let length = message.bytes;
    // What says nothing of its hop limit came from nowhere near.
    let came = Came {
        source: *from.ip(),
        hop_limit: hops.unwrap_or(0),
        message: buffer.get(..length).unwrap_or_default().to_vec(),
    };
    Ok((from.scope_id(), came))
}
