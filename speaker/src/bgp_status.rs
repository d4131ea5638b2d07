//! The status of this node's CiliumBGPNodeConfig, from the hub to the API server.

use std::time::Duration;

use kube::Client;
use speaker_core::cilium::report::Reporter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::hub::Message;
use crate::io::clock::Clock;
use crate::io::kube::node_status::{StatusWriter, Written};

/// How often the sessions are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reports for as long as the hub lives.
pub(crate) async fn report(client: Client, hub: mpsc::Sender<Message>, clock: Clock) {
    let mut writer = StatusWriter::new(client);
    let mut reporter = Reporter::default();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let (reply, answer) = oneshot::channel();
        if hub.send(Message::BgpStatus(reply)).await.is_err() {
            return;
        }
        let Ok(reported) = answer.await else { return };
        let Some(reported) = reported else { continue };
        let (object, outcome, sessions) = reported.sessions().await;
        let body = reporter.step(&object, &outcome, sessions, clock.now(), clock.unix());
        let Some(body) = body else { continue };
        let written = writer.write(&object.name, body).await;
        reporter.ended(written == Written::Stored, clock.now());
    }
}
