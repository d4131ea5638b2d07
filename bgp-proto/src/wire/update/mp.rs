//! MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760, RFC 2545, RFC 8950).

use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::attributes::{Attribute, Reader};
use super::table::Spec;
use crate::types::{AfiSafi, Family};
use crate::wire::{DecodeContext, DecodeError, Disposition, NextHop, NlriBlock};

/// What stands in front of the NLRI of an MP_REACH_NLRI.
struct Reach<'a> {
    family: AfiSafi,
    next_hop: &'a [u8],
    nlri: &'a [u8],
}

/// Family, next hop and NLRI of an MP_REACH_NLRI; `None` where the next hop runs past the attribute.
fn split_reach(value: &[u8]) -> Option<Reach<'_>> {
    let ([high, low, safi, length], rest) = value.split_first_chunk::<4>()?;
    let (next_hop, rest) = rest.split_at_checked(usize::from(*length))?;
    // One reserved octet, "SHOULD be ignored upon receipt" (RFC 4760 §3).
    let (_, nlri) = rest.split_first()?;
    Some(Reach { family: afi_safi(*high, *low, *safi), next_hop, nlri })
}

/// Family and NLRI of an MP_UNREACH_NLRI.
fn split_unreach(value: &[u8]) -> Option<(AfiSafi, &[u8])> {
    let ([high, low, safi], nlri) = value.split_first_chunk::<3>()?;
    Some((afi_safi(*high, *low, *safi), nlri))
}

const fn afi_safi(high: u8, low: u8, safi: u8) -> AfiSafi {
    AfiSafi { afi: u16::from_be_bytes([high, low]), safi }
}

/// What a next hop field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextHopField {
    /// A next hop that can be used.
    Usable(NextHop),
    /// Of a right length, and nothing that a packet can be sent to.
    Unusable,
    /// Of a length that the family does not have: the NLRI behind it cannot be trusted (RFC 7606 §7.11).
    WrongLength,
}

/// Reads the next hop of a family of ours.
fn next_hop(field: &[u8], family: Family, context: &DecodeContext) -> NextHopField {
    let v6 = family == Family::Ipv6Unicast || context.extended_next_hop;
    if let (Family::Ipv4Unicast, Some((octets, []))) = (family, field.split_first_chunk::<4>()) {
        let addr = Ipv4Addr::from(*octets);
        return if usable_v4(addr, context.loopback) {
            NextHopField::Usable(NextHop::V4(addr))
        } else {
            NextHopField::Unusable
        };
    }
    let (halves, rest) = field.as_chunks::<16>();
    match halves {
        [one] if v6 && rest.is_empty() => select(&[Ipv6Addr::from(*one)], context.loopback),
        [one, two] if v6 && rest.is_empty() => {
            select(&[Ipv6Addr::from(*one), Ipv6Addr::from(*two)], context.loopback)
        }
        _ => NextHopField::WrongLength,
    }
}

/// RFC 2545 §3 has a global address, or a global and a link-local one. Real routers also send `::` and a
/// link-local one, two link-local ones, two global ones, and a link-local one alone: the first address that
/// is fit to be global is taken as such, the first link-local one as that.
fn select(addresses: &[Ipv6Addr], loopback: bool) -> NextHopField {
    let link_local = addresses.iter().find(|addr| addr.is_unicast_link_local()).copied();
    let none =
        |addr: &Ipv6Addr| addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() && !loopback;
    let global = addresses.iter().find(|addr| !none(addr) && !addr.is_unicast_link_local());
    match (global, link_local) {
        (Some(global), link_local) => NextHopField::Usable(NextHop::V6 { address: *global, link_local }),
        (None, Some(address)) => NextHopField::Usable(NextHop::V6 { address, link_local: None }),
        (None, None) => NextHopField::Unusable,
    }
}

/// "Syntactic correctness means that the NEXT_HOP attribute represents a valid IP host address" (RFC 4271
/// §6.3). A session over the loopback interface has no other next hops than loopback addresses.
pub(super) fn usable_v4(addr: Ipv4Addr, loopback: bool) -> bool {
    let [first, ..] = addr.octets();
    (1..224).contains(&first) && (loopback || !addr.is_loopback())
}

