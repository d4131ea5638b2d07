//! One turn after the other: read where that is necessary, plan, apply, tell.

use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_core::datapath::{Access, Change, Keeper, KernelOp, KernelReport};
use tokio::sync::mpsc;

use super::apply::{self, Refusal};
use super::lock::Holder;
use super::monitor::{Look, Monitor};
use super::{Kernel, Stop, capability, in_words};
use crate::io::clock::Clock;
use crate::metrics::errors::{self, Component};

/// The kernel is read again after this time, though the monitor says nothing.
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

/// The process may not change the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Forbidden;

pub(super) struct Task {
    kernel: Kernel,
    monitor: Monitor,
    reports: mpsc::Sender<KernelReport>,
    clock: Clock,
    keeper: Keeper,
    /// When the kernel is read again.
    read_again: Timestamp,
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
            keeper: Keeper::new(),
            read_again: Timestamp::ZERO,
            holder,
            told: None,
            pause: None,
            changed: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut changes: mpsc::UnboundedReceiver<Change>,
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
                change = changes.recv() => {
                    let Some(change) = change else { return };
                    let now = self.clock.now();
                    self.keeper.follow(&change, now);
                    while let Ok(change) = changes.try_recv() {
                        self.keeper.follow(&change, now);
                    }
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

    /// Waits a moment for more events, so that many of them cost one look at the kernel.
    async fn collect(&mut self, first: Look) {
        if !self.matters(first) {
            return;
        }
        self.keeper.doubt();
        let mut until = tokio::time::Instant::now() + first.pause();
        loop {
            tokio::select! {
                look = self.monitor.next() => match look {
                    Some(look) if self.matters(look) => {
                        until = until.min(tokio::time::Instant::now() + look.pause());
                    }
                    Some(_) => {}
                    None => return,
                },
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    fn matters(&self, look: Look) -> bool {
        look != Look::Router || self.keeper.minds_routers()
    }

    /// One turn; says when the next one is due.
    async fn turn_and_tell(&mut self) -> Timestamp {
        let now = self.clock.now();
        self.keeper.expire(now);
        // After a pause: what happened meanwhile was not listened to.
        if self.pause.is_some() || now >= self.read_again {
            self.keeper.doubt();
        }
        let mut again = true;
        match self.turn().await {
            Ok(turn) => {
                again = turn.again;
                if turn.changed {
                    let version = self.keeper.wanted().version();
                    let before = self.changed.replace((now, version));
                    again |= before.is_some_and(|(at, other)| other == version && now.since(at) < QUARREL);
                }
                self.tell(turn.report).await;
            }
            // As without the right to change it: a warning, and routes all the same.
            Err(error) => {
                errors::failed(Component::Kernel);
                self.tell(self.keeper.report(Access::Refused(error))).await;
            }
        }
        self.pause = again.then(|| self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
        let next = self.pause.map_or(self.read_again, |pause| now + pause);
        self.keeper.deadline().map_or(next, |deadline| deadline.min(next))
    }

    /// Reads the kernel where what is known of it may be wrong.
    async fn look(&mut self) -> Result<(), String> {
        if self.keeper.is_doubtful() {
            let state = self.kernel.read().await?;
            self.keeper.read(state);
            self.read_again = self.clock.now() + EVERY;
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<Turn, String> {
        self.look().await?;
        let ops = self.keeper.plan();
        if let Some(why) = self.refused(&ops) {
            // Nothing to be done is nothing to complain of; the rest is tried again.
            let again = !self.keeper.wanted().is_empty();
            return Ok(Turn { again, report: self.keeper.report(Access::Refused(why)), changed: false });
        }
        if ops.is_empty() {
            return Ok(Turn { report: self.keeper.report(Access::Full), again: false, changed: false });
        }
        if self.apply(&ops).await == Err(Forbidden) {
            let access = Access::Refused(capability::MISSING.to_owned());
            return Ok(Turn { report: self.keeper.report(access), again: true, changed: true });
        }
        // What was refused may be there by somebody else's doing.
        self.look().await?;
        let again = !self.keeper.plan().is_empty();
        Ok(Turn { report: self.keeper.report(Access::Full), again, changed: true })
    }

    /// Why nothing may be done.
    fn refused(&mut self, ops: &[KernelOp]) -> Option<String> {
        if ops.is_empty() && self.keeper.wanted().is_empty() {
            return None;
        }
        if !ops.is_empty() && !capability::may_change_network() {
            return Some(capability::MISSING.to_owned());
        }
        self.holder.take().err()
    }

    /// Does everything in order, up to where the process turns out not to have the right to.
    async fn apply(&mut self, ops: &[KernelOp]) -> Result<(), Forbidden> {
        self.keeper.begin();
        for op in ops {
            match apply::apply(&self.kernel.handle, op).await {
                Ok(()) => {
                    tracing::debug!("ip {}", in_words(op));
                    self.keeper.done(op, Ok(()));
                }
                Err(refusal) => {
                    errors::failed(Component::Kernel);
                    tracing::warn!("ip {}: {refusal}", in_words(op));
                    self.keeper.done(op, Err(refusal.to_string()));
                    if refusal == Refusal::Forbidden {
                        return Err(Forbidden);
                    }
                }
            }
        }
        Ok(())
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
                // What is refused was warned of.
                let _ = self.apply(&speaker_core::datapath::cleanup(state)).await;
            }
            Err(error) => tracing::warn!("routes are left in the kernel, --cleanup removes them: {error}"),
        }
    }
}
