//! The election, step by step, beside everything else: a renewal never waits behind work.

use bgp_proto::types::Timestamp;
use speaker_core::operator::election::{Election, ElectionSettings, Step};
use tokio::sync::watch;

use crate::io::clock::boot_time;
use crate::io::kube::lease::LeaseStore;

/// Who leads.
#[derive(Debug, Clone, Default)]
pub(super) struct Leadership {
    /// We do, until this boot time.
    pub(super) until: Option<Timestamp>,
    /// Whoever does.
    pub(super) holder: Option<String>,
}

impl Leadership {
    /// Whether we lead at this moment.
    pub(super) fn leads(&self) -> bool {
        self.until.is_some_and(|until| boot_time() < until)
    }
}

/// Takes part until halted; gives the Lease up then.
pub(super) async fn run(
    mut store: LeaseStore,
    settings: ElectionSettings,
    say: watch::Sender<Leadership>,
    mut halted: watch::Receiver<bool>,
) {
    let mut election = Election::new(settings);
    loop {
        let asked = boot_time();
        let step = election.step(asked);
        if let Step::Wait(until) = step {
            tokio::select! {
                () = tokio::time::sleep(until.since(asked)) => continue,
                _ = halted.wait_for(|halted| *halted) => break,
            }
        }
        let answer = tokio::select! {
            answer = store.perform(&step) => answer,
            _ = halted.wait_for(|halted| *halted) => break,
        };
        election.answer(answer, asked, boot_time());
        let holder = election.holder().map(str::to_owned);
        say.send_if_modified(|known| {
            if known.holder != holder {
                tracing::info!("the leader is {}", holder.as_deref().unwrap_or("nobody"));
            }
            let changed = known.until != election.leads_until() || known.holder != holder;
            *known = Leadership { until: election.leads_until(), holder };
            changed
        });
    }
    if let Some(record) = election.release() {
        store.release(&record).await;
    }
}
