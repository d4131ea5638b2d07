//! Several nodes and one store on virtual time: calls that take long or get lost, watches that lag, nodes
//! that pause, are cut off, restart; Services that come, go, share and move.

use std::collections::VecDeque;

use super::*;

const NODES: usize = 4;
const TICK: u64 = 100_000_000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[derive(Clone)]
enum Change {
    Lease(String, Option<LeaseSeen>),
    Node(String, Option<NodeSeen>),
}

#[derive(Default)]
struct Store {
    version: u64,
    leases: BTreeMap<String, LeaseSeen>,
    nodes: BTreeMap<String, NodeSeen>,
    log: Vec<Change>,
}

impl Store {
    fn write(&mut self, node: &str, op: &Op) -> Option<String> {
        let (lease, expected, new) = match op {
            Op::Claim { lease, version, addresses } => {
                (lease, version.clone(), Some((Some(node.to_owned()), addresses.clone())))
            }
            Op::Release { lease, version } => (lease, Some(version.clone()), Some((None, BTreeSet::new()))),
            Op::Delete { lease, version } => (lease, Some(version.clone()), None),
            Op::Check { .. } => return None,
        };
        if self.leases.get(lease).map(|seen| seen.version.clone()) != expected {
            return None;
        }
        self.version += 1;
        let version = self.version.to_string();
        let new = new.map(|(holder, addresses)| LeaseSeen { holder, addresses, version: version.clone() });
        match &new {
            Some(seen) => self.leases.insert(lease.clone(), seen.clone()),
            None => self.leases.remove(lease),
        };
        self.log.push(Change::Lease(lease.clone(), new));
        Some(version)
    }
}

enum Call {
    Renew { sent: Timestamp, reached: bool },
    Write { op: Op, done: Option<Option<String>> },
    Check { node: String, read: Option<Option<NodeSeen>> },
}

struct Node {
    name: String,
    election: Election,
    /// How much of the store's log it has seen.
    seen: usize,
    /// How many changes of units it has seen.
    told: usize,
    /// Calls with the ticks at which they reach the store and come back.
    calls: VecDeque<(u64, u64, Call)>,
    paused_until: u64,
    cut_until: u64,
    next_renewal: u64,
    renewals: u64,
}

impl Node {
    fn new(index: usize) -> Self {
        let name = format!("n{index}");
        Self {
            election: Election::new(name.clone(), params()),
            name,
            seen: 0,
            told: 0,
            calls: VecDeque::new(),
            paused_until: 0,
            cut_until: 0,
            next_renewal: 0,
            renewals: 0,
        }
    }
}

fn at(tick: u64) -> Timestamp {
    Timestamp::from_nanos(tick * TICK)
}

struct Model {
    dice: Dice,
    store: Store,
    nodes: Vec<Node>,
    units: BTreeMap<String, Wanted>,
    /// Every change of a unit: each node learns of it in its own time.
    changes: Vec<(String, Option<Wanted>)>,
    /// How much goes wrong: 0 at the end, so that everything settles.
    trouble: u64,
}

pub(super) fn run(seed: u64, seconds: u64) {
    let mut model = Model {
        dice: Dice(seed),
        store: Store::default(),
        nodes: (0..NODES).map(Node::new).collect(),
        units: BTreeMap::new(),
        changes: Vec::new(),
        trouble: 1,
    };
    let ticks = seconds * 10;
    for tick in 0..ticks {
        if tick == ticks - 1000 {
            model.calm(tick);
        }
        model.disturb(tick);
        for index in 0..NODES {
            model.reach(index, tick);
        }
        for index in 0..NODES {
            model.turn(index, tick);
        }
        model.check(seed, tick);
    }
    model.settled(seed, ticks);
}

impl Model {
    fn calm(&mut self, tick: u64) {
        self.trouble = 0;
        for node in &mut self.nodes {
            node.cut_until = node.cut_until.min(tick);
            node.paused_until = node.paused_until.min(tick);
        }
    }

