//! Socket options that neither tokio nor socket2 has: TCP MD5 keys (RFC 2385), the minimum TTL of
//! RFC 5082, the interface of a zone and of a packet socket, the filter of a raw ICMPv6 socket. With `allocator.rs` and `bfd/priority.rs` the only file
//! with `unsafe`.
#![expect(
    unsafe_code,
    reason = "setsockopt with structures that no safe crate knows; each call says why it is sound"
)]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use bgp_proto::types::Prefix;
use libc::{c_int, c_void, socklen_t};
use socket2::Socket;
use tokio::io::unix::AsyncFd;

use super::keys::Password;

/// `struct tcp_md5sig` of linux/tcp.h; its first field is a `sockaddr_storage`.
#[repr(C)]
struct TcpMd5Sig {
    address: [u8; 128],
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    interface: c_int,
    key: [u8; Password::MAX],
}

const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;

/// Sets the key for connections with whoever is in `from`, or removes it where `key` is absent. On a
/// listening socket the kernel then drops SYNs from there that are not signed with it; of several keys the
/// longest prefix counts. A zone plays no part: the kernel goes by the address alone.
pub(crate) fn set_md5(socket: BorrowedFd<'_>, from: Prefix, key: Option<&Password>) -> io::Result<()> {
    let octets = key.map_or(&[][..], Password::octets);
    let mut option = TcpMd5Sig {
        address: [0; 128],
        flags: 0,
        prefix_len: 0,
        key_len: u16::try_from(octets.len()).unwrap_or(u16::MAX),
        interface: 0,
        key: [0; Password::MAX],
    };
    for (slot, octet) in option.key.iter_mut().zip(octets) {
        *slot = *octet;
    }
    write_sockaddr(&mut option.address, from.addr());
    let name = if from.is_host() {
        libc::TCP_MD5SIG
    } else {
        option.flags = TCP_MD5SIG_FLAG_PREFIX;
        option.prefix_len = from.len();
        libc::TCP_MD5SIG_EXT
    };
    let result = set(socket, libc::IPPROTO_TCP, name, &option);
    match result {
        // Removing a key that is not there has had its effect.
        Err(error) if key.is_none() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// `sockaddr_in` or `sockaddr_in6` with port 0, in the byte order of the host for the family and of the
/// network for the rest.
pub(super) fn write_sockaddr(out: &mut [u8; 128], addr: IpAddr) {
    let family = match addr {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let (head, rest) = out.split_at_mut(2);
    head.copy_from_slice(&u16::try_from(family).unwrap_or_default().to_ne_bytes());
    let (at, octets): (usize, &[u8]) = match &addr {
        IpAddr::V4(v4) => (2, &v4.octets()),
        IpAddr::V6(v6) => (6, &v6.octets()),
    };
    for (slot, octet) in rest.iter_mut().skip(at).zip(octets) {
        *slot = *octet;
    }
}

/// "the router SHOULD discard packets whose TTL is less than" `min` (RFC 5082 §3): the kernel does.
pub(crate) fn set_min_ttl(socket: BorrowedFd<'_>, v6: bool, min: u8) -> io::Result<()> {
    let value = c_int::from(min);
    if v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &value)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &value)
    }
}

/// Makes a listening socket remember each connection's SYN, for [`syn_ttl`].
pub(crate) fn save_syn(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, &c_int::from(1_u8))
}

/// The TTL with which an accepted connection's SYN came; `None` where the kernel has not kept it, as when it
/// answers a flood with SYN cookies. It is handed out once.
pub(crate) fn syn_ttl(socket: BorrowedFd<'_>) -> io::Result<Option<u8>> {
    // An IPv4 header has 60 octets at most and a TCP header as many; an IPv6 header has 40.
    let mut header = [0_u8; 120];
    let mut len = socklen_t::try_from(header.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `len` octets to the array, which has as many, and the number of those
    // written to `len`; both live across the call, and the descriptor is open for as long as it is borrowed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            header.as_mut_ptr().cast::<c_void>(),
            std::ptr::from_mut(&mut len),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let header = header.get(..usize::try_from(len).unwrap_or_default()).unwrap_or_default();
    Ok(ttl_of(header))
}

/// The TTL (RFC 791 §3.1) or hop limit (RFC 8200 §3) of a packet.
fn ttl_of(packet: &[u8]) -> Option<u8> {
    match packet.first()? >> 4 {
        4 => packet.get(8).copied(),
        6 => packet.get(7).copied(),
        _ => None,
    }
}

/// Binds a packet socket to frames of one protocol (`ETH_P_…`) on one interface (packet(7)).
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, interface: u32, protocol: c_int) -> io::Result<()> {
    // SAFETY: every field of sockaddr_ll is an integer, for which all zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    address.sll_protocol = u16::try_from(protocol).map_err(io::Error::other)?.to_be();
    address.sll_ifindex = c_int::try_from(interface).map_err(io::Error::other)?;
    let len = socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a live sockaddr_ll of `len` octets, which the kernel only reads; the descriptor
    // is open for as long as it is borrowed.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast::<libc::sockaddr>(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `ICMP6_FILTER` of netinet/icmp6.h (RFC 3542 §3.2), which libc does not have for Linux.
const ICMP6_FILTER: c_int = 1;

/// Lets a raw ICMPv6 socket take messages of these types and no others.
pub(crate) fn take_icmp6(socket: BorrowedFd<'_>, types: &[u8]) -> io::Result<()> {
    // A bit that is set keeps its type out.
    let mut filter = [u32::MAX; 8];
    for kind in types {
        if let Some(word) = filter.get_mut(usize::from(kind >> 5)) {
            *word &= !(1 << (kind & 31));
        }
    }
    set(socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &filter)
}

/// A socket of which the runtime says when it can be read; call inside the runtime.
pub(crate) fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor and gives the same one for as long as it lives, and `AsyncFd`
    // owns the socket.
    unsafe { AsyncFd::register(socket) }.map_err(|error| error.into_parts().1)
}

