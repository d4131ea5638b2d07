use proptest::prelude::*;

use super::*;
use crate::types::AfiSafi;
use crate::wire::testing::{fault, hex, message, read};
use crate::wire::{DecodeContext, GracefulRestart, Message};

const V4: AfiSafi = AfiSafi { afi: 1, safi: 1 };
const V6: AfiSafi = AfiSafi { afi: 2, safi: 1 };

fn asn(value: u32) -> Asn {
    Asn::new(value).unwrap()
}

fn open(capabilities: Vec<Capability>) -> Open {
    Open {
        asn: asn(65001),
        hold_time: HoldTime::DEFAULT,
        router_id: "10.0.0.1".parse().unwrap(),
        capabilities,
    }
}

/// An OPEN of AS 65001, 90 s, 10.0.0.1 with these optional parameters.
fn with_parameters(parameters: &str) -> Vec<u8> {
    let parameters = hex(parameters);
    let mut body = hex("04 fde9 005a 0a000001");
    body.push(u8::try_from(parameters.len()).unwrap());
    body.extend_from_slice(&parameters);
    message(1, &body)
}

fn decode(octets: &[u8]) -> Result<Open, DecodeError> {
    match read(octets, &DecodeContext::default())? {
        Message::Open(open) => Ok(open),
        other => panic!("not an OPEN: {other:?}"),
    }
}

fn capabilities(octets: &[u8]) -> Vec<Capability> {
    decode(octets).unwrap().capabilities
}

fn refused(octets: &[u8]) -> String {
    fault(octets, &DecodeContext::default())
}

#[test]
fn the_shortest_open_has_29_octets() {
    let octets = open(vec![]).encode();
    assert_eq!(octets, hex("M 001d 01 04 fde9 005a 0a000001 00"));
    assert_eq!(decode(&octets), Ok(open(vec![])));
}

#[test]
fn all_capabilities_go_into_one_parameter() {
    let sent = open(vec![
        Capability::Multiprotocol(V4),
        Capability::Multiprotocol(V6),
        Capability::RouteRefresh,
        Capability::FourOctetAsn(asn(65001)),
    ]);
    let octets = sent.encode();
    assert_eq!(octets[29..31], [2, 20]);
    assert_eq!(octets[31..], hex("0104 0001 00 01 0104 0002 00 01 0200 4104 0000fde9"));
    assert_eq!(decode(&octets), Ok(sent));
}

#[test]
fn one_capability_a_parameter_and_repeated_ones_are_read() {
    let octets =
        with_parameters("0206 0104 0001 0001 0202 0200 0202 8000 0206 0104 0002 0001 0206 0104 0001 0001");
    let unknown = Capability::Unknown { code: 128, value: Bytes::new() };
    let both = [Capability::Multiprotocol(V4), Capability::Multiprotocol(V6)];
    assert_eq!(
        capabilities(&octets),
        [both[0].clone(), Capability::RouteRefresh, unknown, both[1].clone(), both[0].clone()]
    );
}

#[test]
fn the_checks_of_section_6_2_and_their_data() {
    for (body, expected) in [
        ("03 fde9 005a 0a000001 00", "2/1 0004"),
        ("05 0000 0001 00000000 00", "2/1 0004"),
        ("04 0000 005a 0a000001 00", "2/2 "),
        ("04 fde9 0001 0a000001 00", "2/6 "),
        ("04 fde9 0002 0a000001 00", "2/6 "),
        ("04 fde9 005a 00000000 00", "2/3 "),
    ] {
        assert_eq!(refused(&message(1, &hex(body))), expected, "{body}");
    }
    assert_eq!(decode(&message(1, &hex("04 fde9 0000 0a000001 00"))).unwrap().hold_time, HoldTime::ZERO);
    assert_eq!(decode(&message(1, &hex("04 fde9 0003 0a000001 00"))).unwrap().hold_time.seconds(), 3);
}

/// RFC 6286 §2.1 makes the identifier a number: multicast and broadcast values are nothing special.
#[test]
fn any_identifier_but_zero_is_good() {
    for id in ["e0000005", "ffffffff", "00000001", "7f000001"] {
        assert!(decode(&message(1, &hex(&format!("04 fde9 005a {id} 00")))).is_ok(), "{id}");
    }
}

#[test]
fn an_unknown_parameter_is_refused_and_an_unknown_capability_kept() {
    assert_eq!(refused(&with_parameters("0102 aabb")), "2/4 ");
    assert_eq!(refused(&with_parameters("0202 0200 ff00")), "2/4 ");
    let octets = with_parameters("0207 fb05 0102030405");
    let value = Bytes::from_static(&[1, 2, 3, 4, 5]);
    assert_eq!(capabilities(&octets), [Capability::Unknown { code: 251, value }]);
}

