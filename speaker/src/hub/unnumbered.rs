//! Peers that are named by an interface. This version has no session with them; it says so where peers are shown.

use bgp_proto::session::{PeerAsn, State};
use bgp_proto::types::Asn;
use speaker_config::model::{Peer, PeerAddress, SpeakerConfig};
use speaker_config::objects::UnixSeconds;
use speaker_core::rfc3339;
use speaker_core::view::{LastError, MessageCounts, PeerDetail, PeerSummary};
use speaker_core::world::EffectivePeer;

const WHY: &str = "peers by interface are not in this version: write the peer's address";

/// Such a peer of this node.
#[derive(Debug, Clone)]
pub(super) struct Unnumbered {
    peer: Peer,
    interface: String,
    local_as: Option<Asn>,
    since: UnixSeconds,
}

/// Those that this node is to have.
pub(super) fn unnumbered(
    config: &SpeakerConfig,
    peers: &[EffectivePeer],
    now: UnixSeconds,
) -> Vec<Unnumbered> {
    let all = peers.iter().filter_map(|EffectivePeer { peer, .. }| {
        let PeerAddress::Interface(interface) = &peer.address else { return None };
        Some(Unnumbered {
            peer: peer.clone(),
            interface: interface.clone(),
            local_as: peer.settings.local_asn.or(config.router.asn),
            since: now,
        })
    });
    all.collect()
}

impl Unnumbered {
    pub(super) fn name(&self) -> &str {
        &self.peer.name
    }

    /// Its line in `speaker peers`.
    pub(super) fn summary(&self) -> PeerSummary {
        let settings = &self.peer.settings;
        PeerSummary {
            name: self.peer.name.clone(),
            address: self.interface.clone(),
            description: self.peer.description.clone(),
            remote_as: match settings.asn {
                PeerAsn::Exact(asn) => Some(asn),
                PeerAsn::External | PeerAsn::Internal | PeerAsn::Any => None,
            },
            local_as: self.local_as,
            router_id: None,
            state: format!("{:?}", State::Idle),
            shutdown: settings.shutdown.clone(),
            state_seconds: u64::try_from(super::unix_now() - self.since).unwrap_or_default(),
            up_down_seconds: None,
            established_count: 0,
            messages_received: 0,
            messages_sent: 0,
            in_queue: 0,
            out_queue: 0,
            received: Vec::new(),
            advertised: Vec::new(),
            last_error: Some(LastError { at: rfc3339(self.since), text: WHY.to_owned() }),
            last_note: None,
            bfd: None,
        }
    }

    /// `speaker peers NAME`.
    pub(super) fn detail(&self) -> PeerDetail {
        let settings = &self.peer.settings;
        PeerDetail {
            summary: self.summary(),
            group: self.peer.group.clone(),
            local_address: None,
            internal: None,
            hold_time: settings.hold.seconds(),
            keepalive: settings.keepalive.or(settings.hold.keepalive()).map(|time| time.as_secs()),
            ttl: super::answers::ttl(settings.ttl),
            md5: settings.password.is_some(),
            families: Vec::new(),
            our_capabilities: Vec::new(),
            peer_capabilities: Vec::new(),
            received_by_kind: MessageCounts::default(),
            sent_by_kind: MessageCounts::default(),
            next_timer: None,
            propagation: None,
            held: Vec::new(),
        }
    }
}