impl Reader<'_> {
    /// The family where it was negotiated. The routes of any other are ignored (RFC 4760 §8).
    fn negotiated(&self, family: AfiSafi) -> Option<Family> {
        family.family().filter(|family| self.context.families.contains(*family))
    }

    #[cold]
    fn ignored(&mut self, attribute: Attribute<'_>, family: AfiSafi) -> Result<(), DecodeError> {
        self.fault(attribute, Disposition::AttributeDiscard, 0, format!("{family} was not negotiated"))
    }

    pub(super) fn mp_reach(&mut self, attribute: Attribute<'_>, spec: &Spec) -> Result<(), DecodeError> {
        let Some(reach) = split_reach(attribute.value) else {
            let detail = "the next hop runs past the attribute";
            return self.fault(attribute, spec.bad_value, spec.subcode, detail);
        };
        self.out.reachable = !reach.nlri.is_empty();
        let Some(family) = self.negotiated(reach.family) else {
            return self.ignored(attribute, reach.family);
        };
        let field = next_hop(reach.next_hop, family, self.context);
        if field == NextHopField::WrongLength {
            let detail = format!("a next hop of {} octets for {family}", reach.next_hop.len());
            return self.fault(attribute, spec.bad_value, spec.subcode, detail);
        }
        let nlri = match self.routes(family, reach.nlri) {
            Ok(nlri) => nlri,
            Err(fault) => return self.fault(attribute, spec.bad_value, spec.subcode, fault),
        };
        let next_hop = match field {
            NextHopField::Usable(next_hop) => Some(next_hop),
            NextHopField::Unusable | NextHopField::WrongLength => None,
        };
        self.out.reach = (!nlri.is_empty()).then_some((next_hop, nlri));
        match next_hop {
            Some(_) => Ok(()),
            None => {
                let detail = "the next hop is not a host address";
                self.fault(attribute, Disposition::TreatAsWithdraw, spec.subcode, detail)
            }
        }
    }

    pub(super) fn mp_unreach(&mut self, attribute: Attribute<'_>, spec: &Spec) -> Result<(), DecodeError> {
        let Some((family, nlri)) = split_unreach(attribute.value) else {
            return self.fault(attribute, spec.bad_value, spec.subcode, "it is cut off");
        };
        let Some(family) = self.negotiated(family) else {
            self.out.unreach_ignored = true;
            return self.ignored(attribute, family);
        };
        match self.routes(family, nlri) {
            Ok(nlri) => self.out.unreach = Some(nlri),
            Err(fault) => return self.fault(attribute, spec.bad_value, spec.subcode, fault),
        }
        Ok(())
    }

    fn routes(&self, family: Family, nlri: &[u8]) -> Result<NlriBlock, impl Display + use<>> {
        NlriBlock::check(family, self.context.add_path.contains(family), self.frame, nlri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn read(addresses: &[&str]) -> NextHopField {
        let field: Vec<u8> = addresses.iter().flat_map(|text| v6(text).octets()).collect();
        next_hop(&field, Family::Ipv6Unicast, &plain())
    }

    fn plain() -> DecodeContext {
        DecodeContext::default()
    }

    fn extended() -> DecodeContext {
        DecodeContext { extended_next_hop: true, ..DecodeContext::default() }
    }

    fn usable(address: &str, link_local: Option<&str>) -> NextHopField {
        NextHopField::Usable(NextHop::V6 { address: v6(address), link_local: link_local.map(v6) })
    }

    /// gobgp#3214, frr#4941, frr#5631 and what BIRD sends on a link-local session.
    #[test]
    fn the_usable_half_is_found() {
        assert_eq!(read(&["2001:db8::1"]), usable("2001:db8::1", None));
        assert_eq!(read(&["2001:db8::1", "fe80::1"]), usable("2001:db8::1", Some("fe80::1")));
        assert_eq!(read(&["fe80::1", "2001:db8::1"]), usable("2001:db8::1", Some("fe80::1")));
        assert_eq!(read(&["::", "fe80::1"]), usable("fe80::1", None));
        assert_eq!(read(&["fe80::1"]), usable("fe80::1", None));
        assert_eq!(read(&["fe80::1", "fe80::2"]), usable("fe80::1", None));
        assert_eq!(read(&["2001:db8::1", "2001:db8::2"]), usable("2001:db8::1", None));
        assert_eq!(read(&["2001:db8::1", "::"]), usable("2001:db8::1", None));
        assert_eq!(read(&["::1"]), NextHopField::Unusable);
        assert_eq!(read(&["::1", "fe80::1"]), usable("fe80::1", None));
        let over_loopback = DecodeContext { loopback: true, ..plain() };
        let field = v6("::1").octets();
        assert_eq!(next_hop(&field, Family::Ipv6Unicast, &over_loopback), usable("::1", None));
        assert_eq!(read(&["::"]), NextHopField::Unusable);
        assert_eq!(read(&["::", "ff02::1"]), NextHopField::Unusable);
    }

    #[test]
    fn every_other_length_is_wrong() {
        for length in (0..=48).filter(|length| *length != 16 && *length != 32) {
            assert_eq!(next_hop(&vec![1; length], Family::Ipv6Unicast, &plain()), NextHopField::WrongLength);
        }
        for length in (0..=48).filter(|length| *length != 4) {
            assert_eq!(next_hop(&vec![1; length], Family::Ipv4Unicast, &plain()), NextHopField::WrongLength);
        }
    }

    #[test]
    fn ipv4_has_an_ipv6_next_hop_only_where_negotiated() {
        let field = v6("2001:db8::1").octets();
        assert_eq!(next_hop(&field, Family::Ipv4Unicast, &extended()), usable("2001:db8::1", None));
        let both = [field, v6("fe80::1").octets()].concat();
        assert_eq!(next_hop(&both, Family::Ipv4Unicast, &extended()), usable("2001:db8::1", Some("fe80::1")));
        let v4 = NextHopField::Usable(NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(next_hop(&[192, 0, 2, 1], Family::Ipv4Unicast, &extended()), v4);
        assert_eq!(next_hop(&[0, 0, 0, 0], Family::Ipv4Unicast, &plain()), NextHopField::Unusable);
    }

    #[test]
    fn host_addresses_are_usable_and_others_are_not() {
        for (octets, expected) in [
            ([0, 0, 0, 0], false),
            ([0, 1, 2, 3], false),
            ([10, 0, 0, 1], true),
            ([127, 0, 0, 1], false),
            ([223, 255, 255, 1], true),
            ([224, 0, 0, 1], false),
            ([240, 0, 0, 1], false),
            ([255, 255, 255, 255], false),
        ] {
            assert_eq!(usable_v4(octets.into(), false), expected, "{octets:?}");
            assert_eq!(usable_v4(octets.into(), true), expected || octets[0] == 127, "{octets:?}");
        }
    }
}
