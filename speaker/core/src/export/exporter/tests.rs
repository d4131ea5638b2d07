use super::super::testing::{
    Heard, Reader, asn, external, med, pool, prefix, prefixes, service, set, to_peers, wanted,
};
use super::super::{Cursor, NoNextHop};
use super::*;
use crate::rib::Contribution;
use speaker_config::model::RouteAttributes;

mod groups;
mod history;

const V4: Family = Family::Ipv4Unicast;
const V6: Family = Family::Ipv6Unicast;

/// An exporter that is complete, over a Loc-RIB.
struct World {
    exporter: Exporter,
    rib: LocRib,
}

impl World {
    fn new() -> Self {
        let mut exporter = Exporter::new();
        exporter.set_complete();
        Self { exporter, rib: LocRib::default() }
    }

    fn set(&mut self, text: &str, contributions: Vec<Contribution>) -> Changes {
        self.change([(text, contributions)])
    }

    /// One change as a whole; no contributions take the route out.
    fn change<const N: usize>(&mut self, routes: [(&str, Vec<Contribution>); N]) -> Changes {
        let mut changed = BTreeSet::new();
        for (text, contributions) in routes {
            changed.insert(prefix(text));
            if contributions.is_empty() {
                self.rib.routes.remove(&prefix(text));
            } else {
                set(&mut self.rib, text, contributions);
            }
        }
        self.exporter.apply(&changed, &self.rib)
    }

    fn up(&mut self, name: &str, out: PeerOut) -> Reader {
        Reader::new(&self.table(name, out, V4))
    }

    fn table(&mut self, name: &str, out: PeerOut, family: Family) -> Arc<Table> {
        self.exporter.peer_up(name, out, &self.rib).get(family).clone().unwrap()
    }

    fn held(&self, name: &str, text: &str) -> Option<Held> {
        self.exporter.verdict(name, prefix(text), &self.rib.routes[&prefix(text)]).err()
    }
}

fn plain(name: &str) -> Vec<Contribution> {
    vec![pool(name, RouteAttributes::default())]
}

fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

#[test]
fn a_peer_is_told_the_table_then_end_of_rib_then_changes() {
    let mut world = World::new();
    world.set("203.0.113.0/24", plain("a"));
    let mut peer = world.up("tor", external("tor"));
    assert!(!peer.cursor.is_synced());
    assert!(peer.read_one());
    assert_eq!((peer.announced(), peer.ends_of_rib), (vec!["203.0.113.0/24".to_owned()], 0));
    peer.read();
    assert_eq!(peer.ends_of_rib, 1);
    assert!(peer.cursor.is_synced());

    let changes = world.set("198.51.100.0/24", plain("b"));
    assert_eq!((changes.pending, changes.moved), (names(&["tor"]), names(&[])));
    assert!(!peer.cursor.is_synced());
    assert_eq!(peer.forget().read().announced(), ["198.51.100.0/24"]);
    world.set("203.0.113.0/24", vec![]);
    assert_eq!(peer.forget().read().withdrawn(), ["203.0.113.0/24"]);
    assert_eq!(peer.ends_of_rib, 1, "once a session");
    assert_eq!(peer.told, wanted(peer.cursor.table()));
}

#[test]
fn nothing_is_said_before_all_is_known() {
    let mut exporter = Exporter::new();
    let mut rib = LocRib::default();
    set(&mut rib, "203.0.113.0/24", plain("a"));
    let changes = exporter.apply(&prefixes(["203.0.113.0/24"]), &rib);
    assert_eq!(changes, Changes::default());
    let tables = exporter.peer_up("tor", external("tor"), &rib);
    let mut peer = Reader::new(tables.ipv4.as_ref().unwrap());
    peer.read();
    assert_eq!((peer.messages, peer.cursor.is_synced()), (0, false));
    assert_eq!(
        exporter.verdict("tor", prefix("203.0.113.0/24"), &rib.routes[&prefix("203.0.113.0/24")]),
        Err(Held::Incomplete)
    );
    assert!(exporter.advertised("tor", &rib, |_| true).is_empty());
    rib.routes.clear();
    assert_eq!(exporter.apply(&prefixes(["203.0.113.0/24"]), &rib).pending, names(&[]));
    set(&mut rib, "192.0.2.0/24", plain("b"));
    exporter.apply(&prefixes(["192.0.2.0/24"]), &rib);
    assert_eq!(exporter.set_complete().pending, names(&["tor"]));
    peer.read();
    assert_eq!((peer.announced(), peer.withdrawn()), (vec!["192.0.2.0/24".to_owned()], vec![]));
    assert_eq!(peer.ends_of_rib, 1);
}

