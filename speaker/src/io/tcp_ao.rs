//! TCP-AO (RFC 5925): the one place that knows how the kernel is given its keys (linux/tcp.h, since Linux 6.7 with
//! `CONFIG_TCP_AO`). A kernel without it refuses, and then there is no session.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use bgp_proto::types::Prefix;
use libc::c_int;
use speaker_config::model::TcpAoAlgorithm;

use super::keys::Password;
use super::sockopt;

const TCP_AO_ADD_KEY: c_int = 38;
const TCP_AO_DEL_KEY: c_int = 39;

/// The first bit of a bit field, which the compiler puts at the other end on big-endian machines.
const fn bit(number: u32) -> u32 {
    if cfg!(target_endian = "big") { 1 << (31 - number) } else { 1 << number }
}

/// A master key tuple (RFC 5925 §3.1). The key itself is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AoKey {
    /// KeyID of the segments that we sign with it.
    pub send_id: u8,
    /// KeyID of those that the peer does.
    pub receive_id: u8,
    /// MAC algorithm and key derivation (RFC 5926).
    pub algorithm: TcpAoAlgorithm,
    /// The master key.
    pub key: Password,
}

/// `struct tcp_ao_add`.
#[repr(C, align(8))]
struct Add {
    address: [u8; 128],
    algorithm: [u8; 64],
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    mac_len: u8,
    key_flags: u8,
    key_len: u8,
    key: [u8; Password::MAX],
}

/// `struct tcp_ao_del`.
#[repr(C, align(8))]
struct Delete {
    address: [u8; 128],
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    current_key: u8,
    next_key: u8,
    key_flags: u8,
}

/// How the key is put on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Of a connection to be: it signs its SYN.
    Sign,
    /// One of several: the peer may ask for it (`RNextKeyID`).
    Accept,
}

/// Puts a key for whoever is in `from` on a socket. Segments from there that are not signed with one of the keys are then
/// dropped by the kernel, SYNs to a listener too.
pub(crate) fn add(socket: BorrowedFd<'_>, from: Prefix, key: &AoKey, how: Use) -> io::Result<()> {
    sockopt::set(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &addition(from, key, how)).map_err(known)
}

/// Takes a key off a listening socket.
pub(crate) fn remove(socket: BorrowedFd<'_>, from: Prefix, key: &AoKey) -> io::Result<()> {
    let mut option = Delete {
        address: [0; 128],
        interface: 0,
        flags: 0,
        reserved: 0,
        prefix_len: from.len(),
        send_id: key.send_id,
        receive_id: key.receive_id,
        current_key: 0,
        next_key: 0,
        key_flags: 0,
    };
    sockopt::write_sockaddr(&mut option.address, from.addr());
    match sockopt::set(socket, libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &option) {
        // Removing a key that is not there has had its effect.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map_err(known),
    }
}

/// Whether the kernel has TCP-AO.
///
/// # Errors
/// It has not, in words.
pub fn available() -> Result<(), String> {
    let probe = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.cloexec(), None)?;
        let key = AoKey {
            send_id: 0,
            receive_id: 0,
            algorithm: TcpAoAlgorithm::HmacSha1,
            key: Password::new(b"probe").map_err(io::Error::other)?,
        };
        let nobody = Prefix::host(IpAddr::from([192, 0, 2, 1]));
        add(std::os::fd::AsFd::as_fd(&socket), nobody, &key, Use::Sign)
    };
    probe().map_err(|error| super::tcp::words(&error))
}

fn addition(from: Prefix, key: &AoKey, how: Use) -> Add {
    let octets = key.key.octets();
    let mut option = Add {
        address: [0; 128],
        algorithm: [0; 64],
        interface: 0,
        // set_current, set_rnext: "the MKT … used to generate the first segment" (RFC 5925 §7.3).
        flags: if how == Use::Sign { bit(0) | bit(1) } else { 0 },
        reserved: 0,
        prefix_len: from.len(),
        send_id: key.send_id,
        receive_id: key.receive_id,
        // 96 bits, the only length of RFC 5926 §3.2.
        mac_len: 12,
        // TCP options are covered by the MAC, which is RFC 5925's default.
        key_flags: 0,
        key_len: u8::try_from(octets.len()).unwrap_or(u8::MAX),
        key: [0; Password::MAX],
    };
    let name = match key.algorithm {
        TcpAoAlgorithm::HmacSha1 => "hmac(sha1)",
        TcpAoAlgorithm::Aes128Cmac => "cmac(aes128)",
    };
    for (slot, octet) in option.algorithm.iter_mut().zip(name.bytes()) {
        *slot = octet;
    }
    for (slot, octet) in option.key.iter_mut().zip(octets) {
        *slot = *octet;
    }
    sockopt::write_sockaddr(&mut option.address, from.addr());
    option
}

