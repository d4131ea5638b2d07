//! BFD as operators see it.

use std::time::Duration;

use bgp_proto::bfd::{Announced, Diagnostic};
use bgp_proto::types::Timestamp;
use speaker_core::view::{BfdAnnounced, BfdDown, BfdView};

use crate::io::peer;

/// The shape of `-o json`.
pub(super) fn view(seen: &peer::BfdView, now: Timestamp) -> BfdView {
    let session = seen.port.session;
    let remote = session.and_then(|session| session.peer);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let announced = |announced: Announced| BfdAnnounced {
        desired_min_tx: micros(announced.desired_min_tx),
        required_min_rx: micros(announced.required_min_rx),
        detect_multiplier: announced.detect_multiplier,
    };
    let words = |diagnostic: Diagnostic| (diagnostic != Diagnostic::None).then(|| diagnostic.to_string());
    let counts = session.map(|session| session.counts).unwrap_or_default();
    BfdView {
        state: session.map(|session| session.state.to_string()),
        state_seconds: session.map_or(0, |session| now.since(session.since).as_secs()),
        up_count: counts.ups,
        failure_count: counts.failures,
        holds_bgp: seen.held_until.is_some(),
        holds_bgp_milliseconds: seen
            .held_until
            .map(|until| u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX)),
        multihop: seen.port.multihop,
        source_port: seen.port.port,
        local_discriminator: session.map(|session| session.local_discriminator),
        remote_discriminator: remote.map(|packet| packet.my_discriminator.get()),
        transmit_interval: session.and_then(|session| session.transmit).map(micros),
        detection_time: session.and_then(|session| session.detection_time).map(micros),
        local: session.map(|session| announced(session.ours)),
        remote: remote.map(|packet| announced(packet.announced())),
        remote_state: remote.map(|packet| packet.state.to_string()),
        remote_control_plane_independent: remote.map(|packet| packet.control_plane_independent),
        remote_demand: remote.map(|packet| packet.demand),
        diagnostic: session.and_then(|session| words(session.diagnostic)),
        remote_diagnostic: remote.and_then(|packet| words(packet.diagnostic)),
        last_down: session.and_then(|session| session.last_down).map(|(at, change)| BfdDown {
            seconds_ago: now.since(at).as_secs(),
            reason: change.cause.to_string(),
        }),
        polling: session.is_some_and(|session| session.polling),
        packets_sent: counts.sent,
        packets_received: counts.received,
        discarded: seen.discarded.iter().map(|(discard, count)| (discard.to_string(), *count)).collect(),
        error: seen.port.error.clone(),
    }
}
