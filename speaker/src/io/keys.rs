//! What the segments of a session are signed with: TCP MD5 or TCP-AO.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bgp_proto::types::Prefix;

use super::sockopt;
use super::tcp_ao::{self, AoKey, Use};

/// A key (RFC 2385 §4.5, RFC 5925 §3.1). Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<[u8]>);

impl Password {
    /// The longest key that the kernel takes, in octets.
    pub const MAX: usize = 80;

    /// A key of 1 to 80 octets.
    ///
    /// # Errors
    /// The key is empty or too long; the text does not contain it.
    pub fn new(key: &[u8]) -> Result<Self, String> {
        match key.len() {
            0 => Err("the key is empty; write 1 to 80 octets".to_owned()),
            1..=Self::MAX => Ok(Self(key.into())),
            len => Err(format!("the key has {len} octets; the kernel takes 80 at most")),
        }
    }

    /// The key's octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The keys of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// TCP MD5 (RFC 2385).
    Md5(Password),
    /// TCP-AO (RFC 5925): the first one signs, the peer may choose any.
    TcpAo(Arc<[AoKey]>),
}

impl From<Password> for Keys {
    fn from(key: Password) -> Self {
        Self::Md5(key)
    }
}

impl Keys {
    /// As operators know it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Md5(_) => "TCP MD5",
            Self::TcpAo(_) => "TCP-AO",
        }
    }

    /// Makes a socket that is to be connected with `to` sign what it sends, and take nothing else.
    ///
    /// # Errors
    /// The kernel does not take the keys: nothing may leave the socket.
    pub(crate) fn sign(&self, socket: BorrowedFd<'_>, to: IpAddr) -> io::Result<()> {
        match self {
            Self::Md5(key) => sockopt::set_md5(socket, Prefix::host(to), Some(key)),
            Self::TcpAo(keys) => keys.iter().enumerate().try_for_each(|(place, key)| {
                let how = if place == 0 { Use::Sign } else { Use::Accept };
                tcp_ao::add(socket, Prefix::host(to), key, how)
            }),
        }
    }

    /// Makes a listening socket take nothing from `from` that is not signed, in place of the keys `before`.
    ///
    /// # Errors
    /// The kernel does not take the keys: nobody from there may be let in.
    pub(crate) fn accept(
        &self,
        socket: BorrowedFd<'_>,
        from: Prefix,
        before: Option<&Self>,
    ) -> io::Result<()> {
        match (self, before) {
            // One key takes the other's place, so that there is no moment without.
            (Self::Md5(key), None | Some(Self::Md5(_))) => sockopt::set_md5(socket, from, Some(key)),
            (Self::Md5(key), Some(before)) => {
                before.remove(socket, from)?;
                sockopt::set_md5(socket, from, Some(key))
            }
            (Self::TcpAo(keys), before) => {
                before.map_or(Ok(()), |before| before.remove(socket, from))?;
                let added = keys.iter().try_for_each(|key| tcp_ao::add(socket, from, key, Use::Accept));
                if added.is_err() {
                    // Half of them would stand in the way of the next attempt. What cannot be removed was not there.
                    let _ = self.remove(socket, from);
                }
                added
            }
        }
    }

    /// Takes the keys off a listening socket.
    ///
    /// # Errors
    /// The kernel's words.
    pub(crate) fn remove(&self, socket: BorrowedFd<'_>, from: Prefix) -> io::Result<()> {
        match self {
            Self::Md5(_) => sockopt::set_md5(socket, from, None),
            Self::TcpAo(keys) => keys.iter().try_for_each(|key| tcp_ao::remove(socket, from, key)),
        }
    }
}
