//! What systemd is told of this process where it asks for it (`sd_notify(3)`): that it serves, that it is alive, that it
//! stops. Without `$NOTIFY_SOCKET` nothing is.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use super::http::Observed;

/// Everything was started: what stands in the way of that has ended the process before.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// An orderly end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Where the unit has a `WatchdogSec`: says that `observed` is alive, as long as it is, at half that time. A process
/// that hangs is then ended by systemd and begun anew.
pub(crate) fn keep_alive<O: Observed>(observed: O) -> Option<JoinHandle<()>> {
    let patience = sd_notify::watchdog_enabled()?;
    Some(tokio::spawn(watch(observed, patience / 2, || tell(&[NotifyState::Watchdog]))))
}

async fn watch<O: Observed>(observed: O, every: Duration, alive: impl Fn() + Send) {
    // Zero would be no pace; systemd knows no watchdog of zero either.
    let mut pace = tokio::time::interval(every.max(Duration::from_millis(1)));
    loop {
        pace.tick().await;
        match observed.healthy().await {
            Ok(()) => alive(),
            Err(error) => tracing::error!("the watchdog is not told that all is well: {error}"),
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot tell systemd {states:?} ($NOTIFY_SOCKET): {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    struct Fake(Arc<AtomicBool>);

    impl Observed for Fake {
        async fn healthy(&self) -> Result<(), String> {
            if self.0.load(Ordering::Relaxed) { Ok(()) } else { Err("it hangs".to_owned()) }
        }

        async fn ready(&self) -> Result<(), String> {
            Ok(())
        }

        async fn metrics(&self) -> Result<String, String> {
            Ok(String::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_healthy_is_not_said_to_be_alive() {
        let (healthy, said) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&said);
        let alive = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let task = tokio::spawn(watch(Fake(Arc::clone(&healthy)), Duration::from_secs(5), alive));
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!(said.load(Ordering::Relaxed), 3, "at 0, 5 and 10 s");
        healthy.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(said.load(Ordering::Relaxed), 3);
        task.abort();
    }
}
