//! What the interfaces say of the way to a peer.

use std::net::IpAddr;

use bgp_proto::types::Prefix;
use nix::ifaddrs::getifaddrs;

use super::sockets::ip;

/// An address of an interface with its subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) interface: String,
    pub(super) address: IpAddr,
    pub(super) subnet: Prefix,
}

/// Every address of every interface.
pub(super) fn own() -> Vec<Own> {
    let all = getifaddrs().into_iter().flatten();
    all.filter_map(|entry| {
        let address = ip(&entry.address?)?;
        let length = ones(ip(&entry.netmask?)?);
        let subnet = Prefix::new(masked(address, length), length).ok()?;
        Some(Own { interface: entry.interface_name, address, subnet })
    })
    .collect()
}

fn ones(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// Whether `remote` is on a link of ours.
pub(super) fn on_link(own: &[Own], remote: IpAddr) -> bool {
    own.iter().any(|own| !own.subnet.is_host() && own.subnet.contains(remote))
}

/// The first address of an interface from which `remote` can be spoken to.
pub(super) fn source(own: &[Own], interface: &str, remote: IpAddr) -> Option<IpAddr> {
    let link_local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let fits = |own: &&Own| {
        own.interface == interface
            && own.address.is_ipv4() == remote.is_ipv4()
            && link_local(&own.address) == link_local(&remote)
    };
    own.iter().find(fits).map(|own| own.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(interface: &str, address: &str, subnet: &str) -> Own {
        Own {
            interface: interface.to_owned(),
            address: address.parse().unwrap(),
            subnet: subnet.parse().unwrap(),
        }
    }

    #[test]
    fn loopback_is_among_the_addresses() {
        assert!(own().contains(&one("lo", "127.0.0.1", "127.0.0.0/8")), "{:?}", own());
    }

    #[test]
    fn a_peer_in_a_subnet_of_ours_is_on_the_link() {
        let own = [one("eth0", "10.0.0.1", "10.0.0.0/24"), one("lo", "192.0.2.1", "192.0.2.1/32")];
        assert!(on_link(&own, "10.0.0.254".parse().unwrap()));
        assert!(!on_link(&own, "10.0.1.1".parse().unwrap()));
        assert!(!on_link(&own, "192.0.2.1".parse().unwrap()), "a host address is no link");
    }

    #[test]
    fn the_source_is_of_the_peers_kind() {
        let own = [
            one("eth0", "fe80::1", "fe80::/64"),
            one("eth0", "2001:db8::1", "2001:db8::/64"),
            one("eth0", "10.0.0.1", "10.0.0.0/24"),
        ];
        let from = |remote: &str| source(&own, "eth0", remote.parse().unwrap()).map(|own| own.to_string());
        assert_eq!(from("10.9.9.9").as_deref(), Some("10.0.0.1"));
        assert_eq!(from("2001:db8:9::9").as_deref(), Some("2001:db8::1"));
        assert_eq!(from("fe80::9").as_deref(), Some("fe80::1"));
        assert_eq!(source(&own, "eth1", "10.9.9.9".parse().unwrap()), None);
    }

    #[test]
    fn masks_keep_what_they_cover() {
        assert_eq!(masked("10.1.2.3".parse().unwrap(), 0).to_string(), "0.0.0.0");
        assert_eq!(masked("10.1.2.3".parse().unwrap(), 16).to_string(), "10.1.0.0");
        assert_eq!(masked("10.1.2.3".parse().unwrap(), 32).to_string(), "10.1.2.3");
        assert_eq!(masked("2001:db8::1".parse().unwrap(), 32).to_string(), "2001:db8::");
        assert_eq!(ones("255.255.252.0".parse().unwrap()), 22);
    }
}