/// The index of an interface.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let text = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the pointer is to a NUL-terminated string that lives across the call, which only reads it.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Octets in the receive and in the send queue of a connection; 0 where the kernel does not say.
pub(crate) fn queues(socket: BorrowedFd<'_>) -> (u64, u64) {
    let ask = |request| {
        let mut count: c_int = 0;
        // SAFETY: FIONREAD and TIOCOUTQ write one int to the pointer, which is to a live one; the descriptor
        // is open for as long as it is borrowed.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, std::ptr::from_mut(&mut count)) };
        if result == 0 { u64::try_from(count).unwrap_or_default() } else { 0 }
    };
    (ask(libc::FIONREAD), ask(libc::TIOCOUTQ))
}

/// Sets an option to a structure without padding, in the kernel's layout.
pub(super) fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let len = socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is a live reference to `len` octets of plain data, which the kernel only reads; the
    // descriptor is open for as long as it is borrowed.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast::<c_void>(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn the_structure_has_the_kernels_layout() {
        assert_eq!(size_of::<TcpMd5Sig>(), 128 + 1 + 1 + 2 + 4 + 80);
        let mut out = [0; 128];
        write_sockaddr(&mut out, "192.0.2.7".parse().unwrap());
        assert_eq!(out[..8], [2, 0, 0, 0, 192, 0, 2, 7]);
        write_sockaddr(&mut out, "2001:db8::7".parse().unwrap());
        assert_eq!(out[8..12], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(out[23], 7);
    }

    #[test]
    fn keys_are_set_by_host_and_by_prefix_and_removed() {
        for (bind, host, net) in
            [("127.0.0.1:0", "192.0.2.7/32", "192.0.2.0/24"), ("[::1]:0", "2001:db8::7/128", "2001:db8::/64")]
        {
            let socket = TcpListener::bind(bind).unwrap();
            let key = Password::new(b"secret").unwrap();
            for prefix in [host, net] {
                let prefix: Prefix = prefix.parse().unwrap();
                set_md5(socket.as_fd(), prefix, Some(&key)).unwrap();
                set_md5(socket.as_fd(), prefix, None).unwrap();
                set_md5(socket.as_fd(), prefix, None).expect("removing it twice is no error");
            }
        }
    }

    #[test]
    fn a_key_of_the_wrong_family_is_an_error() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let key = Password::new(b"secret").unwrap();
        assert!(set_md5(socket.as_fd(), "2001:db8::7/128".parse().unwrap(), Some(&key)).is_err());
    }

    #[test]
    fn the_ttl_of_a_syn_is_known_when_it_is_accepted() {
        for (bind, v6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            let listener = TcpListener::bind(bind).unwrap();
            let domain = if v6 { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
            let connect = |ttl: u32| {
                let dialler = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
                if v6 { dialler.set_unicast_hops_v6(ttl) } else { dialler.set_ttl_v4(ttl) }.unwrap();
                dialler.connect(&listener.local_addr().unwrap().into()).unwrap();
                (dialler, listener.accept().unwrap().0)
            };
            let (_dialler, accepted) = connect(77);
            assert_eq!(syn_ttl(accepted.as_fd()).unwrap(), None, "not asked for");
            save_syn(listener.as_fd()).unwrap();
            for ttl in [255, 254, 1] {
                let (_dialler, accepted) = connect(ttl);
                assert_eq!(syn_ttl(accepted.as_fd()).unwrap().map(u32::from), Some(ttl));
            }
        }
        assert_eq!([ttl_of(&[]), ttl_of(&[0x45; 8]), ttl_of(&[0x00; 40])], [None; 3]);
    }

    #[test]
    fn interfaces_have_an_index() {
        assert!(interface_index("lo").unwrap() > 0);
        assert!(interface_index("no-such-if").is_err());
        assert!(interface_index("nul\0").is_err());
    }
}
