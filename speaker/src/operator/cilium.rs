//! Whether Cilium's own BGP control plane is on, asked again and again by the leader: two must not write the same
//! objects (design §5, "Beside Cilium").

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::io::kube::{CiliumBgp, Connection, ask_cilium};

/// How often it is asked. The answer changes with an upgrade of Cilium.
const EVERY: Duration = Duration::from_secs(10);
/// How long the first answer is waited for before there is other work.
const FIRST: Duration = Duration::from_secs(5);

/// What is known of it.
#[derive(Debug)]
pub(super) struct Cilium {
    on: watch::Receiver<bool>,
    asking: Option<AbortHandle>,
}

impl Drop for Cilium {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

impl Cilium {
    /// As `sources.kubernetes.ciliumBGP` says (`Some`: whether ours is to be on), or asked. Until it is known
    /// Cilium's is on: what we do not write harms nobody.
    pub(super) async fn begin(said: Option<bool>, connection: &Connection) -> Self {
        if let Some(ours) = said {
            return Self { on: watch::channel(!ours).1, asking: None };
        }
        let (say, mut on) = watch::channel(true);
        let connection = connection.clone();
        let asking = tokio::spawn(async move {
            let mut told = false;
            loop {
                let answer = ask_cilium(&connection).await;
                let known = match &answer {
                    CiliumBgp::On => Some(true),
                    CiliumBgp::Off | CiliumBgp::Refused(_) => Some(false),
                    // What was known stays.
                    CiliumBgp::Unknown(_) => None,
                };
                if let CiliumBgp::Refused(why) | CiliumBgp::Unknown(why) = answer
                    && !std::mem::replace(&mut told, true)
                {
                    tracing::warn!("whether Cilium's own BGP control plane is on cannot be told: {why}");
                }
                if let Some(known) = known {
                    // The first answer is news, too.
                    say.send_replace(known);
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        let _ = tokio::time::timeout(FIRST, on.changed()).await;
        Self { on, asking: Some(asking.abort_handle()) }
    }

    /// Whether it is on.
    pub(super) fn is_on(&self) -> bool {
        *self.on.borrow()
    }

    /// Waits until it is not what it was; for good where it was said.
    pub(super) async fn differs(&mut self, from: bool) {
        if self.on.wait_for(|on| *on != from).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
