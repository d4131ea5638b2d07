//! The last gate: what is announced is carried by the kernel first. Here is what has to be carried, and which
//! routes wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::Prefix;
use speaker_config::model::Datapath;
use speaker_config::objects::UnixSeconds;

use super::Announcer;
use super::gates::Trace;
use crate::datapath::{Carriage, Change, Guard, GuardKind, Kernel, KernelReport};
use crate::few::FewKeys;
use crate::rib::{Contributions, Route, SourceKind};

/// Routes that have every reason to be announced and wait for the kernel, and what they wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    pub carriage: Carriage,
    /// Prefixes that pass every gate but the last.
    held: BTreeMap<Prefix, Contributions>,
    /// Host routes of addresses that lie in no pool: nothing wider guards them.
    pub outside: BTreeSet<Prefix>,
    /// What has changed since `carriage.wanted` was worked out.
    stale: Stale,
    /// Intended prefixes of more than one address, whatever asks for them: routers send here what lies in them. As
    /// they were when everything was worked out.
    wide: Wide,
    /// What `readiness` says: nothing comes into the table before it lets routes through.
    readiness: Option<(bool, String)>,
    proxy: Proxy,
}

/// Routes that wait until this node's kube-proxy has set up what is known: see [`crate::programming`].
#[derive(Debug, Clone, Default)]
struct Proxy {
    on: bool,
    /// By prefix, the question whose answer lets it through.
    held: BTreeMap<Prefix, u64>,
    /// Questions up to this one came up, were told, are answered.
    asked: u64,
    told: u64,
    answered: u64,
    /// What came since the last question.
    fresh: bool,
}

impl Proxy {
    fn hold(&mut self, prefix: Prefix) {
        if self.on {
            self.fresh = true;
            self.held.insert(prefix, self.asked + 1);
        }
    }

    fn holds(&self, prefix: Prefix) -> bool {
        self.held.get(&prefix).is_some_and(|question| *question > self.answered)
    }
}

/// What is to be worked out anew: a Service among ten thousand must not ask for the others.
#[derive(Debug, Clone, Default)]
struct Stale {
    everything: bool,
    addrs: BTreeSet<IpAddr>,
}

/// Prefixes, and which lengths they have.
#[derive(Debug, Clone, Default)]
struct Wide {
    prefixes: BTreeSet<Prefix>,
    lengths: BTreeSet<u8>,
}

impl Wide {
    fn has(&self, addr: IpAddr) -> bool {
        let mut over = self.lengths.iter().filter_map(|len| Prefix::new(addr, *len).ok());
        over.any(|prefix| self.prefixes.contains(&prefix))
    }
}

impl Waiting {
    /// Something that [`Announcer::wanted`] reads has changed.
    pub(super) fn touch(&mut self) {
        self.stale.everything = true;
    }

    /// Something about an address has changed: its Services, or its route.
    pub(super) fn touch_addr(&mut self, addr: IpAddr) {
        self.stale.addrs.insert(addr);
    }

    /// Whether a prefix is intended, or guarded by itself, has changed.
    fn touch_prefix(&mut self, prefix: Prefix) {
        if prefix.is_host() {
            self.touch_addr(prefix.addr());
        } else {
            self.touch();
        }
    }

    /// A prefix has every reason to be announced.
    pub(super) fn hold(&mut self, prefix: Prefix, contributions: Contributions) {
        if self.held.insert(prefix, contributions).is_none() {
            self.proxy.hold(prefix);
            self.touch_prefix(prefix);
        }
    }

    /// A prefix has no reason left.
    pub(super) fn forget(&mut self, prefix: Prefix) {
        self.held.remove(&prefix);
        self.proxy.held.remove(&prefix);
        self.outside.remove(&prefix);
        self.touch_prefix(prefix);
    }

    /// Notes whether a wider guard can be found for a prefix.
    pub(super) fn place(&mut self, prefix: Prefix, contributions: &Contributions) {
        let outside = contributions.iter().all(|one| one.source.kind == SourceKind::Service && !one.covered);
        let moved = if outside { self.outside.insert(prefix) } else { self.outside.remove(&prefix) };
        if moved {
            self.touch_prefix(prefix);
        }
    }
}