#[test]
fn an_empty_table_has_an_end_of_rib_too() {
    let mut world = World::new();
    let tables = world.exporter.peer_up("tor", external("tor"), &world.rib);
    for (family, table) in tables.iter() {
        let mut peer = Reader::new(table.as_ref().unwrap());
        peer.read();
        assert_eq!((peer.messages, peer.ends_of_rib), (1, 1), "{family}");
    }
}

#[test]
fn end_of_rib_comes_behind_routes_that_came_meanwhile() {
    let mut world = World::new();
    world.set("203.0.113.0/24", plain("a"));
    let mut peer = world.up("tor", external("tor"));
    assert!(peer.read_one());
    world.set("192.0.2.0/24", plain("b"));
    assert!(peer.read_one());
    assert_eq!((peer.announced().len(), peer.ends_of_rib), (2, 0));
    peer.read();
    assert_eq!(peer.ends_of_rib, 1);
}

#[test]
fn a_refresh_announces_the_table_again_and_no_end_of_rib() {
    let mut world = World::new();
    world.change([("203.0.113.0/24", plain("a")), ("192.0.2.0/24", plain("b"))]);
    let mut peer = world.up("tor", external("tor"));
    peer.read().forget().cursor.rewind();
    assert!(!peer.cursor.is_synced());
    peer.read();
    assert_eq!(peer.announced(), ["192.0.2.0/24", "203.0.113.0/24"]);
    assert_eq!((peer.withdrawn().len(), peer.ends_of_rib), (0, 1));
    assert!(peer.cursor.is_synced());
}

#[test]
fn a_refresh_does_not_lose_a_withdrawal_that_is_due() {
    let mut world = World::new();
    world.change([("203.0.113.0/24", plain("a")), ("192.0.2.0/24", plain("b"))]);
    let mut peer = world.up("tor", external("tor"));
    peer.read().forget();
    world.set("203.0.113.0/24", vec![]);
    peer.cursor.rewind();
    peer.read();
    assert_eq!(
        (peer.announced(), peer.withdrawn()),
        (vec!["192.0.2.0/24".into()], vec!["203.0.113.0/24".into()])
    );
    // A refresh before the first span asks for nothing more.
    let mut late = world.up("late", external("late"));
    late.cursor.rewind();
    late.read();
    assert_eq!((late.announced().len(), late.withdrawn().len(), late.ends_of_rib), (1, 0, 1));
}

#[test]
fn a_withdrawal_that_nobody_needs_is_not_sent() {
    let mut world = World::new();
    let mut peer = world.up("tor", external("tor"));
    peer.read().forget();
    world.set("203.0.113.0/24", plain("a"));
    world.set("203.0.113.0/24", vec![]);
    assert!(!peer.read_one(), "it never heard of the prefix");
    assert!(peer.cursor.is_synced());
    assert_eq!(peer.cursor.table().tombstones(), 0);
}

#[test]
fn the_same_attributes_again_are_no_change() {
    let mut world = World::new();
    world.set("203.0.113.0/24", plain("a"));
    let _peer = world.up("tor", external("tor"));
    let changes = world.set("203.0.113.0/24", plain("another pool"));
    assert_eq!(changes, Changes::default());
    assert_eq!(world.set("203.0.113.0/24", vec![pool("a", med(5))]).pending, names(&["tor"]));
}

#[test]
fn announcements_go_before_the_withdrawals_that_they_replace() {
    let mut world = World::new();
    world.set("203.0.113.0/25", plain("a"));
    let mut peer = world.up("tor", external("tor"));
    peer.read().forget();
    world.change([("203.0.113.0/25", vec![]), ("203.0.113.0/24", plain("a"))]);
    peer.read();
    let (wide, narrow) = (prefix("203.0.113.0/24"), prefix("203.0.113.0/25"));
    assert_eq!(peer.heard, [Heard::Announced(wide), Heard::Withdrawn(narrow)]);
    peer.forget();
    world.change([("203.0.113.0/24", vec![]), ("203.0.113.0/25", plain("a"))]);
    peer.read();
    assert_eq!(peer.heard, [Heard::Announced(narrow), Heard::Withdrawn(wide)]);
}

