//! Path attributes to bytes.

use std::iter::Peekable;
use std::net::Ipv4Addr;
use std::slice::Iter;

use bytes::{BufMut, BytesMut};

use super::update::table::{self, code, flags};
use super::{Aggregator, EncodeContext, Origin, PathAttributes, RawAttribute, as_path};

/// The attributes by ascending type code, without MP_REACH_NLRI and MP_UNREACH_NLRI; NEXT_HOP where
/// `next_hop` is given.
pub(crate) fn attributes(
    context: &EncodeContext,
    values: &PathAttributes,
    next_hop: Option<Ipv4Addr>,
) -> BytesMut {
    let mut out = Writer { out: BytesMut::with_capacity(256), unknown: values.unknown.iter().peekable() };
    if let Some(origin) = values.origin {
        let value = match origin {
            Origin::Igp => 0,
            Origin::Egp => 1,
            Origin::Incomplete => 2,
        };
        out.attribute(code::ORIGIN, &[value]);
    }
    if let Some(path) = &values.as_path {
        let mut value = BytesMut::with_capacity(64);
        as_path::encode(path, context.asn4, &mut value);
        out.attribute(code::AS_PATH, &value);
    }
    if let Some(next_hop) = next_hop {
        out.attribute(code::NEXT_HOP, &next_hop.octets());
    }
    if let Some(med) = values.med {
        out.attribute(code::MULTI_EXIT_DISC, &med.to_be_bytes());
    }
    if let Some(preference) = values.local_pref {
        out.attribute(code::LOCAL_PREF, &preference.to_be_bytes());
    }
    if values.atomic_aggregate {
        out.attribute(code::ATOMIC_AGGREGATE, &[]);
    }
    if let Some(aggregator) = values.aggregator {
        out.aggregator(aggregator, context.asn4);
    }
    out.list(code::COMMUNITIES, &values.communities, |community| community.0.to_be_bytes());
    if let Some(id) = values.originator_id {
        out.attribute(code::ORIGINATOR_ID, &id.as_ipv4().octets());
    }
    out.list(code::CLUSTER_LIST, &values.cluster_list, |id| id.octets());
    out.list(code::EXTENDED_COMMUNITIES, &values.extended_communities, |community| community.0);
    if !context.asn4 {
        out.four_octet_numbers(values);
    }
    out.list(code::LARGE_COMMUNITY, &values.large_communities, |community| {
        let mut octets = [0; 12];
        let parts = [community.global, community.local1, community.local2];
        for (to, from) in octets.as_chunks_mut::<4>().0.iter_mut().zip(parts) {
            *to = from.to_be_bytes();
        }
        octets
    });
    if let Some(asn) = values.only_to_customer {
        out.attribute(code::ONLY_TO_CUSTOMER, &asn.get().to_be_bytes());
    }
    out.unknown_before(None);
    out.out
}

struct Writer<'a> {
    out: BytesMut,
    unknown: Peekable<Iter<'a, RawAttribute>>,
}

impl Writer<'_> {
    /// An attribute that the table knows, with the flags specified for it.
    fn attribute(&mut self, code: u8, value: &[u8]) {
        self.unknown_before(Some(code));
        let flags = table::spec(code).map_or(flags::OPTIONAL, |spec| spec.flags);
        self.put(flags, code, value);
    }

    /// Unknown attributes whose turn it is before `code`; all that are left where there is none.
    fn unknown_before(&mut self, code: Option<u8>) {
        while let Some(raw) = self.unknown.next_if(|raw| code.is_none_or(|code| raw.code < code)) {
            self.put(raw.flags & !flags::EXTENDED_LENGTH, raw.code, &raw.value);
        }
    }

    fn put(&mut self, flags: u8, code: u8, value: &[u8]) {
        // The Extended Length bit only where one octet is too short for the length (RFC 4271 §4.3). A value over 65535 octets makes the attributes too long for any
        // message, which the packer refuses before the field is read by anybody.
        match u8::try_from(value.len()) {
            Ok(length) => self.out.put_slice(&[flags, code, length]),
            Err(_) => {
                self.out.put_slice(&[flags | flags::EXTENDED_LENGTH, code]);
                self.out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
            }
        }
        self.out.put_slice(value);
    }

    /// A list in the order given; no attribute where it is empty.
    fn list<T: Copy, const N: usize>(&mut self, code: u8, list: &[T], octets: impl Fn(T) -> [u8; N]) {
        if list.is_empty() {
            return;
        }
        let mut value = BytesMut::with_capacity(list.len() * N);
        for item in list {
            value.put_slice(&octets(*item));
        }
        self.attribute(code, &value);
    }

    fn aggregator(&mut self, aggregator: Aggregator, asn4: bool) {
        let router = aggregator.router.octets();
        if asn4 {
            self.attribute(code::AGGREGATOR, &[aggregator.asn.get().to_be_bytes(), router].concat());
        } else {
            let asn = aggregator.asn.two_octets().to_be_bytes();
            self.attribute(code::AGGREGATOR, &[&asn[..], &router].concat());
        }
    }

    /// AS4_PATH and AS4_AGGREGATOR for a peer with two-octet AS numbers (RFC 6793 §4.2.2): only where the
    /// two-octet attributes have lost something.
    fn four_octet_numbers(&mut self, values: &PathAttributes) {
        if let Some(path) = values.as_path.as_ref().and_then(as_path::as4_path) {
            let mut value = BytesMut::with_capacity(64);
            as_path::encode(&path, true, &mut value);
            self.attribute(code::AS4_PATH, &value);
        }
        if let Some(aggregator) =
            values.aggregator.filter(|aggregator| u16::try_from(aggregator.asn.get()).is_err())
        {
            let value = [aggregator.asn.get().to_be_bytes(), aggregator.router.octets()].concat();
            self.attribute(code::AS4_AGGREGATOR, &value);
        }
    }
}