impl Announcer {
    /// `datapath` of the configuration.
    pub(super) fn configure_datapath(&mut self, datapath: Datapath) {
        self.waiting.carriage.settings = datapath;
        self.waiting.touch();
    }

    /// Somebody looks after the kernel from now on: nothing that it is to carry is announced before it does.
    pub fn expect_kernel(&mut self) {
        self.waiting.carriage.kernel = Kernel::Waiting;
        self.waiting.touch();
    }

    /// What [`crate::readiness::Gate::verdict`] says; the next [`Announcer::reconcile`] lets through what waited for it.
    pub fn set_readiness(&mut self, verdict: Option<(bool, String)>) {
        self.waiting.readiness = verdict;
    }

    /// Whether new routes wait until kube-proxy has set up what is known.
    pub fn set_programming(&mut self, on: bool) {
        let proxy = &mut self.waiting.proxy;
        if proxy.on != on {
            *proxy = Proxy { on, held: BTreeMap::new(), fresh: false, ..proxy.clone() };
            proxy.answered = proxy.asked;
        }
    }

    /// The question that something else than a route waits for from now on; none where nothing waits for kube-proxy. It
    /// comes up with the next [`Announcer::reconcile`].
    pub fn wait_for_proxy(&mut self) -> Option<u64> {
        let proxy = &mut self.waiting.proxy;
        proxy.fresh |= proxy.on;
        proxy.on.then_some(proxy.asked + 1)
    }

    /// Questions up to this one are answered.
    #[must_use]
    pub const fn answered(&self) -> u64 {
        self.waiting.proxy.answered
    }

    /// What kube-proxy is to be asked now; not before it is healthy.
    pub fn ask_proxy(&mut self) -> Option<u64> {
        let shut = self.is_shut();
        let proxy = &mut self.waiting.proxy;
        let news = proxy.on && !shut && proxy.asked > proxy.told.max(proxy.answered);
        news.then(|| {
            proxy.told = proxy.asked;
            proxy.asked
        })
    }

    /// A question was answered, however it was; the next [`Announcer::reconcile`] lets through what waited for it.
    pub fn programmed(&mut self, ticket: u64) {
        let answered = &mut self.waiting.proxy.answered;
        *answered = ticket.max(*answered);
    }

    /// Whether nothing waits for kube-proxy that is healthy.
    #[must_use]
    pub fn is_programmed(&self) -> bool {
        let proxy = &self.waiting.proxy;
        !proxy.on || self.is_shut() || proxy.answered >= proxy.asked
    }

    fn is_shut(&self) -> bool {
        matches!(self.waiting.readiness, Some((false, _)))
    }

    /// What the kernel's shell tells; the next [`Announcer::reconcile`] lets through what waited for it.
    pub fn kernel(&mut self, report: KernelReport) {
        self.waiting.carriage.hear(report);
    }

    /// Every source has delivered, and what they led to is recorded: what is not wanted may go.
    pub fn set_complete(&mut self) {
        self.waiting.carriage.wanted.complete = true;
    }

    /// What the kernel's shell is to be told, where it was not told yet.
    pub fn tell_kernel(&mut self) -> Option<Change> {
        self.waiting.carriage.tell()
    }

    /// What is wanted of the kernel, and what it said.
    #[must_use]
    pub const fn carriage(&self) -> &Carriage {
        &self.waiting.carriage
    }

    /// Works out what the kernel is to carry, and lets through what it carries: a route that is in the table
    /// stays there, since what the kernel loses is put back.
    pub(super) fn release(&mut self, now: UnixSeconds) -> BTreeSet<Prefix> {
        self.rework();
        if std::mem::take(&mut self.waiting.proxy.fresh) {
            self.waiting.proxy.asked += 1;
        }
        if self.is_shut() {
            return BTreeSet::new();
        }
        let Waiting { carriage, held, proxy, .. } = &mut self.waiting;
        let free = |prefix: &Prefix| carriage.carries(*prefix) && !proxy.holds(*prefix);
        let ready: BTreeSet<Prefix> = held.keys().copied().filter(free).collect();
        for prefix in &ready {
            proxy.held.remove(prefix);
            if let Some(contributions) = held.remove(prefix) {
                self.rib.routes.insert(*prefix, Route { contributions, since: now });
            }
        }
        ready
    }

