//! Tables as octets, made once before the clock starts.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tests::bgp::{Type, frame};

use crate::seen::Universe;

/// Octets to send, and what they say.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    /// Whole UPDATEs.
    pub(crate) octets: Arc<[u8]>,
    /// How many.
    pub(crate) updates: u64,
    /// How many different prefixes they announce.
    pub(crate) prefixes: u64,
}

/// A congruential generator: the same traffic in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(((self.0 >> 33) * u64::from(sides)) >> 31).expect("below `sides`")
    }
}

/// A table of different prefixes in the shape of the Internet's: 5.5 of them and 100 octets in an UPDATE.
pub(crate) fn internet(prefixes: u64, asn: u32, next_hop: Ipv4Addr) -> Traffic {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut known = BTreeSet::new();
    let mut traffic = Builder::default();
    let mut left = prefixes;
    while left > 0 {
        let count = u64::from(1 + dice.roll(10)).min(left);
        let attributes = attributes(&mut dice, asn, next_hop);
        let mut nlri = Vec::new();
        for _ in 0..count {
            nlri.push(new_prefix(&mut dice, &mut known));
        }
        traffic.update(&attributes, &nlri);
        left -= count;
    }
    traffic.finish()
}

/// The same for IPv6: prefixes of 2001::/16, of lengths 32 to 48.
pub(crate) fn internet6(prefixes: u64, asn: u32, next_hop: Ipv6Addr) -> Traffic {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut known = BTreeSet::new();
    let mut traffic = Builder::default();
    let mut left = prefixes;
    while left > 0 {
        let count = u64::from(1 + dice.roll(10)).min(left);
        let hops: Vec<u32> = (0..1 + dice.roll(5)).map(|_| 100_000 + dice.roll(300_000)).collect();
        let mut nlri = Vec::new();
        for _ in 0..count {
            nlri.extend(new_prefix6(&mut dice, &mut known));
        }
        let path: Vec<u32> = [asn].into_iter().chain(hops).collect();
        let mut attributes = origin_and_path(&path);
        let length = u16::try_from(21 + nlri.len()).expect("few prefixes");
        attributes.extend([0x90, 14]);
        attributes.extend(length.to_be_bytes());
        attributes.extend([0, 2, 1, 16]);
        attributes.extend(next_hop.octets());
        attributes.push(0);
        attributes.extend(nlri);
        traffic.update(&attributes, &[]);
        traffic.prefixes += count;
        left -= count;
    }
    traffic.finish()
}

/// In wire form.
fn new_prefix6(dice: &mut Dice, known: &mut BTreeSet<(u32, u8)>) -> Vec<u8> {
    loop {
        let length = u8::try_from(32 + dice.roll(17)).expect("below 49");
        // The 32 bits behind 2001.
        let bits = dice.roll(0x7fff_ffff) & (u32::MAX << (48 - length));
        if known.insert((bits, length)) {
            let mut wire = vec![length, 0x20, 0x01];
            wire.extend(&bits.to_be_bytes()[..usize::from((length - 16).div_ceil(8))]);
            return wire;
        }
    }
}

fn new_prefix(dice: &mut Dice, known: &mut BTreeSet<(u32, u8)>) -> (u32, u8) {
    loop {
        // Three of five prefixes of the real table are /24.
        let length = if dice.roll(5) < 3 { 24 } else { u8::try_from(16 + dice.roll(8)).expect("below 24") };
        let address = (0x0100_0000 + dice.roll(0xdd00_0000)) & (u32::MAX << (32 - length));
        // Daemons refuse loopback and link-local addresses, and 10/8 is where the peers are.
        if !matches!(address >> 24, 10 | 127) && address >> 16 != 0xa9fe && known.insert((address, length)) {
            return (address, length);
        }
    }
}

fn attributes(dice: &mut Dice, asn: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let hops: Vec<u32> = (0..1 + dice.roll(5)).map(|_| 100_000 + dice.roll(300_000)).collect();
    let mut path = vec![asn];
    path.extend(hops);
    let mut octets = origin_path_and_next_hop(&path, next_hop);
    if dice.roll(4) == 0 {
        octets.extend([0x80, 4, 4]);
        octets.extend(dice.roll(1000).to_be_bytes());
    }
    if dice.roll(2) == 0 {
        let count = 1 + dice.roll(8);
        octets.extend([0xc0, 8, u8::try_from(4 * count).expect("at most 32")]);
        for _ in 0..count {
            octets.extend((0x0001_0000 + dice.roll(0xfff0_0000)).to_be_bytes());
        }
    }
    octets
}

fn origin_and_path(path: &[u32]) -> Vec<u8> {
    let hops = u8::try_from(path.len()).expect("a short path");
    let mut octets = vec![0x40, 1, 1, 0, 0x40, 2, 2 + 4 * hops, 2, hops];
    octets.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
    octets
}

fn origin_path_and_next_hop(path: &[u32], next_hop: Ipv4Addr) -> Vec<u8> {
    let mut octets = origin_and_path(path);
    octets.extend([0x40, 3, 4]);
    octets.extend(next_hop.octets());
    octets
}

/// The whole universe: prefix `n` has the community `asn:set` with `set` from `set_of(n)`.
pub(crate) fn sets(universe: Universe, count: u16, asn: u32, next_hop: Ipv4Addr) -> Traffic {
    let mut traffic = Builder::default();
    for set in 1..=count {
        let mut attributes = origin_path_and_next_hop(&[asn], next_hop);
        attributes.extend([0xc0, 8, 4]);
        attributes.extend(u16::try_from(asn).expect("a 2-octet AS").to_be_bytes());
        attributes.extend(set.to_be_bytes());
        let own = (0..universe.size).filter(|number| set_of(*number, count) == set);
        let nlri: Vec<(u32, u8)> = own.map(|number| universe.prefix(number)).collect();
        for part in nlri.chunks(900) {
            traffic.update(&attributes, part);
        }
    }
    traffic.finish()
}

/// The attribute set, from 1, of the prefix with a number: neighbours differ.
pub(crate) fn set_of(number: usize, count: u16) -> u16 {
    u16::try_from(number % usize::from(count)).expect("below a u16") + 1
}

#[derive(Debug, Default)]
struct Builder {
    octets: Vec<u8>,
    updates: u64,
    prefixes: u64,
}

impl Builder {
    fn update(&mut self, attributes: &[u8], nlri: &[(u32, u8)]) {
        let mut body = vec![0, 0];
        body.extend(u16::try_from(attributes.len()).expect("few attributes").to_be_bytes());
        body.extend(attributes);
        for (address, length) in nlri {
            body.push(*length);
            body.extend(&address.to_be_bytes()[..usize::from(length.div_ceil(8))]);
        }
        self.octets.extend(frame(Type::Update, &body));
        self.updates += 1;
        self.prefixes += u64::try_from(nlri.len()).expect("a length");
    }

    fn finish(self) -> Traffic {
        Traffic { octets: self.octets.into(), updates: self.updates, prefixes: self.prefixes }
    }
}
