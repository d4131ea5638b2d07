//! Deleted Services: held for a while by a finalizer, so that an address is withdrawn before it stops working.
//!
//! Agents withdraw when they see the `deletionTimestamp`; proxies forget a Service when the object is gone. The finalizer
//! is what lies between the two.

use std::collections::BTreeMap;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use speaker_config::model::DefaultClass;
use speaker_config::objects::{Cleanup, ObjectKey, Service};

use crate::ipam::{BGP_CLASS, L2_CLASS};

/// Classes whose addresses agents announce.
const ANNOUNCED: [&str; 2] = [BGP_CLASS, L2_CLASS];

/// Who is held, and how long yet.
#[derive(Debug, Clone)]
pub(super) struct Held {
    hold: Duration,
    default_class: DefaultClass,
    /// Services that are being deleted, and when they may go. The time begins when this leader sees it.
    until: BTreeMap<ObjectKey, Timestamp>,
}

impl Held {
    pub(super) fn new(hold: Duration, default_class: DefaultClass) -> Self {
        Self { hold, default_class, until: BTreeMap::new() }
    }

    /// A Service as the watch shows it now.
    pub(super) fn look(&mut self, service: &Service, now: Timestamp) {
        if service.deleting && service.cleanup == Cleanup::Ours {
            self.until.entry(service.key.clone()).or_insert(now + self.hold);
        } else {
            self.until.remove(&service.key);
        }
    }

    pub(super) fn gone(&mut self, key: &ObjectKey) {
        self.until.remove(key);
    }

    /// Whether the finalizer is to be set (`true`) or taken back; absent: it is as it should be. Somebody else's is
    /// left alone.
    pub(super) fn change(&self, service: &Service, now: Timestamp) -> Option<bool> {
        match service.cleanup {
            // "Finalizers can only be removed once deletion has begun."
            Cleanup::None => (self.wanted(service) && !service.deleting).then_some(true),
            Cleanup::Ours if service.deleting => {
                let over = self.until.get(&service.key).is_some_and(|until| *until <= now);
                (over || !self.wanted(service)).then_some(false)
            }
            Cleanup::Ours => (!self.wanted(service)).then_some(false),
            Cleanup::Others => None,
        }
    }

    fn wanted(&self, service: &Service) -> bool {
        let announced = match service.class.as_deref() {
            None => self.default_class != DefaultClass::NodeIpam,
            Some(class) => ANNOUNCED.contains(&class),
        };
        !self.hold.is_zero() && service.load_balancer && announced
    }

    /// Those whose time is over.
    pub(super) fn due(&self, now: Timestamp) -> Vec<ObjectKey> {
        self.until.iter().filter(|(_, until)| **until <= now).map(|(key, _)| key.clone()).collect()
    }

    /// When the next one's is, after `now`.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.values().copied().filter(|until| *until > now).min()
    }
}