#[test]
fn a_family_without_a_next_hop_is_held_with_the_reason() {
    let mut world = World::new();
    world.set("2001:db8::/48", plain("a"));
    let mut out = external("tor");
    out.next_hops.ipv6 = Err(NoNextHop::Ipv6);
    let mut peer = Reader::new(&world.table("tor", out.clone(), V6));
    peer.read();
    assert_eq!((peer.announced().len(), peer.ends_of_rib), (0, 1));
    assert_eq!(world.held("tor", "2001:db8::/48"), Some(Held::NextHop(NoNextHop::Ipv6)));
    // The address comes later.
    out.next_hops = external("tor").next_hops;
    peer.cursor.migrate(&world.table("tor", out.clone(), V6));
    assert_eq!(peer.read().announced(), ["2001:db8::/48"]);
    out.families = FamilySet::from_iter([V4]);
    assert!(world.exporter.peer_up("tor", out, &world.rib).ipv6.is_none());
    assert_eq!(world.held("tor", "2001:db8::/48"), Some(Held::Family(V6)));
}

#[test]
fn the_limit_holds_the_youngest_services_and_lets_them_in_again() {
    let mut world = World::new();
    world.change([
        ("192.0.2.1/32", vec![service("old", 10)]),
        ("192.0.2.2/32", vec![service("young", 30)]),
        ("192.0.2.3/32", vec![service("middle", 20)]),
    ]);
    let mut out = external("tor");
    out.max_advertised.ipv4 = Some(2);
    let mut peer = world.up("tor", out);
    peer.read();
    assert_eq!(peer.announced(), ["192.0.2.1/32", "192.0.2.3/32"]);
    assert_eq!(world.held("tor", "192.0.2.2/32"), Some(Held::Limit { limit: 2 }));

    // A pool prefix takes the place of the youngest, whose withdrawal goes first: the peer's own maximum
    // may be the same number.
    world.set("203.0.113.0/24", plain("a"));
    peer.forget().read();
    assert_eq!(
        peer.heard,
        [Heard::Withdrawn(prefix("192.0.2.3/32")), Heard::Announced(prefix("203.0.113.0/24"))]
    );
    world.set("192.0.2.1/32", vec![]);
    peer.forget().read();
    assert_eq!(
        peer.heard,
        [Heard::Withdrawn(prefix("192.0.2.1/32")), Heard::Announced(prefix("192.0.2.3/32"))]
    );
    // Replacing is no pushing out: the covering prefix goes first at the limit, too.
    world.change([("203.0.113.0/24", vec![]), ("203.0.112.0/23", plain("a"))]);
    peer.forget().read();
    assert_eq!(
        peer.heard,
        [Heard::Announced(prefix("203.0.112.0/23")), Heard::Withdrawn(prefix("203.0.113.0/24"))]
    );
    assert_eq!(peer.told, wanted(peer.cursor.table()));
}

#[test]
fn attributes_that_fill_a_message_are_held_and_the_older_ones_withdrawn() {
    let mut world = World::new();
    world.change([("203.0.113.0/24", plain("a")), ("192.0.2.0/24", plain("b"))]);
    let mut peer = world.up("tor", external("tor"));
    peer.read().forget();
    let many = (0..1100).map(|low| bgp_proto::types::Community::new(64501, low)).collect();
    let many = RouteAttributes { communities: many, ..RouteAttributes::default() };
    world.set("203.0.113.0/24", vec![pool("a", many.clone())]);
    assert_eq!(peer.read().withdrawn(), ["203.0.113.0/24"]);
    assert!(matches!(world.held("tor", "203.0.113.0/24"), Some(Held::TooLong(_))));
    // A peer that takes long messages is told.
    let mut long = external("long");
    long.encode.max_message = 65535;
    let mut long = world.up("long", long);
    assert_eq!(long.read().announced(), ["192.0.2.0/24", "203.0.113.0/24"]);
}

#[test]
fn a_lagging_peer_holds_no_more_tombstones_than_it_was_told_routes() {
    let mut world = World::new();
    for last in 0..10 {
        world.set(&format!("192.0.2.{last}/32"), vec![service("s", 1)]);
    }
    let mut slow = world.up("slow", external("slow"));
    let mut fast = world.up("fast", external("fast"));
    slow.read();
    for round in 0..511 {
        let text = format!("198.51.{}.{}/32", round / 250, round % 250);
        world.set(&text, vec![service("s", 1)]);
        fast.read();
        world.set(&text, vec![]);
        world.set(&format!("192.0.2.{}/32", round % 10), if round % 20 < 10 { vec![] } else { plain("p") });
        fast.read();
        let tombstones = slow.cursor.table().tombstones();
        assert!(tombstones <= 10, "{tombstones} after {round}");
    }
    slow.read();
    assert_eq!(slow.told, wanted(slow.cursor.table()));
    assert_eq!(fast.told, slow.told);
    assert_eq!(slow.cursor.table().tombstones(), 0);
}

