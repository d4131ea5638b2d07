//! Membership in solicited-node groups: a switch that snoops MLD passes questions on to members alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use socket2::{Domain, Socket, Type};
use speaker_core::l2::frame::solicited_node;

/// The groups of one interface. The kernel bounds how many one socket may join, so that there are several.
#[derive(Debug, Default)]
pub(super) struct Groups {
    sockets: Vec<Socket>,
    joined: BTreeMap<Ipv6Addr, usize>,
}

impl Groups {
    /// Joins the groups of `addresses` on an interface and leaves all others.
    pub(super) fn set<'a>(
        &mut self,
        interface: u32,
        addresses: impl Iterator<Item = &'a IpAddr>,
    ) -> io::Result<()> {
        let wanted: BTreeSet<Ipv6Addr> = addresses
            .filter_map(|address| match address {
                IpAddr::V6(v6) => Some(solicited_node(*v6)),
                IpAddr::V4(_) => None,
            })
            .collect();
        let sockets = &self.sockets;
        self.joined.retain(|group, socket| {
            let kept = wanted.contains(group);
            if !kept && let Some(socket) = sockets.get(*socket) {
                // It fails only where the interface is gone, and the membership with it.
                let _ = socket.leave_multicast_v6(group, interface);
            }
            kept
        });
        for group in wanted {
            if !self.joined.contains_key(&group) {
                let socket = self.join(interface, &group)?;
                self.joined.insert(group, socket);
            }
        }
        Ok(())
    }

    /// Joins by the first socket that has room; gives its place.
    fn join(&mut self, interface: u32, group: &Ipv6Addr) -> io::Result<usize> {
        if let Some(last) = self.sockets.last() {
            match last.join_multicast_v6(group, interface) {
                Ok(()) => return Ok(self.sockets.len() - 1),
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), None)?;
        socket.join_multicast_v6(group, interface)?;
        self.sockets.push(socket);
        Ok(self.sockets.len() - 1)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_groups_are_joined_and_left() {
        let interface = super::super::super::sockopt::interface_index("lo").unwrap();
        let addresses: Vec<IpAddr> = (0..3000u16)
            .map(|number| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)))
            .collect();
        let mut groups = Groups::default();
        groups.set(interface, addresses.iter()).unwrap();
        assert_eq!(groups.joined.len(), 3000);
        let listed = std::fs::read_to_string("/proc/net/igmp6").unwrap();
        assert!(listed.contains("ff0200000000000000000001ff000bb7"), "{} groups", listed.lines().count());
        groups.set(interface, std::iter::empty()).unwrap();
        let listed = std::fs::read_to_string("/proc/net/igmp6").unwrap();
        assert!(!listed.contains("ff0200000000000000000001ff000bb7"));
    }
}
