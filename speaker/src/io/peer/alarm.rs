//! The timer of a task, registered with the runtime as seldom as can be.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bgp_proto::types::Timestamp;
use tokio::time::{Instant, Sleep};

use crate::io::clock::Clock;

/// Rings at the deadline or before it, never later. Each UPDATE puts the next KEEPALIVE off: an alarm that stays where it
/// was and rings in vain costs less than one that is set anew for each.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it rings.
    at: Option<Timestamp>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(Instant::now())), at: None }
    }

    /// Rings at `deadline` at the latest.
    pub(super) fn set(&mut self, clock: Clock, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else {
            self.at = None;
            return;
        };
        if self.at.is_none_or(|at| deadline < at) {
            self.at = Some(deadline);
            self.sleep.as_mut().reset(clock.instant(deadline));
        }
    }

    /// Whether it is time to ring. It does not ring any more then.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }

    /// Waits until it rings.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at.is_none() {
            return Poll::Pending;
        }
        ready!(self.sleep.as_mut().poll(cx));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Whether it rings within a moment.
    async fn rings(alarm: &mut Alarm) -> bool {
        tokio::time::timeout(Duration::from_millis(30), poll_fn(|cx| alarm.poll(cx))).await.is_ok()
    }

    #[tokio::test]
    async fn it_rings_at_the_earliest_deadline_and_once_at_a_former_one() {
        let clock = Clock::start();
        let mut alarm = Alarm::new();
        assert!(!rings(&mut alarm).await, "not set");
        alarm.set(clock, Some(clock.now() + LONG));
        assert!(!rings(&mut alarm).await);
        let soon = clock.now() + Duration::from_millis(5);
        alarm.set(clock, Some(soon));
        assert!(!alarm.take(Timestamp::from_nanos(soon.as_nanos() - 1)));
        alarm.set(clock, Some(clock.now() + LONG));
        assert!(rings(&mut alarm).await, "as before: in vain");
        assert!(alarm.take(clock.now()) && !alarm.take(clock.now()));
        alarm.set(clock, Some(clock.now() + LONG));
        assert!(!rings(&mut alarm).await, "and then at the later one");
        alarm.set(clock, Some(clock.now()));
        alarm.set(clock, None);
        assert!(!rings(&mut alarm).await, "nothing to wait for");
    }
}