#[test]
fn two_hundred_thousand_routes_with_a_hundred_attribute_sets_take_210_messages() {
    let mut rib = LocRib::default();
    let sets: Vec<Arc<RouteAttributes>> = (0..100)
        .map(|low| {
            let community = bgp_proto::types::Community::new(64501, low);
            Arc::new(RouteAttributes { communities: vec![community], ..med(u32::from(low)) })
        })
        .collect();
    for index in 0..200_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + (index << 8));
        let mut contribution = pool("many", RouteAttributes::default());
        contribution.attributes = Arc::clone(&sets[index as usize % 100]);
        let route = Route { contributions: vec![contribution].into(), since: 0 };
        rib.routes.insert(Prefix::new(address.into(), 24).unwrap(), route);
    }
    let mut exporter = Exporter::new();
    exporter.set_complete();
    let table = exporter.peer_up("tor", external("tor"), &rib).ipv4.unwrap();
    let mut cursor = table.attach();
    let span = cursor.next_span().unwrap();
    assert_eq!((span.announced, span.withdrawn), (200_000, 0));
    assert!(span.messages <= 210, "{} messages", span.messages);
    assert!(span.bytes.iter().all(|chunk| chunk.len() < 64 * 1024 + 4096));
    assert!(cursor.next_span().unwrap().end_of_rib);
    assert!(cursor.is_synced());
}

#[test]
fn peers_read_while_the_hub_writes() {
    let mut world = World::new();
    let names = ["a", "b", "c"];
    let tables = names.map(|name| world.table(name, external(name), V4));
    let last = |table: &Arc<Table>| table.contains(prefix("203.0.113.255/32"));
    std::thread::scope(|scope| {
        for table in &tables {
            scope.spawn(move || {
                let mut peer = Reader::new(table);
                while !last(table) || !peer.cursor.is_synced() {
                    if !peer.read_one() {
                        std::thread::yield_now();
                    }
                }
                assert_eq!(peer.told, wanted(table));
            });
        }
        for round in 0..2_000 {
            let text = format!("192.0.2.{}/32", round * 7 % 64);
            let there = world.rib.routes.contains_key(&prefix(&text));
            world.set(&text, if there { vec![] } else { vec![service("s", round)] });
        }
        world.set("203.0.113.255/32", vec![service("s", 1)]);
    });
    assert_eq!(tables[0].tombstones(), 0);
}

#[test]
fn a_drain_changes_every_table_and_its_end_brings_all_back() {
    let mut world = World::new();
    world.set("203.0.113.0/24", plain("a"));
    let mut limited = external("limited");
    limited.max_advertised.ipv4 = Some(1);
    world.up("tor", external("tor"));
    world.up("limited", limited);
    let told = |world: &World, name: &str| {
        let route = &world.rib.routes[&prefix("203.0.113.0/24")];
        world.exporter.verdict(name, prefix("203.0.113.0/24"), route)
    };
    let before = told(&world, "tor").unwrap();
    let changes = world.exporter.set_drain(Drain::Announcing, &world.rib);
    assert_eq!((changes.moved, changes.pending), (names(&["limited", "tor"]), names(&["limited", "tor"])));
    for name in ["tor", "limited"] {
        let going = told(&world, name).unwrap();
        assert_eq!(going.communities, [bgp_proto::types::Community::GRACEFUL_SHUTDOWN], "{name}");
    }
    assert_eq!(world.exporter.set_drain(Drain::Announcing, &world.rib), Changes::default(), "no change");

    world.exporter.set_drain(Drain::Withdrawn, &world.rib);
    let tables = world.exporter.tables("tor");
    assert_eq!(tables.ipv4.as_ref().unwrap().len(), 0);
    assert_eq!((told(&world, "tor"), told(&world, "limited")), (Err(Held::Drained), Err(Held::Drained)));
    // What comes meanwhile does not leave, nor does a peer that comes get it.
    world.set("198.51.100.0/24", plain("b"));
    assert_eq!(world.table("late", external("late"), V4).len(), 0);
    assert_eq!(world.exporter.tables("limited").ipv4.as_ref().unwrap().len(), 0);

    world.exporter.set_drain(Drain::No, &world.rib);
    assert_eq!(told(&world, "tor").unwrap(), before);
    assert_eq!(world.exporter.tables("late").ipv4.as_ref().unwrap().len(), 2);
    assert_eq!(world.exporter.tables("limited").ipv4.as_ref().unwrap().len(), 1);
}
