//! Whether this node is on its way out, by an operator's word or by a mark on the Node.

use std::time::Duration;

use speaker_config::model::DrainSettings;
use speaker_config::objects::UnixSeconds;
use speaker_core::drain::{self, Drain, Order};
use speaker_core::rfc3339;
use speaker_core::world::World;
use tokio::sync::oneshot;

use super::{Hub, unix_now};
use crate::io::drain::Keeper;
use crate::io::parting::Parting;
use crate::question::{Answer, Refused, Reply};
use speaker_core::world::Event;

/// How long routes that are about to go are announced so at the end of this process, unless `drain.for` is shorter.
const LAST_CALL: Duration = Duration::from_secs(2);

/// How long the withdrawals have to leave before the sessions end.
const WITHDRAWAL: Duration = Duration::from_millis(500);

/// What is known of it.
#[derive(Debug)]
pub(super) struct Draining {
    keeper: Keeper,
    /// A host's order; a Node's stands in its annotation.
    order: Option<Order>,
    /// When a mark or an annotation that is no order of ours was first seen.
    seen: Option<UnixSeconds>,
    /// When the next step is due.
    next: Option<UnixSeconds>,
    /// In words.
    why: Option<String>,
    /// How far this process is on its own way out.
    leaving: Drain,
}

impl Draining {
    pub(super) fn new(keeper: Keeper) -> Self {
        let order = keeper.restored();
        Self { keeper, order, seen: None, next: None, why: None, leaving: Drain::No }
    }

    /// How long until the next step.
    pub(super) fn wait(&self) -> Option<Duration> {
        let left = self.next?.saturating_sub(unix_now()).max(0);
        Some(Duration::from_secs(u64::try_from(left).unwrap_or_default()))
    }

    /// For `speaker version`.
    pub(super) fn why(&self) -> Option<String> {
        match self.leaving {
            Drain::No => self.why.clone(),
            Drain::Announcing | Drain::Withdrawn => Some("since the speaker is stopping".to_owned()),
        }
    }

    /// Where the node is on its way.
    fn judge(&mut self, world: &World, settings: &DrainSettings, now: UnixSeconds) -> Drain {
        let node = world.inputs().nodes.get(world.node());
        // What is marked when we begin has been so for long: nothing is announced in the first place.
        let seen = *self.seen.get_or_insert(if world.is_complete() { now } else { 0 });
        let annotated = node.and_then(|node| drain::annotated(node, settings, seen));
        let mark = node.and_then(|node| drain::mark(node, settings));
        let orders = [
            self.order.map(|order| (order, "speaker drain".to_owned())),
            annotated.map(|order| (order, format!("annotation {}", drain::ANNOTATION))),
            mark.map(|mark| (Order { since: seen, lasts: drain::seconds(settings) }, mark)),
        ];
        let first = orders.into_iter().flatten().max_by_key(|(order, _)| order.state(now).0);
        let Some((order, by)) = first else {
            (self.seen, self.next, self.why) = (None, None, None);
            return Drain::No;
        };
        let (state, next) = order.state(now);
        self.next = next;
        self.why = Some(match next {
            Some(end) => format!("by {by}: routes are withdrawn at {}", rfc3339(end)),
            None => format!("by {by}: nothing is announced"),
        });
        state
    }
}

impl Hub {
    /// Follows the operator's word, the Node and the clock.
    pub(super) fn drain(&mut self, now: UnixSeconds) {
        let drain = self.draining.judge(&self.world, &self.config.drain, now).max(self.draining.leaving);
        if self.world.set_drain(drain) {
            match self.draining.why() {
                // That is the end of every process that is told to stop.
                Some(why) if self.draining.leaving != Drain::No => tracing::info!("drained {why}"),
                Some(why) => tracing::warn!("drained {why}"),
                None => tracing::info!("no longer drained"),
            }
            self.record(&Event::Drain { drain });
        }
    }

    /// Where no peer is to keep our routes: a word to all that they are about to go (RFC 8326), then they go, each while
    /// the sessions are still up to hear it. Says whether this process ends for good.
    pub(super) async fn take_leave(&mut self, parting: Parting) -> bool {
        let for_good = match parting {
            Parting::Restart => false,
            Parting::ForGood(why) => {
                tracing::warn!("stopping for good: {why}; no peer is to keep routes of this node");
                true
            }
        };
        let kept = !for_good && self.peers.keep_routes();
        if kept || !self.peers.any_established() || self.world.announcer().rib().routes.is_empty() {
            return for_good;
        }
        let last_call = self.config.drain.lasts.min(LAST_CALL);
        for (step, lasts) in [(Drain::Announcing, last_call), (Drain::Withdrawn, WITHDRAWAL)] {
            if !lasts.is_zero() {
                self.draining.leaving = step;
                self.settle();
                tokio::time::sleep(lasts).await;
            }
        }
        for_good
    }

    /// `drain` (with how long to announce on) and `undrain` (with nothing).
    pub(super) fn order_drain(
        &mut self,
        order: Option<Duration>,
        undo: bool,
        reply: oneshot::Sender<Answer>,
    ) {
        let lasts = order.unwrap_or(self.config.drain.lasts).as_secs();
        let lasts = u32::try_from(lasts).unwrap_or(u32::MAX);
        let order = (!undo).then(|| Order { since: unix_now(), lasts });
        let keeper = self.draining.keeper.clone();
        let said = match order {
            Some(_) => format!("{} is drained: its routes are withdrawn in {lasts} s", self.world.node()),
            None => format!("{} is in service again", self.world.node()),
        };
        if matches!(keeper, Keeper::Folder(_)) {
            self.draining.order = order;
        }
        tokio::spawn(async move {
            let answer: Answer = match keeper.keep(order).await {
                Ok(()) => Ok(Reply::Json(Box::new(said))),
                Err(error) => Err(Refused::Invalid(error)),
            };
            // Who asked may have gone.
            drop(reply.send(answer));
        });
    }
}
