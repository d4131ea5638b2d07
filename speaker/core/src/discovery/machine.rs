//! One interface: when to say what, and whom to believe. Time is an argument.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use bgp_proto::random::Random;
use bgp_proto::types::Timestamp;

use super::packet::{self, Heard};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `MinRtrAdvInterval` and `MaxRtrAdvInterval` (RFC 4861 §6.2.1) while nobody is known at the other end, in milliseconds:
/// the least that they may be.
const SEEKING: (u32, u32) = (3_000, 4_000);
/// The same afterwards. Routers advertise on unnumbered interfaces every 10 s.
const SETTLED: (u32, u32) = (3_300, 10_000);
/// "Router Advertisements sent in response to a Router Solicitation MUST be delayed by a random time between 0 and
/// `MAX_RA_DELAY_TIME` seconds" (§6.2.6), in milliseconds. So is the first one, against links that come up together.
const ANSWER_DELAY: u32 = 500;
/// "consecutive Router Advertisements sent to the all-nodes multicast address MUST be rate limited to no more than one
/// advertisement every `MIN_DELAY_BETWEEN_RAS` seconds" (§6.2.6).
const LEAST_BETWEEN: Duration = seconds(3);
/// `MAX_RTR_SOLICITATION_DELAY` (§6.3.7), in milliseconds.
const SOLICIT_DELAY: u32 = 1_000;
/// `RTR_SOLICITATION_INTERVAL`: after so long whoever was asked would have answered.
const ANSWERED: Duration = seconds(4);
/// Solicitations are repeated after 4 s, then less and less often (RFC 7559 §2), in milliseconds. That allows an hour at
/// most; on a link between two routers one packet a minute costs nothing.
const SOLICIT_AGAIN: (u32, u32) = (4_000, 60_000);
/// The longest `MaxRtrAdvInterval` there is (§6.2.1): whoever says nothing for longer, and gave no lifetime, is gone.
const LONGEST_INTERVAL: Duration = seconds(1_800);
/// A router beside the neighbor is forgotten after so long.
const FADES: Duration = seconds(60);
/// No link between two routers has more; what comes beyond is passed over.
const MOST_ROUTERS: usize = 8;

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// [`packet::advertisement`] to [`packet::ALL_NODES`].
    Advertisement,
    /// [`packet::solicitation`] to [`packet::ALL_ROUTERS`].
    Solicitation,
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The router at the other end.
    pub neighbor: Option<Ipv6Addr>,
    /// Routers beside it: the link is none between two, and which of them is meant is not known.
    pub others: Vec<Ipv6Addr>,
}

#[derive(Debug, Clone, Copy)]
struct Router {
    heard: Timestamp,
    until: Timestamp,
}

/// One interface that is up.
#[derive(Debug)]
pub struct Discovery {
    random: Random,
    /// Our link-local address. Without one nothing is said.
    own: Option<Ipv6Addr>,
    routers: BTreeMap<Ipv6Addr, Router>,
    neighbor: Option<Ipv6Addr>,
    /// Somebody else was heard, and until then the neighbor has to show that it is there still.
    challenged: Option<Timestamp>,
    advertised: Option<Timestamp>,
    advertise: Option<Timestamp>,
    solicit: Option<Timestamp>,
    /// What was waited for before the last solicitation, in milliseconds.
    solicit_pause: u32,
}

