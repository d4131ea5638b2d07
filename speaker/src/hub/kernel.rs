//! What the kernel's task tells, and what becomes of its routes at the end.

use std::time::Duration;

use speaker_core::drain::Drain;
use speaker_core::world::Event;

use super::Hub;
use crate::io::kernel::KernelReport;

/// How long packets that are on their way when the sessions end are still taken care of.
const LAST_PACKETS: Duration = Duration::from_secs(1);

impl Hub {
    pub(super) fn kernel_report(&mut self, report: KernelReport) {
        if self.recorder.is_some() {
            self.record(&Event::Kernel { report: report.clone() });
        }
        self.world.kernel(report);
        let problems = self.world.announcer().carriage().problems();
        for problem in problems.iter().filter(|one| !self.kernel_problems.contains(one)) {
            tracing::warn!("{problem}");
        }
        self.kernel_problems = problems;
    }

    /// Ends the sessions, then what the kernel carried for them. It stays where routers go on sending: with
    /// graceful restart, unless this is `for_good` or the node is drained, and where there is no peer at all, since
    /// routes then point here by hand.
    pub(super) async fn end(mut self, for_good: bool) {
        let keep = !for_good && self.peers.keep_routes();
        // Where all is withdrawn, nobody goes on sending: this is no update, or one that nobody can notice.
        let withdrawn = self.world.drain() == Drain::Withdrawn;
        let remove = self.peers.are_any() && (!keep || withdrawn);
        // What the kernel carries and what is kept go together.
        self.finish_keeping(remove).await;
        let learn = self.peers.learn().clone();
        if keep {
            // Before the sessions end: what was learned over them serves until the next process has it anew.
            learn.stop(false).await;
        }
        self.peers.stop(for_good).await;
        if !keep {
            learn.stop(true).await;
        }
        self.stations.stop(&mut self.peers).await;
        let Some(kernel) = self.kernel else { return };
        if remove && !self.world.announcer().carriage().wanted.is_empty() {
            tokio::time::sleep(LAST_PACKETS).await;
        }
        kernel.stop(remove).await;
    }
}
