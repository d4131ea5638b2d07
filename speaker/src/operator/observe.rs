//! Metrics and health of a replica.

use std::time::Duration;

use speaker_core::operator::{Figures, Operator};
use tokio::sync::{mpsc, oneshot};

use crate::io::http::Observed;
use crate::metrics::catalogue as names;
use crate::metrics::{Samples, addresses, errors};
use crate::monitor;

/// How long an answer may take. The replica is never busy for so long unless it has stopped for good.
const ANSWERS: Duration = Duration::from_secs(5);

/// Somebody wants to look.
#[derive(Debug)]
pub(super) struct Question(oneshot::Sender<Look>);

impl Question {
    /// Whoever asked may have gone.
    pub(super) fn answer(self, look: Look) {
        let _ = self.0.send(look);
    }
}

/// What a replica looks like; by default one that does not lead.
#[derive(Debug, Default)]
pub(super) struct Look {
    leads: bool,
    samples: Samples,
    figures: Figures,
    /// What the leader waits for.
    waits: Vec<String>,
}

impl Look {
    /// The leader's.
    pub(super) fn of(operator: &Operator, missing: Vec<String>) -> Self {
        let mut samples = Samples::default();
        addresses::observe(&mut samples, operator.inputs(), operator.ipam());
        let waiting = operator.waiting().iter().map(|source| format!("the first full list of {source}"));
        let waits = waiting.chain(missing).collect();
        Self { leads: true, samples, figures: operator.figures(), waits }
    }
}

/// A replica, as far as it can be looked at.
#[derive(Debug)]
pub(super) struct Replica(mpsc::Sender<Question>);

impl Replica {
    pub(super) fn new(asked: mpsc::Sender<Question>) -> Self {
        Self(asked)
    }

    async fn look(&self) -> Result<Look, String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.0.send(Question(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ANSWERS, asked).await {
            Ok(Some(look)) => Ok(look),
            Ok(None) => Err("the operator is stopping".to_owned()),
            Err(_) => Err(format!("the operator has not answered for {ANSWERS:?}")),
        }
    }
}

impl Observed for Replica {
    async fn healthy(&self) -> Result<(), String> {
        self.look().await.map(drop)
    }

    /// A replica that stands by is ready: it is there to take over.
    async fn ready(&self) -> Result<(), String> {
        let waits = self.look().await?.waits;
        if waits.is_empty() { Ok(()) } else { Err(format!("waiting for {}", waits.join("; "))) }
    }

    async fn metrics(&self) -> Result<String, String> {
        let Look { leads, mut samples, figures, waits: _ } = self.look().await?;
        samples.flag(&names::LEADER, &[], leads);
        let Figures { writes_waiting, writes_in_flight, counters, events_dropped } = figures;
        for (result, count) in
            [("written", counters.written), ("conflict", counters.conflicts), ("failed", counters.failed)]
        {
            samples.count(&names::STATUS_WRITES, &[result], count);
        }
        samples.number(&names::STATUS_WRITES_WAITING, &[], writes_waiting);
        samples.number(&names::STATUS_WRITES_IN_FLIGHT, &[], writes_in_flight);
        samples.count(&names::EVENTS_DROPPED, &[], events_dropped);
        for component in errors::Component::ALL {
            samples.count(&names::RECONCILE_ERRORS, &[component.as_str()], errors::count(component));
        }
        monitor::text("operator", samples)
    }
}
