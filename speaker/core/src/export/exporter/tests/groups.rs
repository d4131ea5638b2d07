//! Who shares a table, and what moving from one to another says.

use super::*;

#[test]
fn peers_with_one_outcome_share_one_table_and_its_bytes() {
    let mut world = World::new();
    world.set("203.0.113.0/24", vec![to_peers(pool("a", med(1)), &["a", "b"])]);
    let a = world.table("a", external("a"), V4);
    let b = world.table("b", external("b"), V4);
    assert!(Arc::ptr_eq(&a, &b));
    let (mut first, mut second) = (a.attach(), b.attach());
    assert!(Arc::ptr_eq(&first.next_span().unwrap(), &second.next_span().unwrap()));
    // Another audience, AS, next hop or encoding is another table.
    let c = world.table("c", external("c"), V4);
    assert!(!Arc::ptr_eq(&a, &c));
    for change in [
        |peer: &mut PeerOut| peer.peer_asn = asn(64501),
        |peer: &mut PeerOut| peer.next_hops.ipv4 = Ok(NextHop::V4("10.9.9.9".parse().unwrap())),
        |peer: &mut PeerOut| peer.encode.max_message = 65535,
        |peer: &mut PeerOut| peer.encode.asn4 = false,
        |peer: &mut PeerOut| peer.export = Some(Vec::new()),
        |peer: &mut PeerOut| peer.max_advertised.ipv4 = Some(10),
        |peer: &mut PeerOut| peer.selected_as = "c".to_owned(),
    ] {
        let mut out = external("b");
        change(&mut out);
        let other = world.table("b", out, V4);
        assert!(!Arc::ptr_eq(&a, &other));
    }
    // What concerns the other family does not part them; nor does the order of the rules.
    let mut out = external("b");
    out.max_advertised.ipv6 = Some(3);
    out.next_hops.ipv6 = Err(NoNextHop::Ipv6);
    assert!(Arc::ptr_eq(&a, &world.table("b", out, V4)));
}

#[test]
fn an_advertisement_for_one_peer_of_a_group_parts_them() {
    let mut world = World::new();
    world.set("203.0.113.0/24", plain("a"));
    let mut a = world.up("a", external("a"));
    let mut b = world.up("b", external("b"));
    assert!(Arc::ptr_eq(a.cursor.table(), b.cursor.table()));
    a.read().forget();
    b.read().forget();

    let changes = world.set("192.0.2.0/24", vec![to_peers(pool("only-a", med(1)), &["a"])]);
    assert_eq!((changes.pending, changes.moved), (names(&["a"]), names(&["a"])));
    a.cursor.migrate(world.exporter.tables("a").ipv4.as_ref().unwrap());
    b.cursor.migrate(world.exporter.tables("b").ipv4.as_ref().unwrap());
    assert_eq!(a.read().announced(), ["192.0.2.0/24"], "and nothing that it was told before");
    assert!(!b.read_one());
    assert_eq!(world.held("b", "192.0.2.0/24"), Some(Held::NotSelected));
    assert_eq!(world.held("a", "192.0.2.0/24"), None);
    assert_eq!(world.held("down", "192.0.2.0/24"), Some(Held::NotSelected), "a session would not change it");
    assert_eq!(world.held("down", "203.0.113.0/24"), Some(Held::NotEstablished));

    // The group that stays must not be judged by the name of the one that left.
    world.set("198.51.100.0/24", vec![to_peers(pool("only-a", med(1)), &["a"])]);
    assert_eq!((a.forget().read().announced().len(), b.read_one()), (1, false));
    assert_eq!(a.told, wanted(a.cursor.table()));
}

#[test]
fn a_change_of_policy_sends_only_what_it_changes() {
    let mut world = World::new();
    world.change([
        ("203.0.113.0/24", plain("a")),
        ("192.0.2.0/24", plain("b")),
        ("198.51.100.0/24", plain("c")),
    ]);
    let mut peer = world.up("tor", external("tor"));
    peer.read().forget();
    let rule = |text| ExportRule { prefix: prefix(text), le: 32 };
    let mut out = external("tor");
    out.export = Some(vec![rule("203.0.113.0/24"), rule("198.51.100.0/24")]);
    peer.cursor.migrate(&world.table("tor", out.clone(), V4));
    peer.read();
    assert_eq!((peer.announced(), peer.withdrawn()), (vec![], vec!["192.0.2.0/24".to_owned()]));
    assert_eq!(world.held("tor", "192.0.2.0/24"), Some(Held::Export));

    out.export = Some(vec![rule("203.0.113.0/24"), rule("192.0.2.0/24")]);
    peer.cursor.migrate(&world.table("tor", out.clone(), V4));
    peer.forget().read();
    assert_eq!(
        peer.heard,
        [Heard::Announced(prefix("192.0.2.0/24")), Heard::Withdrawn(prefix("198.51.100.0/24"))]
    );

    out.next_hops.ipv4 = Ok(NextHop::V4("10.0.0.99".parse().unwrap()));
    peer.cursor.migrate(&world.table("tor", out, V4));
    peer.forget().read();
    assert_eq!((peer.announced().len(), peer.withdrawn().len()), (2, 0), "a new next hop concerns all");
    assert_eq!((peer.told.clone(), peer.ends_of_rib), (wanted(peer.cursor.table()), 1));
    assert_eq!(world.exporter.groups().count(), 2, "one a family; the left ones are gone");
}

#[test]
fn moving_there_and_back_before_anything_was_said_says_nothing() {
    let mut world = World::new();
    world.set("203.0.113.0/24", plain("a"));
    let mut peer = world.up("tor", external("tor"));
    let home = Arc::clone(peer.cursor.table());
    peer.read().forget();
    let away = world.table("tor", PeerOut { export: Some(Vec::new()), ..external("tor") }, V4);
    peer.cursor.migrate(&away);
    peer.cursor.migrate(&home);
    assert!(!peer.read_one());
    peer.cursor.migrate(&away);
    assert_eq!(peer.read().withdrawn(), ["203.0.113.0/24"]);
}

#[test]
fn the_peers_that_move_alike_share_the_differences() {
    let mut world = World::new();
    world.change([("203.0.113.0/24", plain("a")), ("192.0.2.0/24", plain("b"))]);
    let mut cursors: Vec<Cursor> =
        ["a", "b"].map(|name| world.table(name, external(name), V4).attach()).into();
    for cursor in &mut cursors {
        while cursor.next_span().is_some() {}
    }
    let spans: Vec<_> = ["a", "b"]
        .iter()
        .zip(&mut cursors)
        .map(|(name, cursor)| {
            let out = PeerOut { export: Some(Vec::new()), ..external(name) };
            cursor.migrate(&world.table(name, out, V4));
            cursor.next_span().unwrap()
        })
        .collect();
    assert!(Arc::ptr_eq(&spans[0], &spans[1]));
    assert_eq!(spans[0].withdrawn, 2);
}

#[test]
fn a_group_goes_with_its_last_peer() {
    let mut world = World::new();
    world.set("203.0.113.0/24", plain("a"));
    let mut peer = world.up("tor", external("tor"));
    let _other = world.up("other", external("other"));
    world.exporter.peer_down("tor");
    assert_eq!(world.exporter.groups().count(), 2);
    world.exporter.peer_down("other");
    assert_eq!(world.exporter.groups().count(), 0);
    world.exporter.peer_down("other");
    assert_eq!(peer.read().announced(), ["203.0.113.0/24"], "a task that has not heard yet reads on");
}
