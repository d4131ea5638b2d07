//! One turn after the other: read, plan, apply, read again, tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_core::datapath::{
    Access, KernelOp, KernelReport, Linger, Outcome, Plan, RouteKey, TABLE, Wanted, plan,
};
use tokio::sync::{mpsc, watch};

use super::apply::{self, Refusal};
use super::lock::Holder;
use super::monitor::{Look, Monitor};
use super::{Kernel, Stop, capability, in_words};
use crate::io::clock::Clock;
use crate::metrics::errors::{self, Component};

/// The kernel is read again after this time, whatever the monitor says.
const EVERY: Duration = Duration::from_secs(60);

/// The first pause after an operation that failed, and before a repair that follows another one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Two changes for one and the same wish within this time: somebody removes what we put back.
const QUARREL: Duration = Duration::from_secs(5);

/// What a turn came to.
struct Turn {
    report: KernelReport,
    /// Something is still to be done.
    again: bool,
    /// Something was done.
    changed: bool,
}

pub(super) struct Task {
    kernel: Kernel,
    monitor: Monitor,
    reports: mpsc::Sender<KernelReport>,
    clock: Clock,
    wanted: Arc<Wanted>,
    linger: Linger,
    holder: Holder,
    told: Option<KernelReport>,
    /// Doubles with each failure and with each repair in a quarrel.
    pause: Option<Duration>,
    /// When something was last changed, and for which [`Wanted::version`].
    changed: Option<(Timestamp, (u64, bool))>,
}