    /// Whether a prefix passes every gate but the last.
    fn intended(&self, prefix: Prefix) -> bool {
        self.rib.routes.contains_key(&prefix) || self.waiting.held.contains_key(&prefix)
    }

    /// Whether a host route inside `prefix` is intended.
    fn intends_host_in(&self, prefix: Prefix) -> bool {
        let ends = Prefix::host(prefix.addr())..=Prefix::host(prefix.last());
        let routes = self.rib.routes.range(ends.clone()).map(|(one, _)| one);
        routes.chain(self.waiting.held.range(ends).map(|(one, _)| one)).any(|one| one.is_host())
    }

    /// Works out what has changed of what the kernel is to carry.
    fn rework(&mut self) {
        let Stale { everything, addrs } = std::mem::take(&mut self.waiting.stale);
        let carriage = &self.waiting.carriage;
        let (settings, present) = (carriage.settings, carriage.kernel != Kernel::Absent);
        let change = if everything {
            self.waiting.wide = self.wide();
            let (guards, locals) = if present { self.wanted(settings) } else { Default::default() };
            self.waiting.carriage.wanted.change_to(&guards, &locals)
        } else if present {
            self.change_of(&addrs, settings)
        } else {
            return;
        };
        if !change.is_empty() {
            self.waiting.carriage.want(change);
        }
    }

    /// What addresses that have changed change.
    fn change_of(&self, addrs: &BTreeSet<IpAddr>, settings: Datapath) -> Change {
        let wanted = &self.waiting.carriage.wanted;
        let mut change = Change { serial: wanted.serial + 1, complete: wanted.complete, ..Change::default() };
        for addr in addrs {
            let host = Prefix::host(*addr);
            let around = self.pools.values().flat_map(|pool| &pool.pieces).filter(|one| one.covers(host));
            for prefix in around.copied().chain([host]) {
                let guard = self.guard_of(prefix, settings);
                if guard.as_ref() != wanted.guards.get(&prefix) {
                    change.guards.insert(prefix, guard);
                }
            }
            let local = self.is_local(*addr, settings);
            if local != wanted.locals.contains(addr) {
                change.locals.insert(*addr, local);
            }
        }
        change
    }

    /// What the kernel is to carry: prefixes to be guarded and addresses to be delivered here.
    pub(super) fn wanted(&self, settings: Datapath) -> (BTreeMap<Prefix, Guard>, BTreeSet<IpAddr>) {
        let fixed = self.fixed.iter().map(|(prefix, _)| *prefix);
        let open = self.open_by_prefix.iter().map(|(prefix, _, _)| *prefix);
        let aggregates = self.aggregates.keys().map(|(prefix, _)| *prefix);
        let pieces = self.pools.values().flat_map(|pool| pool.pieces.iter().copied());
        let outside = self.waiting.outside.iter().copied();
        let hosts = fixed.clone().filter(|one| one.is_host()).map(Prefix::addr);
        let addrs: BTreeSet<IpAddr> = self.holders.keys().copied().chain(hosts).collect();
        let all: BTreeSet<Prefix> =
            fixed.chain(open).chain(aggregates).chain(pieces).chain(outside).collect();
        let guards = all.into_iter().filter_map(|one| Some((one, self.guard_of(one, settings)?)));
        (guards.collect(), addrs.into_iter().filter(|addr| self.is_local(*addr, settings)).collect())
    }

