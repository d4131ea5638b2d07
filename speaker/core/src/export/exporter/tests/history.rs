//! Random histories of routes, peers and policies, beside the answer from the Loc-RIB alone.

use proptest::prelude::*;

use super::super::super::policy::Chosen;
use super::super::super::testing::Told;
use super::*;

/// What may happen in a history.
#[derive(Debug, Clone)]
enum Step {
    /// Routes change together: index of the prefix, attributes or none, audience.
    Change(Vec<(usize, Option<u32>, usize)>),
    Up(usize),
    Down(usize),
    /// One span.
    Read(usize),
    Refresh(usize),
    /// Another policy, and the cursor moves.
    Policy(usize, usize),
}

const PEERS: [&str; 4] = ["a", "b", "c", "d"];
const PREFIXES: [&str; 8] = [
    "192.0.2.0/24",
    "192.0.2.0/25",
    "192.0.2.1/32",
    "192.0.2.2/32",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "203.0.113.7/32",
    "203.0.112.0/23",
];

fn step() -> impl Strategy<Value = Step> {
    let change = (0..PREFIXES.len(), prop::option::weighted(0.6, 0..3_u32), 0..6_usize);
    prop_oneof![
        6 => prop::collection::vec(change, 1..4).prop_map(Step::Change),
        2 => (0..4_usize).prop_map(Step::Up),
        1 => (0..4_usize).prop_map(Step::Down),
        4 => (0..4_usize).prop_map(Step::Read),
        1 => (0..4_usize).prop_map(Step::Refresh),
        2 => (0..4_usize, (0..10_usize).prop_map(|index| index.saturating_sub(5))).prop_map(|(peer, policy)| Step::Policy(peer, policy)),
    ]
}

fn audience(index: usize) -> Option<Arc<BTreeSet<String>>> {
    let peers: &[&str] = match index {
        0..4 => return None,
        4 => &["a", "b"],
        _ => &["c"],
    };
    Some(Arc::new(peers.iter().map(|name| (*name).to_owned()).collect()))
}

fn policy(name: &str, index: usize) -> PeerOut {
    let mut out = external(name);
    match index {
        0 => {}
        1 => out.export = Some(vec![ExportRule { prefix: prefix("192.0.2.0/24"), le: 32 }]),
        2 => out.max_advertised.ipv4 = Some(2),
        3 => out.next_hops.ipv4 = Ok(NextHop::V4("10.0.0.99".parse().unwrap())),
        _ => out.next_hops.ipv4 = Err(NoNextHop::Ipv4),
    }
    out
}

/// What a peer is to hold, from the Loc-RIB alone: no group, no version, no incremental step.
fn oracle(out: &PeerOut, rib: &LocRib) -> Told {
    let Ok(next_hop) = out.next_hops.ipv4 else { return Told::new() };
    let mut routes: Vec<_> = rib
        .routes
        .iter()
        .filter_map(|(prefix, route)| {
            let chosen = Chosen::of(&out.selected_as, out.export.as_deref(), *prefix, route).ok()?;
            let attributes = SessionClass::of(out).path_attributes(&chosen.merged());
            Some(((chosen.is_service(), chosen.created(), *prefix), (attributes, next_hop)))
        })
        .collect();
    routes.sort_by_key(|(rank, _)| *rank);
    let limit = out.max_advertised.ipv4.map_or(usize::MAX, |limit| limit as usize);
    routes.into_iter().take(limit).map(|((_, _, prefix), told)| (prefix, told)).collect()
}

#[derive(Default)]
struct History {
    exporter: Exporter,
    rib: LocRib,
    readers: BTreeMap<usize, Reader>,
    policies: [usize; 4],
}

impl History {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Change(routes) => self.change(routes),
            Step::Up(peer) => {
                let table = self.place(*peer);
                self.readers.insert(*peer, Reader::new(&table));
            }
            Step::Down(peer) => {
                self.exporter.peer_down(PEERS[*peer]);
                self.readers.remove(peer);
            }
            Step::Read(peer) => {
                self.readers.get_mut(peer).map(Reader::read_one);
            }
            Step::Refresh(peer) => {
                if let Some(reader) = self.readers.get_mut(peer) {
                    reader.cursor.rewind();
                }
            }
            Step::Policy(peer, policy) => {
                self.policies[*peer] = *policy;
                if self.readers.contains_key(peer) {
                    let table = self.place(*peer);
                    self.readers.get_mut(peer).unwrap().cursor.migrate(&table);
                }
            }
        }
    }

    fn change(&mut self, routes: &[(usize, Option<u32>, usize)]) {
        let mut changed = BTreeSet::new();
        for (index, attributes, selected) in routes {
            changed.insert(prefix(PREFIXES[*index]));
            match attributes {
                None => {
                    self.rib.routes.remove(&prefix(PREFIXES[*index]));
                }
                Some(value) => {
                    let mut first = service("s", i64::from(*value));
                    first.peers = audience(*selected);
                    first.attributes = Arc::new(med(*value));
                    let mut contributions = vec![first];
                    if prefix(PREFIXES[*index]).len() < 32 {
                        contributions[0].source.kind = crate::rib::SourceKind::Pool;
                        contributions.push(to_peers(pool("more", med(1)), &["c", "d"]));
                    }
                    set(&mut self.rib, PREFIXES[*index], contributions);
                }
            }
        }
        let level: Vec<usize> = self
            .readers
            .iter()
            .filter(|(_, reader)| reader.cursor.is_synced())
            .map(|(peer, _)| *peer)
            .collect();
        let changes = self.exporter.apply(&changed, &self.rib);
        for (peer, reader) in &mut self.readers {
            let table = self.exporter.tables(PEERS[*peer]).ipv4.unwrap();
            let moved = !Arc::ptr_eq(&table, reader.cursor.table());
            assert_eq!(moved, changes.moved.contains(PEERS[*peer]));
            reader.cursor.migrate(&table);
            if level.contains(peer) && !reader.cursor.is_synced() {
                assert!(changes.pending.contains(PEERS[*peer]), "nobody wakes it");
            }
        }
    }

    fn place(&mut self, peer: usize) -> Arc<Table> {
        let out = policy(PEERS[peer], self.policies[peer]);
        self.exporter.peer_up(PEERS[peer], out, &self.rib).ipv4.unwrap()
    }

    /// Every peer reads to the end, and holds what it should.
    fn check(&mut self) {
        for (peer, reader) in &mut self.readers {
            reader.read();
            assert!(reader.cursor.is_synced());
            let out = policy(PEERS[*peer], self.policies[*peer]);
            assert_eq!(reader.told, oracle(&out, &self.rib), "{}", PEERS[*peer]);
            assert_eq!(reader.told, wanted(reader.cursor.table()));
            assert_eq!(reader.ends_of_rib, 1);
        }
        for (table, members) in self.exporter.groups() {
            assert!(!members.is_empty());
            assert_eq!(table.tombstones(), 0, "all are level");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens, in whatever order, and however late a peer reads: it ends with what is wanted.
    #[test]
    fn every_peer_ends_with_what_is_wanted(
        steps in prop::collection::vec(step(), 1..60),
        complete_at in 0..30_usize,
    ) {
        let mut history = History::default();
        for (index, step) in steps.iter().enumerate() {
            if index == complete_at {
                history.exporter.set_complete();
            }
            history.apply(step);
            let bound: usize = PREFIXES.len();
            for (table, _) in history.exporter.groups() {
                prop_assert!(table.tombstones() <= bound);
            }
        }
        history.exporter.set_complete();
        history.check();
    }
}