impl Task {
    pub(super) fn new(
        kernel: Kernel,
        monitor: Monitor,
        reports: mpsc::Sender<KernelReport>,
        holder: Holder,
        clock: Clock,
    ) -> Self {
        Self {
            kernel,
            monitor,
            reports,
            clock,
            wanted: Arc::default(),
            linger: Linger::default(),
            holder,
            told: None,
            pause: None,
            changed: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut wanted: watch::Receiver<Arc<Wanted>>,
        mut stop: mpsc::Receiver<Stop>,
    ) {
        let mut monitored = true;
        loop {
            let due = self.turn_and_tell().await;
            // Events wait while something is tried again: a quarrel is fought at our pace.
            let wake = self.clock.instant(due);
            let quiet = self.pause.is_some();
            tokio::select! {
                how = stop.recv() => {
                    if how == Some(Stop::Remove) {
                        self.remove().await;
                    }
                    return;
                }
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.wanted = wanted.borrow_and_update().clone();
                    self.linger.follow(&self.wanted, self.clock.now());
                }
                look = self.monitor.next(), if monitored && !quiet => {
                    monitored = look.is_some();
                    match look {
                        Some(look) => self.collect(look).await,
                        None => tracing::error!("the kernel's monitor has ended; its routes are read every minute"),
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Waits a moment for more events, so that many of them cost one look.
    async fn collect(&mut self, first: Look) {
        let mut until = tokio::time::Instant::now() + first.pause();
        loop {
            tokio::select! {
                look = self.monitor.next() => match look {
                    Some(look) => until = until.min(tokio::time::Instant::now() + look.pause()),
                    None => return,
                },
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// One turn; says when the next one is due.
    async fn turn_and_tell(&mut self) -> Timestamp {
        let now = self.clock.now();
        self.linger.expire(now);
        let mut again = true;
        match self.turn().await {
            Ok(turn) => {
                again = turn.again;
                if turn.changed {
                    let version = self.wanted.version();
                    let before = self.changed.replace((now, version));
                    again |= before.is_some_and(|(at, other)| other == version && now.since(at) < QUARREL);
                }
                self.tell(turn.report).await;
            }
            // As without the right to change it: a warning, and routes all the same.
            Err(error) => {
                errors::failed(Component::Kernel);
                self.tell(self.report(Plan::default(), Access::Refused(error))).await;
            }
        }
        self.pause = again.then(|| self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
        let next = self.pause.unwrap_or(EVERY);
        self.linger.deadline().map_or(now + next, |deadline| deadline.min(now + next))
    }

    async fn turn(&mut self) -> Result<Turn, String> {
        let state = self.kernel.read().await?;
        let before = plan(&self.wanted, &self.linger, &state);
        if let Some(why) = self.refused(&before) {
            let access = Access::Refused(why);
            // Nothing to be done is nothing to complain of; the rest is tried again.
            return Ok(Turn {
                again: !self.wanted.is_empty(),
                report: self.report(before, access),
                changed: false,
            });
        }
        if before.ops.is_empty() {
            return Ok(Turn { report: self.report(before, Access::Full), again: false, changed: false });
        }
        let failed = self.apply(&before.ops).await;
        if failed.values().any(|refusal| *refusal == Refusal::Forbidden) {
            let access = Access::Refused(capability::MISSING.to_owned());
            return Ok(Turn { report: self.report(before, access), again: true, changed: true });
        }
        let state = self.kernel.read().await?;
        let after = plan(&self.wanted, &self.linger, &state);
        let again = !after.ops.is_empty();
        let after = explained(after, &failed);
        Ok(Turn { report: self.report(after, Access::Full), again, changed: true })
    }

    /// Why nothing may be done.
    fn refused(&mut self, plan: &Plan) -> Option<String> {
        if plan.ops.is_empty() && self.wanted.is_empty() {
            return None;
        }
        if !plan.ops.is_empty() && !capability::may_change_network() {
            return Some(capability::MISSING.to_owned());
        }
        self.holder.take().err()
    }

    /// Does everything in order; gives back what was refused, by its place in `ops`.
    async fn apply(&self, ops: &[KernelOp]) -> BTreeMap<Key, Refusal> {
        let mut failed = BTreeMap::new();
        for op in ops {
            if let Err(refusal) = apply::apply(&self.kernel.handle, op).await {
                errors::failed(Component::Kernel);
                tracing::warn!("ip {}: {refusal}", in_words(op));
                let forbidden = refusal == Refusal::Forbidden;
                failed.insert(key(op), refusal);
                if forbidden {
                    break;
                }
            } else {
                tracing::debug!("ip {}", in_words(op));
            }
        }
        failed
    }

    fn report(&self, plan: Plan, access: Access) -> KernelReport {
        let Plan { guards, locals, notes, .. } = plan;
        KernelReport { access, serial: self.wanted.serial, guards, locals, notes }
    }

    /// Tells the hub what it has not been told yet.
    async fn tell(&mut self, report: KernelReport) {
        if self.told.as_ref() != Some(&report) {
            self.told = Some(report.clone());
            // A hub that has gone needs no report.
            let _ = self.reports.send(report).await;
        }
    }

    /// Takes out everything of ours, where this process looked after it.
    async fn remove(&mut self) {
        if !self.holder.is_held() {
            return;
        }
        match self.kernel.read().await {
            Ok(state) => {
                self.apply(&speaker_core::datapath::cleanup(&state)).await;
            }
            Err(error) => tracing::warn!("routes are left in the kernel, --cleanup removes them: {error}"),
        }
    }
}

/// What an operation was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Route(RouteKey),
    /// The rule of a family: whether it is that of IPv6.
    Rule(bool),
}

fn key(op: &KernelOp) -> Key {
    match op {
        KernelOp::AddRoute(route) | KernelOp::ReplaceRoute(route) => Key::Route(route.key),
        KernelOp::DeleteRoute(key) => Key::Route(*key),
        KernelOp::AddRule { family, .. } | KernelOp::DeleteRule { family, .. } => {
            Key::Rule(*family == bgp_proto::types::Family::Ipv6Unicast)
        }
    }
}

/// What is still under way, with the reason for which it failed.
fn explained(mut plan: Plan, failed: &BTreeMap<Key, Refusal>) -> Plan {
    for op in plan.ops.clone() {
        let Some(refusal) = failed.get(&key(&op)) else { continue };
        let why = Outcome::Failed(refusal.to_string());
        match key(&op) {
            Key::Route(route) if route.table == TABLE => {
                plan.guards.entry(route.prefix).and_modify(|outcome| fail(outcome, &why));
            }
            Key::Route(route) => {
                plan.locals.entry(route.prefix.addr()).and_modify(|outcome| fail(outcome, &why));
            }
            Key::Rule(ipv6) => {
                let of_family = plan.guards.iter_mut().filter(|(prefix, _)| prefix.addr().is_ipv6() == ipv6);
                of_family.for_each(|(_, outcome)| fail(outcome, &why));
            }
        }
    }
    plan
}

fn fail(outcome: &mut Outcome, why: &Outcome) {
    if *outcome == Outcome::Pending {
        outcome.clone_from(why);
    }
}
