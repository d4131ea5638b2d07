//! Metrics and health of `speaker run`.

use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::hub::Message;
use crate::io::http::Observed;
use crate::io::process;
use crate::metrics::catalogue::BUILD;
use crate::metrics::{self, Samples};

/// How long the hub may take to answer. It is never busy for so long unless it has stopped for good.
const HUB_ANSWERS: Duration = Duration::from_secs(5);

/// The agent, as far as it can be looked at.
#[derive(Debug)]
pub(crate) struct Agent {
    hub: mpsc::Sender<Message>,
    patience: Duration,
}

impl Agent {
    pub(crate) fn new(hub: mpsc::Sender<Message>) -> Self {
        Self { hub, patience: HUB_ANSWERS }
    }

    async fn ask<T>(&self, question: fn(oneshot::Sender<T>) -> Message) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.hub.send(question(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.patience, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("the daemon is stopping".to_owned()),
            Err(_) => Err(format!("the hub has not answered for {:?}", self.patience)),
        }
    }
}

impl Observed for Agent {
    async fn healthy(&self) -> Result<(), String> {
        self.ask(Message::Waiting).await.map(drop)
    }

    async fn ready(&self) -> Result<(), String> {
        let waiting = self.ask(Message::Waiting).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = waiting.into_iter().collect();
        Err(format!("waiting for the first full list of {}", names.join(", ")))
    }

    async fn metrics(&self) -> Result<String, String> {
        let samples = self.ask(Message::Observe).await?.complete().await;
        text("agent", samples)
    }
}

/// A role's numbers with those that every process has.
pub(crate) fn text(role: &str, mut samples: Samples) -> Result<String, String> {
    samples.info(&BUILD, &[env!("CARGO_PKG_VERSION"), role]);
    process::measure(&mut samples);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(samples));
    metrics::text(&registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hub_that_is_gone_is_neither_healthy_nor_ready() {
        let (hub, inbox) = mpsc::channel(1);
        drop(inbox);
        let agent = Agent::new(hub);
        assert_eq!(agent.healthy().await, Err("the daemon is stopping".to_owned()));
        assert!(agent.ready().await.is_err() && agent.metrics().await.is_err());
    }

    #[tokio::test]
    async fn a_hub_that_hangs_is_not_healthy() {
        let (hub, _inbox) = mpsc::channel(1);
        let agent = Agent { patience: Duration::from_millis(50), ..Agent::new(hub) };
        assert_eq!(agent.healthy().await, Err("the hub has not answered for 50ms".to_owned()));
    }
}
