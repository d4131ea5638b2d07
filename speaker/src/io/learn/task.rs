//! The task: takes in what it is told, then brings the kernel a step nearer to it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_core::learn::{Fib, Learned, METRIC, Reading};
use tokio::sync::{mpsc, oneshot, watch};

use super::kernel::{STEP, Table};
use super::monitor::{Heard, Monitor};
use super::{Begun, Message, Name, Order, State, Told};
use crate::io::clock::Clock;
use crate::io::kernel::{Holder, may_change_network};
use crate::metrics::errors::{self, Component};

/// Messages taken in before the kernel's next step.
const BATCH: usize = 64;

/// How long messages are taken in before the kernel's next step, while there are any.
const INTAKE: Duration = Duration::from_millis(50);

/// The kernel is read again after this time, whatever the monitor says.
const EVERY: Duration = Duration::from_secs(60);

/// Reading a full table takes seconds: between two readings lies so many times what the last one took.
const REST: u32 = 20;

/// How long events are awaited before one look at all of them.
const TOGETHER: Duration = Duration::from_millis(20);

/// The shortest time between two looks: who removes what we put back is answered at our pace.
const PAUSE: Duration = Duration::from_millis(500);

/// Failures that are logged at most before all is well again.
const MOST_SAID: usize = 64;

/// After which time what was refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Task {
    learned: Learned,
    fib: Fib,
    table: Table,
    monitor: Monitor,
    /// Absent where the kernel's routes are nobody's business.
    holder: Option<Holder>,
    shown: watch::Sender<Arc<State>>,
    clock: Clock,
    /// When the kernel is to be read, and when it last was.
    look: Timestamp,
    looked: Option<Timestamp>,
    /// How long after the last reading the next one may follow.
    pause: Duration,
    /// Peers whose tables are awaited, and until when.
    expected: Option<(BTreeSet<Name>, Timestamp)>,
    /// Why nothing may be written, and when it is tried again.
    refused: Option<(String, Timestamp)>,
    retry: Option<Timestamp>,
    /// Failures that were logged.
    said: BTreeSet<String>,
}

impl Task {
    pub(super) fn new(
        holder: Option<Holder>,
        shown: watch::Sender<Arc<State>>,
        clock: Clock,
    ) -> io::Result<Self> {
        let table = Table::open()?;
        Ok(Self {
            learned: Learned::default(),
            fib: Fib::default(),
            monitor: Monitor::open(table.port())?,
            table,
            holder,
            shown,
            clock,
            look: clock.now(),
            looked: None,
            pause: PAUSE,
            expected: None,
            refused: None,
            retry: None,
            said: BTreeSet::new(),
        })
    }