#[test]
fn lengths_that_lie_are_malformed() {
    for parameters in ["0203 0100", "02", "0201 41", "0204 4104 0000", "0202 0104", "0202 0200 02"] {
        assert_eq!(refused(&with_parameters(parameters)), "2/0 ", "{parameters}");
    }
    // Opt Parm Len against what is there.
    assert_eq!(refused(&message(1, &hex("04 fde9 005a 0a000001 05"))), "2/0 ");
    assert_eq!(refused(&message(1, &hex("04 fde9 005a 0a000001 00 0202 0200"))), "2/0 ");
}

/// CVE-2022-40302, CVE-2022-40318 and CVE-2022-43681: extended parameters that end too early.
#[test]
fn truncated_extended_parameters_are_malformed() {
    for octets in [
        "M 0022 01 04 dead 0005 c0a83901 ff ff 0002 0001",
        "M 001d 01 04 dead 00de adbeef6b ff",
        "M 001e 01 04 dead 00de adbeef6b ff ff",
        "M 001f 01 04 dead 00de adbeef6b ff ff 00",
        "M 0020 01 04 dead 00de adbeef6b ff ff 0001",
        "M 0022 01 04 dead 0005 c0a83901 ff ff 0002 0200",
    ] {
        assert_eq!(refused(&hex(octets)), "2/0 ", "{octets}");
    }
}

/// CVE-2022-36440 and CVE-2022-37032: Opt Parm Len greater than the message, a capability shorter than
/// its own fields.
#[test]
fn short_capabilities_are_kept_as_unknown_and_bound_their_reader() {
    assert_eq!(refused(&message(1, &hex("04 fde9 005a 0a000001 ff 0202 4100"))), "2/0 ");
    for value in ["4100", "0103 000100", "4001 40", "0900", "4906 04 6869 2e2e2e", "0100", "0601 00"] {
        let code = hex(value)[0];
        let length = hex(value).len();
        let found = capabilities(&with_parameters(&format!("02{:02x} {value} 0200", length + 2)));
        assert_eq!(found.len(), 2, "{value}");
        assert_eq!(found[0].code(), code, "{value}");
        assert!(matches!(found[0], Capability::Unknown { .. }), "{value}: {found:?}");
        assert_eq!(found[1], Capability::RouteRefresh, "{value}: the next capability is not read into");
    }
}

#[test]
fn a_bad_tuple_drops_only_itself() {
    // ADD-PATH with one octet too many.
    let found = capabilities(&with_parameters("020b 4509 0001 01 03 0002 01 02 00"));
    assert_eq!(found, [Capability::AddPath(vec![(V4, 3), (V6, 2)])]);
    // frr#8600: IOS XR lists SAFI 256 and families of its own for the extended next hop.
    let found = capabilities(&with_parameters("0214 0512 0001 0001 0002 0001 0100 0002 0001 0080 0002"));
    let expected = vec![(V4, 2), (AfiSafi { afi: 1, safi: 128 }, 2)];
    assert_eq!(found, [Capability::ExtendedNextHop(expected)]);
    // Graceful restart with a family that is not known and a tuple cut off.
    let found = capabilities(&with_parameters("020e 400c c078 0001 01 80 4004 47 00 0001"));
    let families = vec![(V4, true), (AfiSafi { afi: 0x4004, safi: 0x47 }, false)];
    let restart = GracefulRestart { restarted: true, notification: true, restart_time: 120, families };
    assert_eq!(found, [Capability::GracefulRestart(restart)]);
}

/// RFC 7911 §4.
#[test]
fn add_path_with_another_value_is_not_understood_as_a_whole() {
    for mode in ["00", "04", "ff"] {
        let found = capabilities(&with_parameters(&format!("020a 4508 0001 01 03 0002 01 {mode}")));
        assert!(matches!(found.as_slice(), [Capability::Unknown { code: 69, .. }]), "{mode}: {found:?}");
    }
}

#[test]
fn the_four_octet_number_is_held_against_the_field() {
    let with = |field: &str, number: &str| {
        message(1, &hex(&format!("04 {field} 005a 0a000001 08 0206 4104 {number}")))
    };
    assert_eq!(decode(&with("5ba0", "fa56ea00")).unwrap().asn, asn(4_200_000_000));
    assert_eq!(decode(&with("5ba0", "0000fde9")).unwrap().asn, asn(65001));
    assert_eq!(decode(&with("fde9", "0000fde9")).unwrap().asn, asn(65001));
    assert_eq!(refused(&with("fde9", "0000fdea")), "2/2 ");
    assert_eq!(refused(&with("fde9", "00000000")), "2/2 ");
    assert_eq!(refused(&with("5ba0", "00000000")), "2/2 ");
    assert_eq!(refused(&with("0000", "0000fde9")), "2/2 ");
    assert_eq!(refused(&with("5ba0", "00005ba0")), "2/2 ");
    let big = Open { asn: asn(4_200_000_000), ..open(vec![Capability::FourOctetAsn(asn(4_200_000_000))]) };
    assert_eq!(big.encode()[20..22], AS_TRANS.to_be_bytes());
    assert_eq!(decode(&big.encode()), Ok(big));
}