/// What an operator can do about it.
fn known(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => io::Error::other(
            "this kernel has no TCP-AO (RFC 5925): it is in Linux 6.7 and newer with CONFIG_TCP_AO; use another kernel, or passwordFile (TCP MD5)",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    use super::*;

    fn key(send_id: u8, algorithm: TcpAoAlgorithm) -> AoKey {
        AoKey { send_id, receive_id: send_id + 1, algorithm, key: Password::new(b"secret").unwrap() }
    }

    /// Offsets that a C compiler gives for linux/tcp.h of 6.7.
    #[test]
    fn the_structures_have_the_kernels_layout() {
        let offsets = [
            offset_of!(Add, algorithm),
            offset_of!(Add, interface),
            offset_of!(Add, flags),
            offset_of!(Add, reserved),
            offset_of!(Add, prefix_len),
            offset_of!(Add, send_id),
            offset_of!(Add, receive_id),
            offset_of!(Add, mac_len),
            offset_of!(Add, key_flags),
            offset_of!(Add, key_len),
            offset_of!(Add, key),
            size_of::<Add>(),
        ];
        assert_eq!(offsets, [128, 192, 196, 200, 202, 203, 204, 205, 206, 207, 208, 288]);
        let offsets = [
            offset_of!(Delete, interface),
            offset_of!(Delete, flags),
            offset_of!(Delete, reserved),
            offset_of!(Delete, prefix_len),
            offset_of!(Delete, send_id),
            offset_of!(Delete, receive_id),
            offset_of!(Delete, current_key),
            offset_of!(Delete, next_key),
            offset_of!(Delete, key_flags),
            size_of::<Delete>(),
        ];
        assert_eq!(offsets, [128, 132, 136, 138, 139, 140, 141, 142, 143, 144]);
    }

    #[test]
    fn a_key_says_what_the_kernel_wants_to_know() {
        let add = addition("192.0.2.0/24".parse().unwrap(), &key(7, TcpAoAlgorithm::Aes128Cmac), Use::Sign);
        assert_eq!(add.address[..8], [2, 0, 0, 0, 192, 0, 2, 0]);
        assert_eq!(add.algorithm[..13], *b"cmac(aes128)\0");
        assert_eq!((add.prefix_len, add.send_id, add.receive_id), (24, 7, 8));
        assert_eq!((add.mac_len, add.key_len), (12, 6));
        assert_eq!(add.key[..7], *b"secret\0");
        if cfg!(target_endian = "little") {
            assert_eq!(add.flags, 3);
        }
        let other =
            addition("2001:db8::/64".parse().unwrap(), &key(7, TcpAoAlgorithm::HmacSha1), Use::Accept);
        assert_eq!((other.flags, other.prefix_len, other.algorithm[..11] == *b"hmac(sha1)\0"), (0, 64, true));
    }

    /// Either the kernel takes keys, or it says that it has no TCP-AO; nothing in between.
    #[test]
    fn a_kernel_takes_keys_or_says_that_it_has_no_tcp_ao() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let from: Prefix = "192.0.2.7/32".parse().unwrap();
        let key = key(1, TcpAoAlgorithm::HmacSha1);
        let added = add(socket.as_fd(), from, &key, Use::Accept);
        match available() {
            Ok(()) => {
                added.unwrap();
                let again = add(socket.as_fd(), from, &key, Use::Accept).unwrap_err();
                assert_eq!(again.raw_os_error(), Some(libc::EEXIST), "the same identifiers twice");
                remove(socket.as_fd(), from, &key).unwrap();
                remove(socket.as_fd(), from, &key).expect("removing it twice is no error");
            }
            Err(why) => {
                assert!(why.starts_with("this kernel has no TCP-AO (RFC 5925)"), "{why}");
                assert_eq!(added.unwrap_err().to_string(), why);
                assert_eq!(remove(socket.as_fd(), from, &key).unwrap_err().to_string(), why);
            }
        }
    }
}
