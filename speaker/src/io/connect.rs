//! Dialling a peer.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd as _;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::egress::EgressLookup;
use super::keys::Keys;
use super::sockopt;
use super::tcp::{TcpOptions, words};

/// Where and how to dial.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    /// The peer.
    pub(crate) address: IpAddr,
    /// Its zone.
    pub(crate) zone: Option<String>,
    /// Its port.
    pub(crate) port: u16,
    /// `localAddress`.
    pub(crate) local_address: Option<IpAddr>,
    /// `sourceInterface`: dial from its address.
    pub(crate) source_interface: Option<String>,
    /// What it signs with.
    pub(crate) keys: Option<Keys>,
    /// Everything else.
    pub(crate) options: TcpOptions,
}

/// A connection with both its ends.
#[derive(Debug)]
pub(crate) struct Dialled {
    /// The connection.
    pub(crate) stream: TcpStream,
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The peer's end.
    pub(crate) remote: SocketAddr,
}

impl Dial {
    /// Dials; dropping the future gives the attempt up.
    ///
    /// # Errors
    /// What could not be done, in words for an operator.
    pub(crate) async fn connect(self, egress: EgressLookup) -> Result<Dialled, String> {
        let remote = self.remote()?;
        let source = self.source(&egress).await?;
        let socket = self.socket(source)?;
        let failed = |error: io::Error| format!("connecting to {remote}: {}", words(&error));
        let stream = socket.connect(remote).await.map_err(failed)?;
        let local = stream.local_addr().map_err(failed)?;
        Ok(Dialled { stream, local, remote })
    }

    fn remote(&self) -> Result<SocketAddr, String> {
        let IpAddr::V6(v6) = self.address else { return Ok(SocketAddr::new(self.address, self.port)) };
        let scope = match &self.zone {
            Some(zone) => sockopt::interface_index(zone)
                .map_err(|error| format!("interface {zone}: {}", words(&error)))?,
            None if v6.is_unicast_link_local() => {
                return Err(format!("{v6} is link-local and has no zone; write {v6}%INTERFACE"));
            }
            None => 0,
        };
        Ok(SocketAddrV6::new(v6, self.port, 0, scope).into())
    }

    /// The address to dial from, where one is asked for.
    async fn source(&self, egress: &EgressLookup) -> Result<Option<IpAddr>, String> {
        if self.local_address.is_some() {
            return Ok(self.local_address);
        }
        let Some(interface) = &self.source_interface else { return Ok(None) };
        let addresses = egress.interface(interface).await?;
        let found = match self.address {
            IpAddr::V4(_) => addresses.ipv4.first().copied().map(IpAddr::V4),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => addresses.link_local.map(IpAddr::V6),
            IpAddr::V6(_) => addresses.ipv6.first().copied().map(IpAddr::V6),
        };
        let missing = || format!("sourceInterface {interface} has no address to reach {} from", self.address);
        found.map(Some).ok_or_else(missing)
    }

    fn socket(&self, source: Option<IpAddr>) -> Result<TcpSocket, String> {
        let v6 = self.address.is_ipv6();
        let fail = |what: &str, error: &io::Error| format!("{what}: {}", words(error));
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
            .map_err(|error| fail("opening a socket", &error))?;
        self.options
            .apply(&SockRef::from(&socket), v6)
            .map_err(|error| fail("setting TTL and timeouts", &error))?;
        if let Some(keys) = &self.keys {
            // Fails closed: without the key no SYN leaves.
            let what = || format!("setting the {} key", keys.name());
            keys.sign(socket.as_fd(), self.address).map_err(|error| fail(&what(), &error))?;
        }
        if let Some(source) = source {
            socket
                .bind(&self.bind_address(source)?.into())
                .map_err(|error| fail(&format!("dialling from {source}"), &error))?;
        }
        Ok(TcpSocket::from_std_stream(socket.into()))
    }

    fn bind_address(&self, source: IpAddr) -> Result<SocketAddr, String> {
        match (source, self.remote()?) {
            (IpAddr::V6(v6), SocketAddr::V6(remote)) if v6.is_unicast_link_local() => {
                Ok(SocketAddrV6::new(v6, 0, 0, remote.scope_id()).into())
            }
            _ => Ok(SocketAddr::new(source, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::super::peer::testing::options;
    use super::*;

    fn dial(address: &str, port: u16) -> Dial {
        Dial {
            address: address.parse().unwrap(),
            zone: None,
            port,
            local_address: None,
            source_interface: None,
            keys: None,
            options: options(),
        }
    }

    async fn run(dial: Dial) -> Result<Dialled, String> {
        let lookup = EgressLookup::open().unwrap();
        timeout(Duration::from_secs(10), dial.connect(lookup)).await.expect("a dial on loopback ends")
    }

    #[tokio::test]
    async fn both_ends_are_known_and_the_source_is_ours_to_choose() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut dial = dial("127.0.0.1", listener.local_addr().unwrap().port());
        dial.local_address = Some("127.0.0.9".parse().unwrap());
        let dialled = run(dial).await.unwrap();
        let (_, seen) = listener.accept().await.unwrap();
        assert_eq!(dialled.local, seen);
        assert_eq!(seen.ip().to_string(), "127.0.0.9");
        assert_eq!(dialled.remote, listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_failure_says_what_and_where() {
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let text = run(dial("127.0.0.1", unused.port())).await.unwrap_err();
        assert_eq!(text, format!("connecting to {unused}: Connection refused"));
        let text = run(dial("fe80::1", 179)).await.unwrap_err();
        assert!(text.contains("write fe80::1%INTERFACE"), "{text}");
        let mut zoned = dial("fe80::1", 179);
        zoned.zone = Some("no-such-if".to_owned());
        assert_eq!(run(zoned).await.unwrap_err(), "interface no-such-if: No such device");
        let mut sourced = dial("127.0.0.1", 179);
        sourced.local_address = Some("192.0.2.77".parse().unwrap());
        let text = run(sourced).await.unwrap_err();
        assert_eq!(text, "dialling from 192.0.2.77: Cannot assign requested address");
    }

    #[tokio::test]
    async fn an_interface_without_a_fitting_address_is_named() {
        let mut sourced = dial("192.0.2.1", 179);
        sourced.source_interface = Some("lo".to_owned());
        let text = run(sourced).await.unwrap_err();
        assert_eq!(text, "sourceInterface lo has no address to reach 192.0.2.1 from");
    }
}
