//! Which capabilities we announce, and with which a peer that refuses them is tried next.

use super::{SessionConfig, State};
use crate::types::Family;
use crate::wire::{Capability, GracefulRestart, Notification, codes};

/// So many OPENs go out with fewer capabilities before all are tried again.
pub(super) const TRIES_WITH_FEWER: u32 = 16;

/// How much is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Rung {
    /// What is configured.
    #[default]
    All,
    /// Families, route refresh, four-octet AS numbers.
    Core,
    /// Families alone, and a four-octet AS number that cannot be said otherwise.
    Families,
    /// Nothing: RFC 4271 as it stands.
    Nothing,
}

/// "a BGP speaker determines that its peer doesn't support capabilities … SHOULD attempt to re-establish a
/// BGP connection with the peer without sending to the peer the Capabilities Optional Parameter"
/// (RFC 5492 §3). Some peers refuse one capability and take the others, so they go one rung at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Fallback {
    rung: Rung,
    /// The peer bounced a long message: RFC 8654 is not offered again.
    no_extended_message: bool,
    tries_left: u32,
}

impl Fallback {
    /// Everything is offered again.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// An OPEN went out.
    pub(super) fn tried(&mut self) {
        if self.rung == Rung::All && !self.no_extended_message {
            return;
        }
        self.tries_left = self.tries_left.saturating_sub(1);
        if self.tries_left == 0 {
            self.reset();
        }
    }

    /// The peer ended a connection in `state` with `notification`. Says what is left out from now on.
    pub(super) fn refused(
        &mut self,
        config: &SessionConfig,
        state: State,
        notification: &Notification,
    ) -> Option<String> {
        match (notification.code, notification.subcode) {
            // A peer that has no RFC 8654, or reads it as symmetric, bounces a long message with 1/2.
            (codes::MESSAGE_HEADER, codes::HEADER_BAD_LENGTH)
                if config.extended_message && !self.no_extended_message =>
            {
                self.no_extended_message = true;
                self.tries_left = TRIES_WITH_FEWER;
                Some(
                    "the peer refused a message's length; extended messages are not offered again".to_owned(),
                )
            }
            (
                codes::OPEN,
                codes::OPEN_UNSPECIFIC
                | codes::OPEN_UNSUPPORTED_OPTIONAL_PARAMETER
                | codes::OPEN_UNSUPPORTED_CAPABILITY,
            ) if matches!(state, State::OpenSent | State::OpenConfirm) => {
                self.step_down(config);
                self.tries_left = TRIES_WITH_FEWER;
                let codes: Vec<u8> = self.offer(config, true).iter().map(Capability::code).collect();
                Some(format!("the peer refused our OPEN; the next one has the capabilities {codes:?}"))
            }
            _ => None,
        }
    }

    /// The next rung that says something else than the present one; after the last, all again.
    fn step_down(&mut self, config: &SessionConfig) {
        let before = self.offer(config, true);
        for _ in 0..4 {
            self.rung = match self.rung {
                Rung::All => Rung::Core,
                Rung::Core => Rung::Families,
                Rung::Families if can_be_silent(config) => Rung::Nothing,
                Rung::Families | Rung::Nothing => Rung::All,
            };
            if self.offer(config, true) != before {
                return;
            }
        }
    }

    /// What goes into our OPEN. `came_up`: the session has been established since its start, so that R, which
    /// says that the sender has restarted, is no longer true (RFC 4724 §3).
    pub(super) fn offer(&self, config: &SessionConfig, came_up: bool) -> Vec<Capability> {
        let mut offer = Vec::new();
        if self.rung != Rung::Nothing {
            offer.extend(config.families.iter().map(|family| Capability::Multiprotocol(family.afi_safi())));
        }
        if matches!(self.rung, Rung::All | Rung::Core) {
            offer.push(Capability::RouteRefresh);
        }
        if self.rung == Rung::All {
            self.offer_options(config, came_up, &mut offer);
        }
        let wide = config.local_asn.get() > u32::from(u16::MAX);
        if matches!(self.rung, Rung::All | Rung::Core) || (self.rung == Rung::Families && wide) {
            offer.push(Capability::FourOctetAsn(config.local_asn));
        }
        offer
    }

    fn offer_options(&self, config: &SessionConfig, came_up: bool, offer: &mut Vec<Capability>) {
        if config.extended_next_hop && config.families.contains(Family::Ipv4Unicast) {
            offer.push(Capability::ExtendedNextHop(vec![(Family::Ipv4Unicast.afi_safi(), 2)]));
        }
        if config.extended_message && !self.no_extended_message {
            offer.push(Capability::ExtendedMessage);
        }
        offer.extend(config.role.map(Capability::Role));
        offer_restart(config, came_up, offer);
        let add_path = |family: &Family| *config.add_path.get(*family) & 3;
        let paths: Vec<_> = config
            .families
            .iter()
            .filter(|family| add_path(family) != 0)
            .map(|family| (family.afi_safi(), add_path(&family)))
            .collect();
        if !paths.is_empty() {
            offer.push(Capability::AddPath(paths));
        }
        offer.push(Capability::EnhancedRouteRefresh);
        if let Some(host) = &config.host_name {
            offer.push(Capability::Fqdn { host: host.clone(), domain: String::new() });
        }
    }
}

/// Our own graceful restart, and that we wait for the peer in its restart: "When a sender of this capability does not
/// include any <AFI, SAFI> in the capability, it means that the sender is not capable of preserving its forwarding
/// state during BGP restart, but supports procedures for the Receiving Speaker" (RFC 4724 §3). Who does neither says by
/// the same form that End-of-RIB is sent and understood: FRR up to 10.0 sends it to nobody else, and answers no
/// ROUTE-REFRESH before it where RFC 7313 is negotiated.
fn offer_restart(config: &SessionConfig, came_up: bool, offer: &mut Vec<Capability>) {
    let restart = match config.graceful_restart {
        Some(restart) => GracefulRestart {
            restarted: restart.restarted && !came_up,
            notification: true,
            restart_time: restart.restart_time.min(4095),
            families: config.families.iter().map(|f| (f.afi_safi(), restart.forwarding_kept)).collect(),
        },
        // Without the N bit where nothing is kept: RFC 8538 is then not negotiated.
        None => GracefulRestart { notification: config.helper, ..GracefulRestart::default() },
    };
    offer.push(Capability::GracefulRestart(restart));
    // Only beside the Graceful Restart Capability, without which it has no effect (RFC 9494 §4.1).
    let own = config.graceful_restart.and_then(|own| Some((own.forwarding_kept, own.long_lived?)));
    match own {
        Some((forwarding_kept, time)) => offer.push(long_lived(config, forwarding_kept, time)),
        None if config.helper => offer.push(Capability::LongLivedGracefulRestart(Vec::new())),
        None => {}
    }
}

/// F is the highest bit of each family's flags; the time has 24 bits (RFC 9494 §3.1).
fn long_lived(config: &SessionConfig, forwarding_kept: bool, time: u32) -> Capability {
    let flags = u8::from(forwarding_kept) << 7;
    let families = config.families.iter().map(|family| (family.afi_safi(), flags, time.min(0xff_ffff)));
    Capability::LongLivedGracefulRestart(families.collect())
}

/// Without capabilities a session carries IPv4 unicast and two-octet AS numbers.
fn can_be_silent(config: &SessionConfig) -> bool {
    config.families.iter().eq([Family::Ipv4Unicast]) && config.local_asn.get() <= u32::from(u16::MAX)
}

#[cfg(test)]
mod tests;
