//! Made-up traffic in the shape of a real table: UPDATEs of about 100 octets with 5.5 prefixes on average,
//! and a table packed to the limit.

use bytes::{Bytes, BytesMut};

use bgp_proto::types::{Asn, Community, Family, FamilySet, LargeCommunity, Prefix};
use bgp_proto::wire::{
    AsPath, DecodeContext, EncodeContext, NextHop, Nlri, Origin, PathAttributes, pack_announcements,
};

/// A multiplicative congruential generator: the same traffic in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    pub fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 33) * u64::from(sides)) >> 31) as u32
    }
}

pub const NEXT_HOP: NextHop = NextHop::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

pub fn encode_context() -> EncodeContext {
    EncodeContext { asn4: true, add_path: FamilySet::EMPTY, extended_next_hop: false, max_message: 4096 }
}

pub fn decode_context() -> DecodeContext {
    DecodeContext {
        asn4: true,
        external: true,
        families: FamilySet::from_iter(Family::ALL),
        add_path: FamilySet::EMPTY,
        extended_next_hop: false,
        enhanced_refresh: true,
        loopback: false,
        max_message: 4096,
    }
}

pub fn attributes(dice: &mut Dice) -> PathAttributes {
    let hops = 2 + dice.roll(5);
    let communities = if dice.roll(2) == 0 { 0 } else { 1 + dice.roll(8) };
    let large = u32::from(dice.roll(8) == 0) * 2;
    PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath::sequence((0..hops).filter_map(|_| Asn::new(1 + dice.roll(400_000))))),
        med: (dice.roll(4) == 0).then(|| dice.roll(1000)),
        communities: (0..communities).map(|_| Community(dice.roll(u32::MAX))).collect(),
        large_communities: (0..large)
            .map(|_| LargeCommunity { global: 64500, local1: dice.roll(100), local2: dice.roll(100) })
            .collect(),
        ..PathAttributes::default()
    }
}

pub fn prefix(dice: &mut Dice) -> Nlri {
    // Three of five prefixes of the real table are /24.
    let len = if dice.roll(5) < 3 { 24 } else { 16 + dice.roll(8) as u8 };
    let addr = std::net::Ipv4Addr::from_bits(0x0100_0000 + dice.roll(0xdd00_0000));
    Nlri::from(Prefix::new(addr.into(), len).expect("at most 24"))
}

/// UPDATE by UPDATE: attributes and prefixes.
pub fn ordinary(count: usize) -> Vec<(PathAttributes, Vec<Nlri>)> {
    let mut dice = Dice::new();
    (0..count)
        .map(|_| {
            let prefixes = 1 + dice.roll(10);
            (attributes(&mut dice), (0..prefixes).map(|_| prefix(&mut dice)).collect())
        })
        .collect()
}

/// The same as octets.
pub fn ordinary_octets(updates: &[(PathAttributes, Vec<Nlri>)]) -> Bytes {
    let mut out = BytesMut::new();
    for (attributes, prefixes) in updates {
        let prefixes = prefixes.iter().copied();
        pack_announcements(&encode_context(), Family::Ipv4Unicast, attributes, &NEXT_HOP, prefixes, &mut out)
            .expect("they fit");
    }
    out.freeze()
}

/// A table with one attribute set, packed.
pub fn packed(count: usize) -> (PathAttributes, Vec<Nlri>, Bytes) {
    let mut dice = Dice::new();
    let attributes = attributes(&mut dice);
    let prefixes: Vec<Nlri> = (0..count).map(|_| prefix(&mut dice)).collect();
    let octets = ordinary_octets(&[(attributes.clone(), prefixes.clone())]);
    (attributes, prefixes, octets)
}