    pub(super) async fn run(
        mut self,
        mut told: mpsc::Receiver<Message>,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) {
        let (mut batch, mut heard) = (Vec::with_capacity(BATCH), Vec::new());
        let mut monitored = true;
        loop {
            let due = self.step().await;
            let wake = self.clock.instant(due);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Stop { remove, done }) => return self.stop(remove, done).await,
                    Some(order) => self.obey(order),
                    None => return,
                },
                // Peers hold a way to here each: the hub's orders say when it is over.
                count = told.recv_many(&mut batch, BATCH), if !told.is_closed() || !told.is_empty() => {
                    let now = self.clock.now();
                    for (name, session, one) in batch.drain(..count) {
                        self.take(&name, session, one, now);
                    }
                    // A table in full flow: what is better a moment later need not be written now.
                    while self.clock.now().since(now) < INTAKE && let Ok((name, session, one)) = told.try_recv() {
                        self.take(&name, session, one, now);
                    }
                }
                count = self.monitor.next(&mut heard), if monitored => {
                    monitored = count > 0;
                    for one in heard.drain(..) {
                        self.hear(&one);
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn take(&mut self, name: &Name, session: u64, told: Told, now: Timestamp) {
        match told {
            Told::Up(begun) => {
                let Begun { from, families, helper, rules } = *begun;
                self.learned.up(name, session, from, families, helper, rules, now);
            }
            Told::Update(sifted) => {
                for family in self.learned.update(name, session, &sifted, self.clock.unix()).iter() {
                    tracing::warn!(peer = %name, %family, "more routes than maxPrefixes are to be learned; no more are kept");
                }
            }
            Told::Rules(rules) => self.learned.set_rules(name, session, &rules),
            Told::Refreshing(family) => self.learned.refreshing(name, session, family),
            Told::Refreshed(family) => self.learned.refreshed(name, session, family),
            Told::Down(loss) => {
                self.learned.down(name, session, loss, now);
                let stale = self.learned.stale().find(|(peer, _)| *peer == name);
                if let Some((_, families)) = stale {
                    tracing::info!(peer = %name, ?families, "its routes are kept while it restarts (RFC 4724)");
                }
            }
            Told::Flush => self.learned.forget(name),
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Forget(name) => self.learned.forget(&name),
            Order::Expect(peers, restart) => {
                let until = self.clock.now() + restart.unwrap_or_default();
                self.expected.get_or_insert((peers, until));
            }
            Order::Rows(wanted, answer) => {
                // Who asked may have gone.
                let _ = answer.send(self.learned.rows(wanted));
            }
            Order::Stop { .. } => {}
        }
    }

    fn hear(&mut self, heard: &Heard) {
        let look = match heard {
            Heard::Put(found) => found.metric != METRIC || !self.fib.expects(found.prefix, &found.hops),
            Heard::Gone(found) => found.metric == METRIC && self.fib.has(found.prefix),
            Heard::Around | Heard::Missed => true,
        };
        if look {
            let soonest = self.looked.map_or(Timestamp::ZERO, |at| at + self.pause);
            self.look = self.look.min((self.clock.now() + TOGETHER).max(soonest));
        }
    }

    /// Reads where it is time, writes what is to be written, and shows what came of it. Says when to come back.
    async fn step(&mut self) -> Timestamp {
        let now = self.clock.now();
        self.learned.expire(now);
        if self.look <= now {
            self.read().await;
        }
        let now = self.clock.now();
        if self.expected.as_ref().is_some_and(|(peers, until)| {
            *until <= now || peers.iter().all(|peer| self.learned.is_complete(peer))
        }) {
            self.fib.release();
        }
        self.fib.changed(self.learned.take_changed());
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            self.fib.retry();
        }
        let mut soon = false;
        if self.holder.is_some() && self.may_write(now) {
            soon = self.write(now).await;
        }
        self.show();
        if soon {
            return now;
        }
        let waits = [self.learned.deadline(), self.retry, self.refused.as_ref().map(|(_, at)| *at)];
        let expected = self.expected.as_ref().filter(|_| !self.fib.is_released()).map(|(_, until)| *until);
        waits.into_iter().flatten().chain(expected).fold(self.look, Timestamp::min)
    }

    async fn read(&mut self) {
        let now = self.clock.now();
        self.look = now + EVERY;
        self.looked = Some(now);
        match self.table.surroundings().await {
            Ok(around) => self.learned.surround(around),
            Err(error) => return self.unreadable(&error),
        }
        if self.holder.is_none() {
            return;
        }
        match self.table.found(Reading::push).await {
            Ok(reading) => {
                self.fib.read(reading, &self.learned);
                self.retry = None;
                self.pause = PAUSE.max(self.clock.now().since(now) * REST);
                self.look = self.look.max(now + self.pause);
            }
            Err(error) => self.unreadable(&error),
        }
    }

    fn unreadable(&mut self, error: &str) {
        errors::failed(Component::Kernel);
        tracing::warn!("{error}");
        self.look = self.clock.now() + AGAIN;
    }

    /// Whether this process looks after the kernel, where there is anything to do.
    fn may_write(&mut self, now: Timestamp) -> bool {
        if self.fib.is_settled() {
            return false;
        }
        if self.refused.as_ref().is_some_and(|(_, until)| now < *until) {
            return false;
        }
        let allowed = match &self.holder {
            _ if !may_change_network() => Err(crate::io::kernel::MISSING.to_owned()),
            Some(holder) => holder.take(),
            None => return false,
        };
        let before = self.refused.take();
        match allowed {
            Ok(()) => true,
            Err(why) => {
                if before.is_none() {
                    tracing::warn!("learned routes are not set: {why}");
                }
                self.refused = Some((why, now + AGAIN));
                false
            }
        }
    }

    /// One step; says whether there is more to do.
    async fn write(&mut self, now: Timestamp) -> bool {
        let ops = self.fib.next(&self.learned, STEP);
        for (op, result) in self.table.apply(ops).await {
            if let Err(error) = &result {
                errors::failed(Component::Kernel);
                let text = format!("ip {op}: {error}");
                // The same again is said more quietly.
                if self.said.len() < MOST_SAID && self.said.insert(text.clone()) {
                    tracing::warn!("{text}");
                } else {
                    tracing::debug!("{text}");
                }
            } else {
                tracing::debug!("ip {op}");
            }
            self.fib.done(op, result);
        }
        if self.table.is_lost() {
            self.look = now;
        }
        if !self.fib.has_failed() && self.fib.is_settled() {
            self.said.clear();
        } else if self.fib.has_failed() && self.retry.is_none() {
            self.retry = Some(now + AGAIN);
        }
        !self.fib.is_settled()
    }

    fn show(&self) {
        let mut problems = self.fib.problems();
        if let Some((why, _)) = &self.refused {
            problems.insert(0, format!("learned routes are not set: {why}"));
        }
        let counts = self.learned.counts().map(|(name, count)| (Arc::clone(name), *count)).collect();
        let state = State { counts, installed: self.fib.len(), problems };
        self.shown.send_if_modified(|shown| {
            let changed = **shown != state;
            if changed {
                *shown = Arc::new(state);
            }
            changed
        });
    }

    async fn stop(mut self, remove: bool, done: oneshot::Sender<()>) {
        let held = self.holder.as_ref().is_some_and(Holder::is_held);
        if remove && held {
            let left = self.table.clear().await.unwrap_or_else(|error| vec![error]);
            for what in left.iter().take(MOST_SAID) {
                tracing::warn!("learned routes are left in the kernel, --cleanup removes them: {what}");
            }
        }
        // Who waits may have gone.
        let _ = done.send(());
    }
}