    fn disturb(&mut self, tick: u64) {
        if self.trouble == 0 || self.dice.roll(20) != 0 {
            return;
        }
        let who = usize::try_from(self.dice.roll(NODES as u64)).unwrap();
        let length = 10 + self.dice.roll(300);
        match self.dice.roll(8) {
            0 => self.nodes[who].paused_until = tick + length,
            1 => self.nodes[who].cut_until = tick + length,
            2 => {
                let units = self.units.clone();
                self.nodes[who] = Node::new(who);
                for (lease, wanted) in units {
                    self.nodes[who].election.set_unit(&lease, Some(wanted));
                }
                // A new process lists first.
                let seen = self.store.log.len();
                let leases = self.store.leases.clone();
                let nodes = self.store.nodes.clone();
                let node = &mut self.nodes[who];
                node.seen = seen;
                node.told = self.changes.len();
                for (name, stamp) in nodes {
                    node.election.node_seen(&name, Some(stamp), at(tick));
                }
                node.election
                    .leases_listed(leases.into_iter().map(|(lease, seen)| (lease, Some(seen))).collect());
            }
            3 => {
                let available = self.dice.roll(3) > 0;
                self.nodes[who].election.set_available(available);
            }
            _ => self.change_unit(),
        }
        if self.dice.roll(5) == 0 {
            for node in &mut self.nodes {
                node.election.set_available(true);
            }
        }
    }

    /// Three Services and four addresses: an address belongs to one unit at a time, and moves.
    fn change_unit(&mut self) {
        let mut owners = BTreeMap::<String, BTreeSet<IpAddr>>::new();
        for number in 1..5 {
            let owner = self.dice.roll(4);
            if owner < 3 {
                owners.entry(format!("u{owner}")).or_default().insert(address(&format!("192.0.2.{number}")));
            }
        }
        for lease in ["u0", "u1", "u2"] {
            let wanted = owners.remove(lease).map(|addresses| {
                let bits = self.dice.roll(15) + 1;
                let candidates = (0..NODES).filter(|index| bits & (1 << index) != 0);
                Wanted { addresses, candidates: candidates.map(|index| format!("n{index}")).collect() }
            });
            match &wanted {
                Some(wanted) => self.units.insert(lease.to_owned(), wanted.clone()),
                None => self.units.remove(lease),
            };
            self.changes.push((lease.to_owned(), wanted));
        }
    }

    /// Calls of a node that reach the store now.
    fn reach(&mut self, index: usize, tick: u64) {
        let node = &mut self.nodes[index];
        if tick < node.cut_until {
            return;
        }
        for (reaches, _, call) in &mut node.calls {
            if *reaches > tick {
                continue;
            }
            match call {
                Call::Renew { reached, .. } if !*reached => {
                    *reached = true;
                    node.renewals += 1;
                    let stamp = NodeSeen { stamp: format!("{tick}.{}", node.renewals), released: false };
                    self.store.version += 1;
                    self.store.nodes.insert(node.name.clone(), stamp.clone());
                    self.store.log.push(Change::Node(node.name.clone(), Some(stamp)));
                }
                Call::Write { op, done } if done.is_none() => {
                    *done = Some(self.store.write(&node.name, op));
                }
                Call::Check { node, read } if read.is_none() => {
                    *read = Some(self.store.nodes.get(node).cloned());
                }
                _ => {}
            }
        }
    }