impl Discovery {
    /// Nobody is known. The same `seed` gives the same delays.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            own: None,
            routers: BTreeMap::new(),
            neighbor: None,
            challenged: None,
            advertised: None,
            advertise: None,
            solicit: None,
            solicit_pause: 0,
        }
    }

    /// Our link-local address on the interface, or that it has none at present.
    pub fn set_own(&mut self, now: Timestamp, own: Option<Ipv6Addr>) {
        if own == self.own {
            return;
        }
        self.own = own;
        if let Some(own) = own {
            self.forget(own);
            self.advertise_soon(now);
            self.seek(now);
        } else {
            (self.advertise, self.solicit) = (None, None);
        }
    }

    /// An ICMPv6 message that came in on the interface. Whether it was one to believe.
    pub fn hear(&mut self, now: Timestamp, source: Ipv6Addr, hop_limit: u8, message: &[u8]) -> bool {
        if self.own == Some(source) {
            // A switch that reflects makes us no neighbor of ourselves.
            return false;
        }
        match packet::read(source, hop_limit, message) {
            None => return false,
            Some(Heard::Solicitation) => self.advertise_soon(now),
            Some(Heard::Advertisement { lifetime }) => self.advertised_by(now, source, lifetime),
        }
        true
    }

    fn advertised_by(&mut self, now: Timestamp, source: Ipv6Addr, lifetime: Duration) {
        let lifetime = if lifetime.is_zero() { LONGEST_INTERVAL } else { lifetime };
        let router = Router { heard: now, until: now + lifetime };
        if self.routers.len() >= MOST_ROUTERS && !self.routers.contains_key(&source) {
            return;
        }
        self.routers.insert(source, router);
        match self.neighbor {
            None => {
                self.neighbor = Some(source);
                self.solicit = None;
            }
            Some(known) if known == source => self.challenged = None,
            Some(known) => {
                let heard = self.routers.get(&known).map_or(Timestamp::ZERO, |router| router.heard);
                if self.challenged.is_none() && now.since(heard) >= ANSWERED && self.own.is_some() {
                    // Another router, or the same one with another address? Who answers is there.
                    self.challenged = Some(now + ANSWERED);
                    self.solicit = Some(now);
                }
            }
        }
    }

    /// When [`Self::expire`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let fading = self.routers.iter().map(|(address, router)| self.gone_at(*address, *router));
        [self.advertise, self.solicit, self.challenged].into_iter().flatten().chain(fading).min()
    }

    fn gone_at(&self, address: Ipv6Addr, router: Router) -> Timestamp {
        if self.neighbor == Some(address) { router.until } else { router.until.min(router.heard + FADES) }
    }

    /// Forgets who is gone; what is to be said now.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Say> {
        if self.challenged.is_some_and(|until| until <= now) {
            self.challenged = None;
            if let Some(silent) = self.neighbor {
                self.forget(silent);
            }
        }
        let gone: Vec<Ipv6Addr> = self
            .routers
            .iter()
            .filter(|(address, router)| self.gone_at(**address, **router) <= now)
            .map(|(address, _)| *address)
            .collect();
        for address in gone {
            self.forget(address);
        }
        if self.neighbor.is_none() && self.solicit.is_none() && self.own.is_some() {
            self.seek(now);
        }
        let mut said = Vec::new();
        if self.advertise.is_some_and(|at| at <= now) {
            said.push(Say::Advertisement);
            self.advertised = Some(now);
            let (least, most) = if self.neighbor.is_some() { SETTLED } else { SEEKING };
            self.advertise = Some(now + self.within(least, most));
        }
        if self.solicit.is_some_and(|at| at <= now) {
            said.push(Say::Solicitation);
            self.solicit = self.neighbor.is_none().then(|| now + self.next_pause());
        }
        said
    }

    /// Who is there.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let others = self.routers.keys().copied().filter(|address| Some(*address) != self.neighbor);
        Sight { neighbor: self.neighbor, others: others.collect() }
    }

    /// It is no router, or no longer. Where it was the neighbor, whoever was heard last takes its place.
    fn forget(&mut self, address: Ipv6Addr) {
        self.routers.remove(&address);
        if self.neighbor == Some(address) {
            self.challenged = None;
            let latest = self.routers.iter().max_by_key(|(_, router)| router.heard);
            self.neighbor = latest.map(|(address, _)| *address);
        }
    }

    /// Asks from the beginning.
    fn seek(&mut self, now: Timestamp) {
        self.solicit_pause = 0;
        self.solicit = Some(now + self.within(0, SOLICIT_DELAY));
    }

    /// "RT = 2*RTprev + RAND*RTprev" (RFC 8415 §15), RAND between -0.1 and 0.1.
    fn next_pause(&mut self) -> Duration {
        let (first, longest) = SOLICIT_AGAIN;
        let pause = if self.solicit_pause == 0 { first } else { self.solicit_pause.saturating_mul(2) };
        let pause = pause.min(longest);
        self.solicit_pause = pause;
        self.within(pause - pause / 10, pause + pause / 10)
    }

    /// With the delay of an answer, and no sooner after the last one than is allowed.
    fn advertise_soon(&mut self, now: Timestamp) {
        if self.own.is_none() {
            return;
        }
        let soon = self.within(0, ANSWER_DELAY);
        let allowed = self.advertised.map_or(now, |last| (last + LEAST_BETWEEN).max(now));
        let at = allowed + soon;
        self.advertise = Some(self.advertise.map_or(at, |planned| planned.min(at)));
    }

    fn within(&mut self, least: u32, most: u32) -> Duration {
        Duration::from_millis(self.random.within(least, most).into())
    }
}

#[cfg(test)]
mod tests;
