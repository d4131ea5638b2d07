//! Several nodes and one store on virtual time: calls that take long or get lost, watches that lag, nodes
//! that pause, are cut off, crash, stop in an orderly way and begin anew while calls of their old process are still
//! under way; Services that come, go, share and move, and nodes that cannot serve them yet.

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
    /// A call of a node arrives, once.
    fn take(&mut self, name: &str, call: &mut Call) {
        match call {
            Call::Renew { version, .. } if version.is_none() => *version = Some(self.write_own(name, false)),
            Call::Resign { version } if self.nodes.get(name).is_some_and(|seen| seen.stamp == *version) => {
                self.write_own(name, true);
            }
            Call::Write { op, done } if done.is_none() => *done = Some(self.write(name, op)),
            Call::Check { node, read } if read.is_none() => *read = Some(self.nodes.get(node).cloned()),
            _ => {}
        }
    }

    fn write_own(&mut self, name: &str, released: bool) -> String {
        self.version += 1;
        let seen = NodeSeen { stamp: self.version.to_string(), released };
        self.nodes.insert(name.to_owned(), seen.clone());
        self.log.push(Change::Node(name.to_owned(), Some(seen)));
        self.version.to_string()
    }

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
    Renew {
        sent: Timestamp,
        version: Option<String>,
    },
    /// Against the version of the last renewal.
    Resign {
        version: String,
    },
    Write {
        op: Op,
        done: Option<Option<String>>,
    },
    Check {
        node: String,
        read: Option<Option<NodeSeen>>,
    },
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
    /// The version of its own Lease, as its last renewal left it.
    own: Option<String>,
    /// Units that it cannot serve before a tick.
    unfit: BTreeMap<String, u64>,
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
            own: None,
            unfit: BTreeMap::new(),
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
    /// Calls of processes that are no more: what has been sent arrives.
    ghosts: Vec<(u64, String, Call)>,
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
        ghosts: Vec::new(),
        trouble: 1,
    };
    let ticks = seconds * 10;
    for tick in 0..ticks {
        if tick == ticks - 1000 {
            model.calm(tick);
        }
        model.disturb(tick);
        model.haunt(tick);
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
        match self.dice.roll(9) {
            0 => self.nodes[who].paused_until = tick + length,
            1 => self.nodes[who].cut_until = tick + length,
            2 => self.restart(who, tick),
            // It is silent from now on, says so, and a new process begins at once or later.
            8 => {
                let own = self.nodes[who].own.clone();
                let late = self.dice.roll(30);
                let name = self.nodes[who].name.clone();
                self.restart(who, tick);
                if let Some(version) = own {
                    self.ghosts.push((tick + late, name, Call::Resign { version }));
                }
                self.nodes[who].paused_until = tick + self.dice.roll(2) * length;
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

    /// The process of a node is no more, and another one begins.
    fn restart(&mut self, who: usize, tick: u64) {
        let old = std::mem::replace(&mut self.nodes[who], Node::new(who));
        let sent = old.calls.into_iter().map(|(reaches, _, call)| (reaches, old.name.clone(), call));
        self.ghosts.extend(sent);
        // It lists first.
        let node = &mut self.nodes[who];
        for (lease, wanted) in &self.units {
            node.election.set_unit(lease, Some(wanted.clone()));
        }
        node.seen = self.store.log.len();
        node.told = self.changes.len();
        for (name, stamp) in self.store.nodes.clone() {
            node.election.node_seen(&name, Some(stamp), at(tick));
        }
        let leases = self.store.leases.clone().into_iter();
        node.election.leases_listed(leases.map(|(lease, seen)| (lease, Some(seen))).collect());
    }

    /// What dead processes have sent arrives.
    fn haunt(&mut self, tick: u64) {
        let (arrived, under_way) =
            std::mem::take(&mut self.ghosts).into_iter().partition(|(reaches, ..)| *reaches <= tick);
        self.ghosts = under_way;
        for (_, name, mut call) in arrived {
            self.store.take(&name, &mut call);
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
                let candidates = candidates.map(|index| format!("n{index}")).collect();
                Wanted { addresses, candidates, waiting: BTreeSet::new() }
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
            if *reaches <= tick {
                self.store.take(&node.name, call);
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
            self.learn(index, tick);
        }
        let node = &mut self.nodes[index];
        let (done, open): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut node.calls).into_iter().partition(|(_, back, _)| *back <= tick);
        node.calls = open;
        for (_, _, call) in done {
            // An answer may get lost, also where the call has had its effect.
            let lost = tick < node.cut_until || (slow && self.dice.roll(10) == 0);
            match call {
                Call::Renew { sent, version: Some(version) } if !lost => {
                    node.own = Some(version);
                    node.election.renewed(sent, now);
                }
                Call::Renew { .. } | Call::Resign { .. } => {}
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
            node.calls.push_back((reaches, back, Call::Renew { sent: now, version: None }));
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

    /// A node learns of changed units, and some that it could not serve it can serve now.
    fn learn(&mut self, index: usize, tick: u64) {
        let slow = self.trouble > 0;
        let node = &mut self.nodes[index];
        let late = slow && self.dice.roll(4) > 0;
        let upto = if late { node.told } else { self.changes.len() };
        for (lease, wanted) in &self.changes[node.told..upto] {
            // Now and then kube-proxy needs a while.
            let unfit = slow && self.dice.roll(3) == 0;
            let waiting = wanted.as_ref().filter(|_| unfit).map(|one| one.addresses.clone());
            let wanted = wanted.clone();
            let wanted = wanted.map(|one| Wanted { waiting: waiting.unwrap_or_default(), ..one });
            node.election.set_unit(lease, wanted);
            node.unfit.insert(lease.clone(), tick + self.dice.roll(50));
        }
        node.told = upto;
        let fit: Vec<String> =
            node.unfit.iter().filter(|(_, until)| tick >= **until).map(|(lease, _)| lease.clone()).collect();
        for lease in fit {
            node.unfit.remove(&lease);
            let last = self.changes[..node.told].iter().rev().find(|(one, _)| *one == lease);
            node.election.set_unit(&lease, last.and_then(|(_, wanted)| wanted.clone()));
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
