use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn session(local: &str, remote: &str) -> NextHopInputs {
    NextHopInputs {
        configured_ipv4: None,
        configured_ipv6: None,
        local: ip(local),
        remote: ip(remote),
        egress_ipv4: Vec::new(),
        egress_ipv6: Vec::new(),
        extended_next_hop: false,
        unnumbered: false,
    }
}

fn v4(text: &str) -> Result<NextHop, NoNextHop> {
    Ok(NextHop::V4(text.parse().unwrap()))
}

fn v6(text: &str, link_local: Option<&str>) -> Result<NextHop, NoNextHop> {
    Ok(NextHop::V6 {
        address: text.parse().unwrap(),
        link_local: link_local.map(|text| text.parse().unwrap()),
    })
}

fn ipv4_of(inputs: &NextHopInputs) -> Result<NextHop, NoNextHop> {
    next_hop(Family::Ipv4Unicast, inputs)
}

fn ipv6_of(inputs: &NextHopInputs) -> Result<NextHop, NoNextHop> {
    next_hop(Family::Ipv6Unicast, inputs)
}

#[test]
fn the_sessions_own_address_serves_its_family() {
    assert_eq!(ipv4_of(&session("10.0.0.1", "10.0.0.2")), v4("10.0.0.1"));
    assert_eq!(ipv6_of(&session("2001:db8::1", "2001:db8::2")), v6("2001:db8::1", None));
}

#[test]
fn the_other_family_comes_from_the_egress_interface() {
    let mut inputs = session("10.0.0.1", "10.0.0.2");
    assert_eq!(ipv6_of(&inputs), Err(NoNextHop::Ipv6));
    inputs.egress_ipv6 = ["::1", "fe80::9", "ff02::1", "::ffff:10.0.0.1", "2001:db8::7"]
        .map(|text| text.parse().unwrap())
        .into();
    assert_eq!(ipv6_of(&inputs), v6("2001:db8::7", None));

    let mut inputs = session("2001:db8::1", "2001:db8::2");
    assert_eq!(ipv4_of(&inputs), Err(NoNextHop::Ipv4));
    inputs.egress_ipv4 = ["127.0.0.1", "169.254.1.1", "192.0.2.7"].map(|text| text.parse().unwrap()).into();
    assert_eq!(ipv4_of(&inputs), v4("192.0.2.7"));
}

#[test]
fn ipv4_over_ipv6_needs_rfc_8950() {
    let mut inputs = session("2001:db8::1", "2001:db8::2");
    inputs.extended_next_hop = true;
    assert_eq!(ipv4_of(&inputs), v6("2001:db8::1", None));
    inputs.egress_ipv4 = vec!["192.0.2.7".parse().unwrap()];
    assert_eq!(ipv4_of(&inputs), v4("192.0.2.7"), "an IPv4 address goes first");
    // Nothing to offer in either family: the reason names the family that is held.
    let mut inputs = session("0.0.0.0", "10.0.0.2");
    inputs.extended_next_hop = true;
    assert_eq!(ipv4_of(&inputs), Err(NoNextHop::Ipv4));
}

#[test]
fn an_unnumbered_peer_gets_both_addresses_or_the_link_local_one_alone() {
    let mut inputs = session("fe80::1", "fe80::2");
    inputs.extended_next_hop = true;
    assert_eq!(ipv6_of(&inputs), v6("fe80::1", None));
    assert_eq!(ipv4_of(&inputs), v6("fe80::1", None));
    inputs.egress_ipv6 = vec!["2001:db8::7".parse().unwrap()];
    assert_eq!(ipv6_of(&inputs), v6("2001:db8::7", Some("fe80::1")));
    assert_eq!(ipv4_of(&inputs), v6("2001:db8::7", Some("fe80::1")));
}

#[test]
fn a_global_session_is_told_the_global_address_alone() {
    let mut inputs = session("2001:db8::1", "2001:db8::2");
    inputs.egress_ipv6 = ["fe80::1", "2001:db8::1"].map(|text| text.parse().unwrap()).into();
    assert_eq!(ipv6_of(&inputs), v6("2001:db8::1", None));
}

#[test]
fn a_configured_next_hop_wins() {
    let mut inputs = session("10.0.0.1", "10.0.0.2");
    inputs.egress_ipv6 = vec!["2001:db8::7".parse().unwrap()];
    inputs.configured_ipv4 = Some("192.0.2.1".parse().unwrap());
    inputs.configured_ipv6 = Some("2001:db8::99".parse().unwrap());
    assert_eq!(ipv4_of(&inputs), v4("192.0.2.1"));
    assert_eq!(ipv6_of(&inputs), v6("2001:db8::99", None));
}

#[test]
fn no_ipv4_mapped_address_ever() {
    // A dual-stack socket shows IPv4 peers so.
    let inputs = session("::ffff:10.0.0.1", "::ffff:10.0.0.2");
    assert_eq!(ipv4_of(&inputs), v4("10.0.0.1"));
    assert_eq!(ipv6_of(&inputs), Err(NoNextHop::Ipv6));
    let mut inputs = session("2001:db8::1", "2001:db8::2");
    for unusable in ["::ffff:10.0.0.1", "::", "ff02::1"] {
        let address = unusable.parse().unwrap();
        inputs.configured_ipv6 = Some(address);
        assert_eq!(ipv6_of(&inputs), Err(NoNextHop::Unusable(address)));
    }
}

#[test]
fn the_peers_own_address_is_refused_except_on_one_host() {
    let mut inputs = session("10.0.0.1", "10.0.0.2");
    inputs.configured_ipv4 = Some("10.0.0.2".parse().unwrap());
    assert_eq!(ipv4_of(&inputs), Err(NoNextHop::Peer(ip("10.0.0.2"))));
    let inputs = session("127.0.0.1", "127.0.0.1");
    assert_eq!(ipv4_of(&inputs), v4("127.0.0.1"));
    assert!(is_loopback(&ipv4_of(&inputs).unwrap()));
    assert!(is_loopback(&ipv6_of(&session("::1", "::1")).unwrap()));
    assert!(!is_loopback(&v6("2001:db8::1", None).unwrap()));
}

#[test]
fn an_address_that_an_unnumbered_interface_borrows_is_no_next_hop() {
    let mut inputs = session("fe80::1", "fe80::2");
    inputs.egress_ipv4 = vec!["192.0.2.7".parse().unwrap()];
    inputs.extended_next_hop = true;
    assert_eq!(ipv4_of(&inputs), v4("192.0.2.7"), "of a link with a subnet it is");
    inputs.unnumbered = true;
    assert_eq!(ipv4_of(&inputs), v6("fe80::1", None));
    inputs.configured_ipv4 = Some("192.0.2.9".parse().unwrap());
    assert_eq!(ipv4_of(&inputs), v4("192.0.2.9"), "what is configured comes first");
    inputs.configured_ipv4 = None;
    // Without RFC 8950 there is nothing better.
    inputs.extended_next_hop = false;
    assert_eq!(ipv4_of(&inputs), v4("192.0.2.7"));
}
