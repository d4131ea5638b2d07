use proptest::prelude::*;

use super::*;
use crate::wire::testing::hex;

fn block(family: Family, add_path: bool, octets: &str) -> Result<NlriBlock, NlriFault> {
    check(family, add_path, hex(octets))
}

fn check(family: Family, add_path: bool, octets: Vec<u8>) -> Result<NlriBlock, NlriFault> {
    let frame = Bytes::from(octets);
    NlriBlock::check(family, add_path, &frame, &frame)
}

fn texts(block: &NlriBlock) -> Vec<String> {
    block.iter().map(|nlri| nlri.prefix.to_string()).collect()
}

#[test]
fn prefixes_of_every_length_are_read() {
    for len in 0..=32u8 {
        let octets = [&[len][..], &[0xff; 4][..usize::from(len).div_ceil(8)]].concat();
        let block = check(Family::Ipv4Unicast, false, octets).unwrap();
        let expected = Prefix::new(Ipv4Addr::BROADCAST.into(), len).unwrap();
        assert_eq!(block.iter().collect::<Vec<_>>(), [Nlri::from(expected)]);
    }
    for len in 0..=128u8 {
        let octets = [&[len][..], &[0xff; 16][..usize::from(len).div_ceil(8)]].concat();
        let block = check(Family::Ipv6Unicast, false, octets).unwrap();
        let expected = Prefix::new(Ipv6Addr::from([0xff; 16]).into(), len).unwrap();
        assert_eq!(block.iter().collect::<Vec<_>>(), [Nlri::from(expected)]);
    }
}

#[test]
fn host_bits_and_the_next_prefix_are_not_part_of_a_prefix() {
    let found = block(Family::Ipv4Unicast, false, "09 0aff 00 18 cb0071 20 c0000201").unwrap();
    assert_eq!(texts(&found), ["10.128.0.0/9", "0.0.0.0/0", "203.0.113.0/24", "192.0.2.1/32"]);
    assert_eq!((found.count(), found.iter().len(), found.is_empty()), (4, 4, false));
    let found = block(Family::Ipv6Unicast, false, "21 20010db8ff 00 20 20010db8").unwrap();
    assert_eq!(texts(&found), ["2001:db8:8000::/33", "::/0", "2001:db8::/32"]);
}

#[test]
fn an_empty_field_is_legal() {
    let found = block(Family::Ipv4Unicast, false, "").unwrap();
    assert_eq!((found.count(), found.iter().next()), (0, None));
}

#[test]
fn lengths_beyond_the_family_and_beyond_the_field_are_faults() {
    let v4 = Family::Ipv4Unicast;
    assert_eq!(block(v4, false, "08 0a 21 0000000000"), Err(NlriFault::Length { offset: 2, len: 33 }));
    assert_eq!(block(v4, false, "ff"), Err(NlriFault::Length { offset: 0, len: 255 }));
    assert_eq!(block(v4, false, "08 0a 18 cb00"), Err(NlriFault::Overrun { offset: 2 }));
    assert_eq!(block(v4, false, "08"), Err(NlriFault::Overrun { offset: 0 }));
    assert_eq!(block(Family::Ipv6Unicast, false, "81"), Err(NlriFault::Length { offset: 0, len: 129 }));
    assert_eq!(block(v4, true, "000000"), Err(NlriFault::Overrun { offset: 0 }));
    assert_eq!(block(v4, true, "00000001"), Err(NlriFault::Overrun { offset: 0 }));
    assert_eq!(block(v4, true, "00000001 21"), Err(NlriFault::Length { offset: 0, len: 33 }));
    assert_eq!(NlriFault::Length { offset: 2, len: 33 }.to_string(), "a prefix length of 33 at octet 2");
}

#[test]
fn path_identifiers_stand_in_front() {
    let found = block(Family::Ipv4Unicast, true, "00000007 08 0a ffffffff 00").unwrap();
    let ids: Vec<_> = found.iter().map(|nlri| (nlri.path_id, nlri.prefix.to_string())).collect();
    assert_eq!(ids, [(Some(7), "10.0.0.0/8".into()), (Some(u32::MAX), "0.0.0.0/0".into())]);
}

#[test]
fn blocks_are_equal_by_what_they_name() {
    let v4 = Family::Ipv4Unicast;
    assert_eq!(block(v4, false, "09 0aff"), block(v4, false, "09 0a80"));
    assert_ne!(block(v4, false, "09 0aff"), block(v4, false, "08 0a"));
    assert_ne!(block(v4, false, "00"), block(Family::Ipv6Unicast, false, "00"));
    assert_ne!(block(v4, true, "00000000 00"), block(v4, false, "00"));
    assert_eq!(format!("{:?}", block(v4, false, "08 0a").unwrap().family()), "Ipv4Unicast");
}

#[test]
fn a_block_is_made_of_destinations() {
    let nlri = |text: &str, path_id| Nlri { path_id, prefix: text.parse().unwrap() };
    let made = NlriBlock::new(Family::Ipv4Unicast, [nlri("10.0.0.0/8", Some(3)), nlri("0.0.0.0/0", None)]);
    assert_eq!(made.as_bytes(), &hex("00000003 08 0a 00000000 00")[..]);
    let mixed = [nlri("2001:db8::/32", None), nlri("10.0.0.0/8", None), nlri("::/0", None)];
    assert_eq!(texts(&NlriBlock::new(Family::Ipv4Unicast, mixed)), ["10.0.0.0/8"]);
    assert_eq!(texts(&NlriBlock::new(Family::Ipv6Unicast, mixed)), ["2001:db8::/32", "::/0"]);
}

proptest! {
    /// Whatever passes the check is iterated in full: as many destinations as were counted.
    #[test]
    fn the_iterator_skips_nothing(
        octets in proptest::collection::vec(prop_oneof![0..34u8, any::<u8>()], 0..60),
        v6: bool, add_path: bool,
    ) {
        let family = if v6 { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
        if let Ok(block) = check(family, add_path, octets) {
            prop_assert_eq!(block.iter().count(), block.count());
            let again = NlriBlock::new(family, &block);
            prop_assert!(block.is_empty() || again == block);
        }
    }
}