    fn turn(&mut self, index: usize, tick: u64) {
        let now = at(tick);
        let slow = self.trouble > 0;
        let node = &mut self.nodes[index];
        if tick < node.paused_until {
            return;
        }
        if tick >= node.cut_until {
            // The watch brings something, often not all.
            let behind = self.store.log.len() - node.seen;
            let lag = if slow { self.dice.roll(3) } else { 0 };
            let count =
                if lag == 0 { behind } else { behind.min(usize::try_from(self.dice.roll(3)).unwrap()) };
            for change in &self.store.log[node.seen..node.seen + count] {
                match change.clone() {
                    Change::Lease(lease, seen) => node.election.lease_seen(&lease, seen),
                    Change::Node(name, seen) => node.election.node_seen(&name, seen, now),
                }
            }
            node.seen += count;
            let late = slow && self.dice.roll(4) > 0;
            let upto = if late { node.told } else { self.changes.len() };
            for (lease, wanted) in &self.changes[node.told..upto] {
                node.election.set_unit(lease, wanted.clone());
            }
            node.told = upto;
        }
        let (done, open): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut node.calls).into_iter().partition(|(_, back, _)| *back <= tick);
        node.calls = open;
        for (_, _, call) in done {
            // An answer may get lost, also where the call has had its effect.
            let lost = tick < node.cut_until || (slow && self.dice.roll(10) == 0);
            match call {
                Call::Renew { sent, reached } if reached && !lost => node.election.renewed(sent, now),
                Call::Renew { .. } => {}
                Call::Write { op, done } => {
                    let (Op::Claim { lease, .. } | Op::Release { lease, .. } | Op::Delete { lease, .. }) = op
                    else {
                        unreachable!("a check is no write")
                    };
                    node.election.written(&lease, done.flatten().filter(|_| !lost));
                }
                Call::Check { node: name, read } => {
                    node.election.node_checked(&name, read.filter(|_| !lost), now);
                }
            }
        }
        let latency = |dice: &mut Dice| {
            let sides = dice_sides(dice);
            let first = if slow { dice.roll(sides) } else { 0 };
            let second = if slow { dice.roll(20) } else { 0 };
            (tick + 1 + first, tick + 2 + first + second)
        };
        if tick >= node.next_renewal {
            node.next_renewal = tick + 50;
            let (reaches, back) = latency(&mut self.dice);
            node.calls.push_back((reaches, back, Call::Renew { sent: now, reached: false }));
        }
        for op in node.election.step(now) {
            let (reaches, back) = latency(&mut self.dice);
            let call = match op {
                Op::Check { node } => Call::Check { node, read: None },
                op => Call::Write { op, done: None },
            };
            node.calls.push_back((reaches, back, call));
        }
    }

    fn answering(&self, index: usize, tick: u64) -> BTreeSet<IpAddr> {
        let node = &self.nodes[index];
        let runs = tick >= node.paused_until;
        let alive = node.election.fence().is_some_and(|fence| at(tick) < fence);
        if runs && alive { node.election.held() } else { BTreeSet::new() }
    }

    fn check(&self, seed: u64, tick: u64) {
        let mut holders = BTreeMap::new();
        for index in 0..NODES {
            for address in self.answering(index, tick) {
                if let Some(other) = holders.insert(address, index) {
                    panic!("seed {seed}, tick {tick}: {address} is answered by n{other} and n{index}");
                }
            }
        }
    }

    /// Every address that somebody may hold is held, by a candidate.
    fn settled(&mut self, seed: u64, tick: u64) {
        for (lease, unit) in &self.units {
            for address in &unit.addresses {
                let holder = (0..NODES).find(|index| self.answering(*index, tick).contains(address));
                let may = |index: &usize| {
                    let name = format!("n{index}");
                    self.nodes[*index].election.available && unit.candidates.contains(&name)
                };
                if (0..NODES).any(|index| may(&index)) {
                    let seen = self.store.leases.get(lease);
                    assert!(
                        holder.is_some_and(|index| may(&index)),
                        "seed {seed}: {address} of {lease} is held by {holder:?}: {seen:?}"
                    );
                }
            }
        }
        let needed: BTreeSet<&String> = self.units.keys().collect();
        let kept: BTreeSet<&String> = self.store.leases.keys().collect();
        assert!(kept.is_subset(&needed), "seed {seed}: Leases that nobody needs: {kept:?}");
    }
}

/// Now and then a call takes longer than a lease lasts.
fn dice_sides(dice: &mut Dice) -> u64 {
    if dice.roll(15) == 0 { 300 } else { 15 }
}