    /// How a prefix is to be guarded, if it is.
    fn guard_of(&self, prefix: Prefix, settings: Datapath) -> Option<Guard> {
        let kind = GuardKind::of(settings.loops)?;
        // "For every announced pool prefix one blackhole of the whole prefix", and for what a pool announces
        // address by address the piece of the pool around it, so that a Service changes nothing.
        let piece = || {
            let mut pools = self.pools.values();
            pools.any(|pool| pool.pieces.contains(&prefix)) && self.intends_host_in(prefix)
        };
        let intended = self.intended(prefix);
        if intended && self.is_open(prefix) || self.waiting.outside.contains(&prefix) || piece() {
            return Some(Guard { kind, fixed: false });
        }
        (intended && self.is_foreign(prefix)).then_some(Guard { kind, fixed: true })
    }

    /// Whether an address is to be delivered on this host.
    fn is_local(&self, addr: IpAddr, settings: Datapath) -> bool {
        if !settings.local_announced {
            return false;
        }
        let host = Prefix::host(addr);
        let intended = self.intended(host);
        if intended && self.is_foreign(host) {
            return true;
        }
        // The address of a Local Service is announced by its own route alone (design §5, "Local").
        let led_here = || intended || self.waiting.wide.has(addr) && !self.only_local_at(addr);
        self.holders.contains_key(&addr) && led_here()
    }

    /// Whether a pool announces a prefix, or it is an aggregate: both lead to addresses that nobody has.
    fn is_open(&self, prefix: Prefix) -> bool {
        let first = (prefix, String::new(), 0);
        let pool = self.open_by_prefix.range(first..).next().is_some_and(|(one, _, _)| *one == prefix);
        pool || self.aggregates.range((prefix, 0)..=(prefix, usize::MAX)).next().is_some()
    }

    /// Whether an advertisement's `prefixes` have a prefix that leads to others than us.
    fn is_foreign(&self, prefix: Prefix) -> bool {
        let mut asked = self.fixed.range((prefix, 0)..=(prefix, usize::MAX)).map(|(_, index)| *index);
        asked.any(|index| self.advertisements.get(index).is_some_and(|one| !one.spec.belongings))
    }

    /// Intended prefixes of more than one address.
    fn wide(&self) -> Wide {
        let fixed = self.fixed.iter().map(|(prefix, _)| *prefix).filter(|one| self.is_foreign(*one));
        let open = self.open_by_prefix.iter().map(|(prefix, _, _)| *prefix);
        let all = fixed.chain(open).chain(self.aggregates.keys().map(|(prefix, _)| *prefix));
        let prefixes: BTreeSet<Prefix> = all.filter(|one| !one.is_host() && self.intended(*one)).collect();
        Wide { lengths: prefixes.iter().map(|one| one.len()).collect(), prefixes }
    }

    /// Whether every Service with the address has `externalTrafficPolicy: Local`.
    fn only_local_at(&self, addr: IpAddr) -> bool {
        let keys = self.holders.get(&addr).into_iter().flat_map(FewKeys::keys);
        keys.filter_map(|key| self.services.get(key)?.addresses.get(&addr)).all(|held| held.local.is_some())
    }

    /// The gates of this node, asked where every gate before them has let the route through.
    pub(super) fn node_gates(&self, prefix: Prefix, trace: &mut impl Trace) {
        if let Some((open, detail)) = &self.waiting.readiness {
            trace.gate("readiness", *open, || detail.clone());
        }
        if self.waiting.held.contains_key(&prefix) && self.waiting.proxy.holds(prefix) {
            trace.gate("kube-proxy", false, crate::programming::waits);
        }
        self.kernel_gate(prefix, trace);
    }

    fn kernel_gate(&self, prefix: Prefix, trace: &mut impl Trace) {
        let carriage = &self.waiting.carriage;
        if carriage.is_off() {
            return;
        }
        let judged = carriage.judge(prefix);
        let announced = self.rib.routes.contains_key(&prefix);
        trace.gate("kernel", announced || judged.is_ok(), || match judged {
            Ok(detail) => detail,
            Err(detail) if announced => format!("{detail}; it was there when the route was announced"),
            Err(detail) => detail,
        });
    }
}