fn many(octets: usize) -> Open {
    let value = Bytes::from(vec![7; octets - 2]);
    open(vec![Capability::Unknown { code: 200, value }])
}

/// RFC 9072: the extended form only where the length needs it.
#[test]
fn extended_parameters_are_sent_when_needed() {
    let at_limit = many(253).encode();
    assert_eq!(at_limit[28..31], [255, 2, 253]);
    assert_eq!(decode(&at_limit), Ok(many(253)));
    let over = many(254).encode();
    assert_eq!(over[28..35], [255, 255, 1, 1, 2, 0, 254]);
    assert_eq!(decode(&over), Ok(many(254)));
}

#[test]
fn length_255_with_another_first_type_is_the_old_form_and_type_255_alone_the_new() {
    assert_eq!(decode(&many(253).encode()), Ok(many(253)));
    // "MUST be ignored on receipt": any length but 0 in front of type 255.
    let mut octets = many(254).encode().to_vec();
    octets[28] = 9;
    assert_eq!(decode(&octets), Ok(many(254)));
    octets[28] = 0;
    assert_eq!(refused(&octets), "2/0 ");
    // Several parameters in the extended form.
    let octets = message(1, &hex("04 fde9 005a 0a000001 ff ff 000a 02 0002 0200 02 0002 4600"));
    assert_eq!(capabilities(&octets), [Capability::RouteRefresh, Capability::EnhancedRouteRefresh]);
    let octets = message(1, &hex("04 fde9 005a 0a000001 ff ff 0003 07 0000"));
    assert_eq!(refused(&octets), "2/4 ");
}

#[test]
fn an_open_stays_below_4096_octets() {
    let one = Capability::Unknown { code: 200, value: Bytes::from(vec![7; 255]) };
    let octets = open(vec![one; 40]).encode();
    assert!(octets.len() <= 4096);
    assert_eq!(capabilities(&octets).len(), 15);
}

#[test]
fn lists_and_names_that_are_too_long_for_one_capability() {
    let tuples: Vec<_> = (0..100).map(|safi| (AfiSafi { afi: 1, safi }, 1)).collect();
    let found = capabilities(&open(vec![Capability::AddPath(tuples.clone())]).encode());
    let joined: Vec<_> = found
        .iter()
        .flat_map(|capability| match capability {
            Capability::AddPath(tuples) => tuples.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((found.len(), joined), (2, tuples));
    let long = Capability::Fqdn { host: "ö".repeat(200), domain: "d".repeat(200) };
    let found = capabilities(&open(vec![long]).encode());
    assert_eq!(found, [Capability::Fqdn { host: "ö".repeat(126), domain: "d".into() }]);
}

fn any_family() -> impl Strategy<Value = AfiSafi> {
    (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| AfiSafi { afi, safi })
}

pub(crate) fn any_capability() -> impl Strategy<Value = Capability> {
    let list = |max| proptest::collection::vec((any_family(), any::<u8>(), any::<u16>()), 0..max);
    let restart = (any::<bool>(), any::<bool>(), 0..4096u16, list(60));
    prop_oneof![
        any_family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        any::<u8>().prop_map(Capability::Role),
        list(40).prop_map(|l| Capability::ExtendedNextHop(l.iter().map(|(f, _, n)| (*f, *n)).collect())),
        list(60).prop_map(|l| Capability::AddPath(l.iter().map(|(f, m, _)| (*f, m % 3 + 1)).collect())),
        list(30).prop_map(|l| {
            let tuples = l.iter().map(|(f, flags, t)| (*f, *flags, u32::from(*t) << 8)).collect();
            Capability::LongLivedGracefulRestart(tuples)
        }),
        restart.prop_map(|(restarted, notification, restart_time, l)| {
            let families = l.iter().map(|(f, kept, _)| (*f, kept % 2 == 0)).collect();
            Capability::GracefulRestart(GracefulRestart { restarted, notification, restart_time, families })
        }),
        (".{0,20}", ".{0,20}").prop_map(|(host, domain)| Capability::Fqdn { host, domain }),
        (128..=255u8, proptest::collection::vec(any::<u8>(), 0..256))
            .prop_map(|(code, value)| Capability::Unknown { code, value: value.into() }),
    ]
}

proptest! {
    #[test]
    fn every_open_reads_back(
        number in 1..=u32::MAX, hold in 3..=u16::MAX, id in 1..=u32::MAX,
        mut capabilities in proptest::collection::vec(any_capability(), 0..12),
    ) {
        prop_assume!(number != u32::from(AS_TRANS));
        capabilities.push(Capability::FourOctetAsn(asn(number)));
        let sent = Open {
            asn: asn(number),
            hold_time: HoldTime::new(hold).unwrap(),
            router_id: RouterId::new(Ipv4Addr::from_bits(id)).unwrap(),
            capabilities,
        };
        prop_assert_eq!(decode(&sent.encode()), Ok(sent));
    }
}
