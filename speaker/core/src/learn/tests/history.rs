//! The table against one that keeps a plain list, selects by walking through the RFC's sentences, and is asked anew
//! after each event.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp_proto::types::{Community, Timestamp};
use proptest::prelude::*;

use super::*;

const PREFIXES: [&str; 5] = ["0.0.0.0/0", "192.0.2.0/24", "10.0.2.0/24", "2001:db8:f::/48", "10.0.1.254/32"];
const MOST: u32 = 4;

#[derive(Debug, Clone)]
struct Attributes {
    local_pref: Option<u32>,
    asns: Vec<u32>,
    origin: Origin,
    med: Option<u32>,
    community: Option<Community>,
    third_party: bool,
}

#[derive(Debug, Clone)]
enum Event {
    Up { peer: usize, restarts: bool, forwards: bool, long_lived: bool },
    Announce { peer: usize, prefix: usize, path_id: Option<u32>, attributes: Attributes },
    Withdraw { peer: usize, prefix: usize, path_id: Option<u32> },
    EndOfRib { peer: usize, v6: bool },
    Down { peer: usize, restart: bool },
    Forget { peer: usize },
    Refresh { peer: usize, v6: bool },
    Refreshed { peer: usize, v6: bool },
    Pass { seconds: u64 },
    Links { mask: u8 },
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let asns = prop_oneof![
        Just(vec![64500]),
        Just(vec![64502]),
        Just(vec![64500, 65000]),
        Just(vec![64502, 65000]),
        Just(vec![64500, 64501]),
        Just(vec![])
    ];
    let origin = prop_oneof![4 => Just(Origin::Igp), 1 => Just(Origin::Incomplete)];
    let community = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Community::LLGR_STALE)),
        1 => Just(Some(Community::NO_LLGR)),
        1 => Just(Some(Community::GRACEFUL_SHUTDOWN))
    ];
    let (pref, med) = (prop::option::of(99_u32..102), prop::option::of(0_u32..3));
    (pref, asns, origin, med, community, prop::bool::weighted(0.2)).prop_map(
        |(local_pref, asns, origin, med, community, third_party)| Attributes {
            local_pref,
            asns,
            origin,
            med,
            community,
            third_party,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let (peer, prefix) = (0_usize..4, 0..PREFIXES.len());
    let path_id = prop_oneof![3 => Just(None), 1 => (0_u32..2).prop_map(Some)];
    prop_oneof![
        2 => (peer.clone(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(peer, restarts, forwards, long_lived)| Event::Up { peer, restarts, forwards, long_lived }),
        9 => (peer.clone(), prefix.clone(), path_id.clone(), attributes())
            .prop_map(|(peer, prefix, path_id, attributes)| Event::Announce { peer, prefix, path_id, attributes }),
        3 => (peer.clone(), prefix, path_id)
            .prop_map(|(peer, prefix, path_id)| Event::Withdraw { peer, prefix, path_id }),
        1 => (peer.clone(), any::<bool>()).prop_map(|(peer, v6)| Event::EndOfRib { peer, v6 }),
        2 => (peer.clone(), any::<bool>()).prop_map(|(peer, restart)| Event::Down { peer, restart }),
        1 => peer.clone().prop_map(|peer| Event::Forget { peer }),
        1 => (peer.clone(), any::<bool>()).prop_map(|(peer, v6)| Event::Refresh { peer, v6 }),
        1 => (peer, any::<bool>()).prop_map(|(peer, v6)| Event::Refreshed { peer, v6 }),
        2 => (0_u64..500).prop_map(|seconds| Event::Pass { seconds }),
        1 => (0_u8..16).prop_map(|mask| Event::Links { mask }),
    ]
}

/// Peers 0 and 1 in AS 64500, 2 in 64502, 3 in ours; each on a link of its own.
fn of(peer: usize) -> (Arc<str>, Neighbor) {
    let link = u8::try_from(peer).unwrap() + 1;
    (name(&format!("r{link}")), neighbor(link, [64500, 64500, 64502, 64501][peer]))
}

/// A route as the list has it.
#[derive(Debug, Clone)]
struct Route {
    peer: usize,
    prefix: usize,
    path_id: Option<u32>,
    attributes: Attributes,
    stale: Option<bool>,
    unrefreshed: bool,
}

#[derive(Debug, Default)]
struct Session {
    up: bool,
    restarts: bool,
    long_lived: bool,
    /// Of each family: until when, and whether it is the long wait, or that for End-of-RIB.
    waits: BTreeMap<bool, (u64, char)>,
}

#[derive(Debug, Default)]
struct List {
    routes: Vec<Route>,
    sessions: BTreeMap<usize, Session>,
    links: BTreeSet<u8>,
    now: u64,
}

fn is_v6(prefix: usize) -> bool {
    PREFIXES[prefix].contains(':')
}

fn next_hop(peer: usize, prefix: usize, attributes: &Attributes) -> IpAddr {
    let link = peer + 1;
    let host = if attributes.third_party { 253 } else { 254 };
    if is_v6(prefix) {
        format!("2001:db8:{link}::{host}").parse().unwrap()
    } else {
        IpAddr::from([10, 0, u8::try_from(link).unwrap(), host])
    }
}

impl List {
    fn usable(&self, route: &Route) -> bool {
        let link = u8::try_from(route.peer).unwrap() + 1;
        let (_, from) = of(route.peer);
        let looped = route.attributes.asns.contains(&64501);
        let attached = route.prefix == 2 && self.links.contains(&2);
        let hop = next_hop(route.peer, route.prefix, &route.attributes);
        let itself = route.prefix == 4 && hop == from.address && route.peer == 0;
        self.links.contains(&link) && !looped && !attached && !itself
    }

    fn rank(route: &Route) -> (bool, u32) {
        let has = |community| route.attributes.community == Some(community);
        let external = route.peer != 3;
        let pref = route.attributes.local_pref.unwrap_or(100);
        let pref = if external && has(Community::GRACEFUL_SHUTDOWN) { 0 } else { pref };
        (route.stale == Some(true) || has(Community::LLGR_STALE), pref)
    }

    /// The next hops of a destination, and the peer of the best route.
    fn selected(&self, prefix: usize) -> (BTreeSet<IpAddr>, Option<usize>) {
        let mut left: Vec<&Route> =
            self.routes.iter().filter(|one| one.prefix == prefix && self.usable(one)).collect();
        if left.iter().any(|one| !Self::rank(one).0) {
            left.retain(|one| !Self::rank(one).0);
        }
        let Some(best) = left.iter().map(|one| Self::rank(one).1).max() else { return Default::default() };
        left.retain(|one| Self::rank(one).1 == best);
        let shortest = left.iter().map(|one| one.attributes.asns.len()).min().unwrap();
        left.retain(|one| one.attributes.asns.len() == shortest);
        let origin = left.iter().map(|one| one.attributes.origin).min().unwrap();
        left.retain(|one| one.attributes.origin == origin);
        let of_as = |one: &Route| one.attributes.asns.first().copied().unwrap_or(64501);
        let all = left.clone();
        left.retain(|one| {
            !all.iter().any(|other| {
                of_as(other) == of_as(one)
                    && other.attributes.med.unwrap_or(0) < one.attributes.med.unwrap_or(0)
            })
        });
        if left.iter().any(|one| one.peer != 3) {
            left.retain(|one| one.peer != 3);
        }
        let hops = left.iter().map(|one| next_hop(one.peer, prefix, &one.attributes)).collect();
        // Identifiers, addresses and names rise with the number.
        let order =
            |a: &&&Route, b: &&&Route| -> Ordering { a.peer.cmp(&b.peer).then(a.path_id.cmp(&b.path_id)) };
        (hops, left.iter().min_by(order).map(|one| one.peer))
    }

    fn expire(&mut self) {
        for (peer, session) in &mut self.sessions {
            for v6 in [false, true] {
                let Some((until, kind)) =
                    session.waits.get(&v6).copied().filter(|(until, _)| *until <= self.now)
                else {
                    continue;
                };
                session.waits.remove(&v6);
                let until = until + 100;
                let long = kind == 'r' && session.long_lived && until > self.now;
                if long {
                    session.waits.insert(v6, (until, 'l'));
                }
                self.routes.retain_mut(|one| {
                    let concerned = one.peer == *peer && is_v6(one.prefix) == v6 && one.stale.is_some();
                    if concerned {
                        one.stale = Some(true);
                    }
                    !concerned || (long && one.attributes.community != Some(Community::NO_LLGR))
                });
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm an event")]
    fn event(&mut self, event: &Event) {
        match event.clone() {
            Event::Up { peer, restarts, forwards, long_lived } => {
                let session = self.sessions.entry(peer).or_default();
                (session.up, session.restarts, session.long_lived) = (true, restarts, restarts && long_lived);
                let mut gone = BTreeSet::new();
                for v6 in [false, true] {
                    match session.waits.get_mut(&v6) {
                        Some((_, 'l')) if !(forwards && session.long_lived) => {
                            gone.insert(v6);
                        }
                        Some(_) if !(forwards && restarts) => {
                            gone.insert(v6);
                        }
                        Some(wait) => *wait = (self.now + 360, 'e'),
                        None => {}
                    }
                }
                session.waits.retain(|v6, _| !gone.contains(v6));
                self.routes.retain(|one| {
                    one.peer != peer || (one.stale.is_some() && !gone.contains(&is_v6(one.prefix)))
                });
            }
            Event::Announce { peer, prefix, path_id, attributes } if self.is_up(peer) => {
                let route = Route { peer, prefix, path_id, attributes, stale: None, unrefreshed: false };
                let same = |one: &&mut Route| (one.peer, one.prefix, one.path_id) == (peer, prefix, path_id);
                let of_family = self
                    .routes
                    .iter()
                    .filter(|one| one.peer == peer && is_v6(one.prefix) == is_v6(prefix))
                    .count();
                if let Some(old) = self.routes.iter_mut().find(same) {
                    *old = route;
                } else if of_family < MOST as usize {
                    self.routes.push(route);
                }
            }
            Event::Withdraw { peer, prefix, path_id } if self.is_up(peer) => {
                self.routes.retain(|one| (one.peer, one.prefix, one.path_id) != (peer, prefix, path_id));
            }
            Event::EndOfRib { peer, v6 } if self.is_up(peer) => {
                let waited = self.sessions.get_mut(&peer).unwrap().waits.remove(&v6).is_some();
                let stale = |one: &Route| waited && is_v6(one.prefix) == v6 && one.stale.is_some();
                self.routes.retain(|one| one.peer != peer || !stale(one));
            }
            Event::Down { peer, restart } if self.is_up(peer) => {
                let session = self.sessions.get_mut(&peer).unwrap();
                session.up = false;
                session.waits.clear();
                self.routes.retain(|one| one.peer != peer || one.stale.is_none());
                if restart && session.restarts {
                    session.waits.extend([false, true].map(|v6| (v6, (self.now + 60, 'r'))));
                    for one in self.routes.iter_mut().filter(|one| one.peer == peer) {
                        one.stale = Some(false);
                    }
                } else {
                    self.routes.retain(|one| one.peer != peer);
                }
            }
            Event::Forget { peer } => {
                self.sessions.remove(&peer);
                self.routes.retain(|one| one.peer != peer);
            }
            Event::Refresh { peer, v6 } if self.is_up(peer) => {
                for one in self.routes.iter_mut().filter(|one| one.peer == peer && is_v6(one.prefix) == v6) {
                    one.unrefreshed = true;
                }
            }
            Event::Refreshed { peer, v6 } if self.is_up(peer) => {
                self.routes.retain(|one| one.peer != peer || is_v6(one.prefix) != v6 || !one.unrefreshed);
            }
            Event::Pass { seconds } => {
                self.now += seconds;
                self.expire();
            }
            Event::Links { mask } => self.links = links(mask),
            _ => {}
        }
        // A peer that is away, and of which nothing is kept, is forgotten with its waits.
        let (routes, sessions) = (&self.routes, &mut self.sessions);
        sessions.retain(|peer, session| session.up || routes.iter().any(|one| one.peer == *peer));
    }

    fn is_up(&self, peer: usize) -> bool {
        self.sessions.get(&peer).is_some_and(|session| session.up)
    }
}

fn links(mask: u8) -> BTreeSet<u8> {
    (1..=4).filter(|link| mask & (1 << (link - 1)) != 0).collect()
}

fn apply(learned: &mut Learned, event: &Event, session: u64, now: Timestamp) {
    let family = |v6| if v6 { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
    match event.clone() {
        Event::Up { peer, restarts, forwards, long_lived } => {
            let (name, from) = of(peer);
            let set = |on| if on { both() } else { FamilySet::default() };
            let long = restarts && long_lived;
            let helper = Helper {
                restart: restarts.then_some(Duration::from_secs(60)),
                notification: false,
                families: set(restarts),
                forwarding: set(restarts && forwards),
                long_lived: FamilyMap::from_fn(|_| long.then_some(Duration::from_secs(100))),
                long_lived_forwarding: set(long && forwards),
            };
            let rules = Rules { most: FamilyMap::from_fn(|_| MOST), ..rules() };
            learned.up(&name, session, from, both(), helper, rules, now);
        }
        Event::Announce { peer, prefix: destination, path_id, attributes } => {
            let hop = next_hop(peer, destination, &attributes).to_string();
            let set = PathAttributes {
                origin: Some(attributes.origin),
                local_pref: attributes.local_pref,
                med: attributes.med,
                communities: attributes.community.into_iter().collect(),
                ..path(&attributes.asns)
            };
            let mut sifted = announced(&[PREFIXES[destination]], &hop, set);
            sifted.announced[0].1[0].path_id = path_id;
            learned.update(&of(peer).0, session, &sifted, 0);
        }
        Event::Withdraw { peer, prefix, path_id } => {
            let mut sifted = withdrawn(&[PREFIXES[prefix]]);
            sifted.withdrawn[0].path_id = path_id;
            learned.update(&of(peer).0, session, &sifted, 0);
        }
        Event::EndOfRib { peer, v6 } => {
            learned.update(&of(peer).0, session, &end_of_rib(family(v6)), 0);
        }
        Event::Down { peer, restart } => {
            learned.down(&of(peer).0, session, if restart { Loss::Restart } else { Loss::Final }, now);
        }
        Event::Forget { peer } => learned.forget(&of(peer).0),
        Event::Refresh { peer, v6 } => learned.refreshing(&of(peer).0, session, family(v6)),
        Event::Refreshed { peer, v6 } => learned.refreshed(&of(peer).0, session, family(v6)),
        Event::Pass { .. } => learned.expire(now),
        Event::Links { mask } => learned.surround(surroundings(links(mask))),
    }
}

/// A session is up once; what comes from one that is down is no event.
fn makes_sense(list: &List, event: &Event) -> bool {
    match event {
        Event::Up { peer, .. } => !list.is_up(*peer),
        Event::Announce { peer, .. }
        | Event::Withdraw { peer, .. }
        | Event::EndOfRib { peer, .. }
        | Event::Refresh { peer, .. }
        | Event::Refreshed { peer, .. } => list.is_up(*peer),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_history_ends_as_the_list_says(events in prop::collection::vec(event(), 1..60)) {
        let (mut learned, mut list) = (Learned::default(), List::default());
        let mut told: BTreeMap<Prefix, Hops> = BTreeMap::new();
        list.links = links(15);
        learned.surround(surroundings(1..=4));
        let mut session = [0_u64; 4];
        for event in events.iter().filter(|event| !matches!(event, Event::Pass { seconds: 0 })) {
            if !makes_sense(&list, event) {
                continue;
            }
            let peer = match event {
                Event::Up { peer, .. } => {
                    session[*peer] += 1;
                    *peer
                }
                Event::Announce { peer, .. } | Event::Withdraw { peer, .. } | Event::EndOfRib { peer, .. }
                | Event::Down { peer, .. } | Event::Forget { peer } | Event::Refresh { peer, .. }
                | Event::Refreshed { peer, .. } => *peer,
                Event::Pass { .. } | Event::Links { .. } => 0,
            };
            list.event(event);
            apply(&mut learned, event, session[peer], Timestamp::ZERO + Duration::from_secs(list.now));
            for (changed, ()) in learned.take_changed() {
                match learned.hops(changed) {
                    Some(hops) => told.insert(changed, hops.clone()),
                    None => told.remove(&changed),
                };
            }
            for (at, text) in PREFIXES.iter().enumerate() {
                let (hops, best) = list.selected(at);
                let got: BTreeSet<IpAddr> = told.get(&prefix(text)).into_iter().flat_map(|hops| hops.iter().map(|hop| hop.gateway)).collect();
                prop_assert_eq!(&got, &hops, "{} after {:?} of {:?}", text, event, events);
                let rows = learned.rows(|_, one| one == prefix(text));
                let row = rows.iter().find(|row| row.best).map(|row| row.peer.clone());
                prop_assert_eq!(row, best.map(|peer| of(peer).0.to_string()), "{} after {:?}", text, event);
                let used = rows.iter().filter(|row| row.best || row.multipath).count();
                prop_assert!(used >= hops.len());
            }
            let all = learned.rows(|_, _| true);
            prop_assert_eq!(all.len(), list.routes.len(), "{:?} {:?}", event, list);
            prop_assert_eq!(all.iter().filter(|row| row.stale).count(), list.routes.iter().filter(|one| one.stale.is_some()).count());
            let sum = |pick: fn(&LearnedCount) -> u32| -> usize {
                learned.counts().flat_map(|(_, count)| count.iter().map(|(_, count)| pick(count) as usize).collect::<Vec<_>>()).sum()
            };
            prop_assert_eq!(sum(|count| count.kept), list.routes.len());
            prop_assert_eq!(sum(|count| count.stale), list.routes.iter().filter(|one| one.stale.is_some()).count());
            prop_assert_eq!(sum(|count| count.used), all.iter().filter(|row| row.best || row.multipath).count());
        }
    }
}
