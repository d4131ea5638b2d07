//! Messages to octets (RFC 7854 §4, RFC 8671 §4, RFC 9069 §4).

use std::net::IpAddr;

use super::{Down, Message, Peer, PeerUp, Rib, VERSION, Value, flag, kind};

impl Message {
    /// Appends the message to `out`. A text of more than 65535 octets is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([VERSION, 0, 0, 0, 0]);
        out.push(match self {
            Self::RouteMonitoring { .. } => kind::ROUTE_MONITORING,
            Self::Statistics { .. } => kind::STATISTICS,
            Self::PeerDown { .. } => kind::PEER_DOWN,
            Self::PeerUp(_) => kind::PEER_UP,
            Self::Initiation(_) => kind::INITIATION,
            Self::Termination { .. } => kind::TERMINATION,
            Self::Other { kind, .. } => *kind,
        });
        match self {
            Self::RouteMonitoring { peer, update } => {
                peer.encode(out);
                out.extend(update);
            }
            Self::Statistics { peer, values } => statistics(peer, values, out),
            Self::PeerDown { peer, reason } => {
                peer.encode(out);
                reason.encode(out);
            }
            Self::PeerUp(up) => up.encode(out),
            Self::Initiation(information) => {
                information.iter().for_each(|(kind, text)| tlv(*kind, text.as_bytes(), out));
            }
            Self::Termination { reason, text } => {
                tlv(1, &reason.to_be_bytes(), out);
                if !text.is_empty() {
                    tlv(0, text.as_bytes(), out);
                }
            }
            Self::Other { octets, .. } => out.extend(octets),
        }
        let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
        if let Some(field) = out.get_mut(start + 1..start + 5) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

fn tlv(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend(kind.to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend(value.iter().take(length.into()));
}

fn statistics(peer: &Peer, values: &[(u16, Value)], out: &mut Vec<u8>) {
    peer.encode(out);
    out.extend(u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (kind, value) in values {
        match value {
            Value::Counter(value) => tlv(*kind, &value.to_be_bytes(), out),
            Value::Gauge(value) => tlv(*kind, &value.to_be_bytes(), out),
            Value::FamilyGauge(family, value) => {
                let [high, low] = family.afi.to_be_bytes();
                let mut octets = vec![high, low, family.safi];
                octets.extend(value.to_be_bytes());
                tlv(*kind, &octets, out);
            }
        }
    }
}

/// 16 octets; "if the V flag is not set, the address is in the last 4 octets, the first 12 are zero-filled" (RFC 7854 §4.2).
fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            out.extend([0; 12]);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => out.extend(address.octets()),
    }
}

impl Peer {
    fn encode(&self, out: &mut Vec<u8>) {
        let when = |set: bool, flag: u8| if set { flag } else { 0 };
        let widths = when(self.address.is_ipv6(), flag::IPV6) | when(self.two_octets, flag::TWO_OCTETS);
        // Peer Type 0 is a Global Instance Peer, 3 a Loc-RIB Instance Peer.
        let (kind, flags) = match self.rib {
            Rib::AdjRibIn { post_policy } => (0, widths | when(post_policy, flag::POST_POLICY)),
            Rib::AdjRibOut { post_policy } => (0, widths | flag::OUT | when(post_policy, flag::POST_POLICY)),
            Rib::LocRib { filtered } => (3, when(filtered, flag::FILTERED)),
        };
        out.extend([kind, flags]);
        out.extend(self.distinguisher.to_be_bytes());
        address(self.address, out);
        out.extend(self.asn.to_be_bytes());
        out.extend(self.router_id.octets());
        out.extend(self.at.0.to_be_bytes());
        out.extend(self.at.1.to_be_bytes());
    }
}

impl Down {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::LocalNotification(message) => {
                out.push(1);
                out.extend(message);
            }
            Self::LocalEvent(event) => {
                out.push(2);
                out.extend(event.to_be_bytes());
            }
            Self::RemoteNotification(message) => {
                out.push(3);
                out.extend(message);
            }
            Self::Remote => out.push(4),
            Self::Deconfigured => out.push(5),
            Self::Other(reason, data) => {
                out.push(*reason);
                out.extend(data);
            }
        }
    }
}

impl PeerUp {
    fn encode(&self, out: &mut Vec<u8>) {
        self.peer.encode(out);
        address(self.local_address, out);
        out.extend(self.local_port.to_be_bytes());
        out.extend(self.remote_port.to_be_bytes());
        out.extend(&self.sent);
        out.extend(&self.received);
        self.information.iter().for_each(|(kind, text)| tlv(*kind, text.as_bytes(), out));
    }
}
