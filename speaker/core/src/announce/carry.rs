//! The last gate: what is announced is carried by the kernel first. Here is what has to be carried, and which
//! routes wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_proto::types::Prefix;
use speaker_config::model::Datapath;
use speaker_config::objects::UnixSeconds;

use super::Announcer;
use super::gates::Trace;
use crate::datapath::{Carriage, Guard, GuardKind, Kernel, KernelReport, Wanted};
use crate::rib::{Contributions, Route, SourceKind};

/// Routes that have every reason to be announced and wait for the kernel, and what they wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    pub carriage: Carriage,
    /// Prefixes that pass every gate but the last.
    held: BTreeMap<Prefix, Contributions>,
    /// Host routes of addresses that lie in no pool: nothing wider guards them.
    pub outside: BTreeSet<Prefix>,
    /// The intents, or what they lie in, have changed since `carriage.wanted` was worked out.
    stale: bool,
    /// What `readiness` says: nothing comes into the table before it lets routes through.
    readiness: Option<(bool, String)>,
}

impl Waiting {
    /// Something that [`Announcer::wanted`] reads has changed.
    pub(super) fn touch(&mut self) {
        self.stale = true;
    }

    /// A prefix has every reason to be announced.
    pub(super) fn hold(&mut self, prefix: Prefix, contributions: Contributions) {
        self.stale |= self.held.insert(prefix, contributions).is_none();
    }

    /// A prefix has no reason left.
    pub(super) fn forget(&mut self, prefix: Prefix) {
        self.held.remove(&prefix);
        self.outside.remove(&prefix);
        self.stale = true;
    }

    /// Notes whether a wider guard can be found for a prefix.
    pub(super) fn place(&mut self, prefix: Prefix, contributions: &Contributions) {
        let outside = contributions.iter().all(|one| one.source.kind == SourceKind::Service && !one.covered);
        self.stale |= if outside { self.outside.insert(prefix) } else { self.outside.remove(&prefix) };
    }
}

impl Announcer {
    /// `datapath` of the configuration.
    pub(super) fn configure_datapath(&mut self, datapath: Datapath) {
        self.waiting.carriage.settings = datapath;
        self.waiting.stale = true;
    }

    /// Somebody looks after the kernel from now on: nothing that it is to carry is announced before it does.
    pub fn expect_kernel(&mut self) {
        self.waiting.carriage.kernel = Kernel::Waiting;
        self.waiting.stale = true;
    }

    /// What [`crate::readiness::Gate::verdict`] says; the next [`Announcer::reconcile`] lets through what waited for it.
    pub fn set_readiness(&mut self, verdict: Option<(bool, String)>) {
        self.waiting.readiness = verdict;
    }

    /// What the kernel's shell tells; the next [`Announcer::reconcile`] lets through what waited for it.
    pub fn kernel(&mut self, report: KernelReport) {
        self.waiting.carriage.kernel = Kernel::Reported(report);
    }

    /// Every source has delivered, and what they led to is recorded: what is not wanted may go.
    pub fn set_complete(&mut self) {
        self.waiting.carriage.wanted.complete = true;
    }

    /// What is wanted of the kernel, and what it said.
    #[must_use]
    pub const fn carriage(&self) -> &Carriage {
        &self.waiting.carriage
    }

    /// Works out what the kernel is to carry, and lets through what it carries: a route that is in the table
    /// stays there, since what the kernel loses is put back.
    pub(super) fn release(&mut self, now: UnixSeconds) -> BTreeSet<Prefix> {
        if std::mem::take(&mut self.waiting.stale) {
            let settings = self.waiting.carriage.settings;
            let present = self.waiting.carriage.kernel != Kernel::Absent;
            let (guards, locals) = if present { self.wanted(settings) } else { Default::default() };
            let wanted = &mut self.waiting.carriage.wanted;
            if (&guards, &locals) != (&wanted.guards, &wanted.locals) {
                *wanted = Wanted { serial: wanted.serial + 1, complete: wanted.complete, guards, locals };
            }
        }
        let Waiting { carriage, held, readiness, .. } = &mut self.waiting;
        if matches!(readiness, Some((false, _))) {
            return BTreeSet::new();
        }
        let ready: BTreeSet<Prefix> =
            held.keys().copied().filter(|prefix| carriage.carries(*prefix)).collect();
        for prefix in &ready {
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

    /// What the kernel is to carry: prefixes to be guarded and addresses to be delivered here.
    pub(super) fn wanted(&self, settings: Datapath) -> (BTreeMap<Prefix, Guard>, BTreeSet<IpAddr>) {
        let foreign = |index: &usize| self.advertisements.get(*index).is_some_and(|one| !one.spec.belongings);
        let fixed = || {
            let all = self.fixed.iter().filter(|(_, index)| foreign(index));
            all.map(|(prefix, _)| *prefix).filter(|one| self.intended(*one))
        };
        // An aggregate leads to addresses that nobody has, as a pool's prefix does.
        let open = || {
            let pools = self.open_by_prefix.iter().map(|(prefix, _, _)| *prefix);
            pools.chain(self.aggregates.keys().map(|(prefix, _)| *prefix)).filter(|one| self.intended(*one))
        };
        let mut guards = BTreeMap::new();
        if let Some(kind) = GuardKind::of(settings.loops) {
            guards.extend(fixed().map(|prefix| (prefix, Guard { kind, fixed: true })));
            // "For every announced pool prefix one blackhole of the whole prefix", and for what a pool announces
            // address by address the piece of the pool around it, so that a Service changes nothing.
            let pieces = self.pools.values().flat_map(|pool| pool.pieces.iter().copied());
            let pieces = pieces.filter(|piece| self.intends_host_in(*piece));
            let outside = self.waiting.outside.iter().copied();
            let pool = Guard { kind, fixed: false };
            guards.extend(open().chain(pieces).chain(outside).map(|prefix| (prefix, pool)));
        }
        let mut locals = BTreeSet::new();
        if settings.local_announced {
            locals.extend(fixed().filter(|prefix| prefix.is_host()).map(Prefix::addr));
            let wide: BTreeSet<Prefix> = fixed().chain(open()).filter(|one| !one.is_host()).collect();
            let lengths: BTreeSet<u8> = wide.iter().map(|one| one.len()).collect();
            let under_wide = |addr: IpAddr| {
                let mut over = lengths.iter().filter_map(|len| Prefix::new(addr, *len).ok());
                over.any(|prefix| wide.contains(&prefix))
            };
            // The address of a Local Service is announced by its own route alone (design §5, "Local").
            let led_here = |addr: &IpAddr| {
                self.intended(Prefix::host(*addr)) || under_wide(*addr) && !self.only_local_at(*addr)
            };
            locals.extend(self.holders.keys().copied().filter(led_here));
        }
        (guards, locals)
    }

    /// Whether every Service with the address has `externalTrafficPolicy: Local`.
    fn only_local_at(&self, addr: IpAddr) -> bool {
        let keys = self.holders.get(&addr).into_iter().flatten();
        keys.filter_map(|key| self.services.get(key)?.addresses.get(&addr)).all(|held| held.local.is_some())
    }

    /// The gates of this node, asked where every gate before them has let the route through.
    pub(super) fn node_gates(&self, prefix: Prefix, trace: &mut impl Trace) {
        if let Some((open, detail)) = &self.waiting.readiness {
            trace.gate("readiness", *open, || detail.clone());
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
