//! BFD of a peer.

use std::fmt::Write as _;

use speaker_core::view::{BfdAnnounced, BfdView, PeerSummary};

use super::table::uptime;

/// Said below the table of peers: a session that counts on BFD and does not have it.
pub(crate) fn missing(peer: &PeerSummary) -> Option<String> {
    let bfd = peer.bfd.as_ref().filter(|bfd| bfd.state.as_deref() != Some("Up") && !bfd.holds_bgp)?;
    if !peer.is_established() {
        return None;
    }
    let name = &peer.name;
    let why = match (&bfd.error, &bfd.last_down) {
        (Some(error), _) if bfd.state.is_none() => error.clone(),
        _ if bfd.remote_state.as_deref() == Some("AdminDown") => "the peer has switched it off".to_owned(),
        // A peer may say AdminDown for a while, and then nothing.
        (_, Some(down)) => down.reason.clone(),
        (_, None) => "the peer's has never been up".to_owned(),
    };
    Some(format!("{name} is up without BFD, so that the hold timer alone finds a failure: {why}\n"))
}

/// Part of `speaker peers NAME`.
pub(crate) fn session(bfd: &BfdView) -> String {
    let mut out = String::new();
    let hops = if bfd.multihop { "multihop" } else { "single hop" };
    match &bfd.state {
        Some(state) => {
            let _ = writeln!(out, "  BFD state = {state}, for {}, {hops}", uptime(bfd.state_seconds));
        }
        None => out.push_str("  BFD: no session\n"),
    }
    if let Some(error) = &bfd.error {
        let _ = writeln!(out, "    Error: {error}");
    }
    if let Some(most) = bfd.holds_bgp_milliseconds {
        let why = if bfd.state.as_deref() == Some("Up") { "has failed again and again" } else { "is down" };
        let _ = writeln!(out, "    BGP waits for {} s at most: BFD {why}", most.div_ceil(1000));
    }
    if let Some(local) = &bfd.local {
        let remote = bfd.remote.as_ref().map_or_else(|| "nothing heard".to_owned(), announced);
        let _ = writeln!(out, "    Announced: {}; by the peer: {remote}", announced(local));
    }
    let transmit =
        bfd.transmit_interval.map_or_else(|| "no packets".to_owned(), |t| format!("every {}", time(t)));
    let detection = bfd.detection_time.map_or_else(|| "-".to_owned(), time);
    let polling = if bfd.polling { ", a Poll Sequence is under way" } else { "" };
    let _ = writeln!(out, "    In force: {transmit}, detection time {detection}{polling}");
    let words = |words: &Option<String>| words.clone().unwrap_or_else(|| "none".to_owned());
    let _ = writeln!(
        out,
        "    Diagnostic: {}; of the peer: {}",
        words(&bfd.diagnostic),
        words(&bfd.remote_diagnostic)
    );
    if let Some(down) = &bfd.last_down {
        let _ = writeln!(out, "    Last down {} ago: {}", uptime(down.seconds_ago), down.reason);
    }
    let _ = writeln!(
        out,
        "    Up {} time(s), failed {}; packets {} sent, {} received",
        bfd.up_count, bfd.failure_count, bfd.packets_sent, bfd.packets_received
    );
    if !bfd.discarded.is_empty() {
        let each: Vec<String> = bfd.discarded.iter().map(|(why, count)| format!("{why} {count}")).collect();
        let _ = writeln!(out, "    Discarded on this node: {}", each.join(", "));
    }
    out
}

fn announced(side: &BfdAnnounced) -> String {
    let (tx, rx) = (time(side.desired_min_tx), time(side.required_min_rx));
    format!("transmit {tx}, receive {rx}, multiplier {}", side.detect_multiplier)
}

/// Microseconds as `speaker.yaml` writes times.
fn time(micros: u64) -> String {
    match micros {
        micros if micros % 1000 == 0 => format!("{}ms", micros / 1000),
        micros => format!("{micros}us"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn up() -> BfdView {
        serde_json::from_value(json!({
            "state": "Up", "stateSeconds": 75, "upCount": 2, "failureCount": 1, "holdsBgp": false,
            "holdsBgpMilliseconds": null, "multihop": false, "sourcePort": 50000, "localDiscriminator": 7,
            "remoteDiscriminator": 9, "transmitInterval": 300_000, "detectionTime": 900_000,
            "local": {"desiredMinTx": 300_000, "requiredMinRx": 300_000, "detectMultiplier": 3},
            "remote": {"desiredMinTx": 250_500, "requiredMinRx": 200_000, "detectMultiplier": 5},
            "remoteState": "Up", "remoteControlPlaneIndependent": false, "remoteDemand": false,
            "diagnostic": null, "remoteDiagnostic": "Control Detection Time Expired",
            "lastDown": {"secondsAgo": 80, "reason": "the peer signals Down"}, "polling": false,
            "packetsSent": 100, "packetsReceived": 90, "discarded": {"ttl": 3}, "error": null,
        }))
        .unwrap()
    }

    fn peer(state: &str, bfd: Option<BfdView>) -> PeerSummary {
        let mut summary: PeerSummary = serde_json::from_value(json!({
            "name": "tor", "address": "10.0.0.254", "description": null, "remoteAs": 64500, "localAs": 64501,
            "routerId": null, "state": state, "shutdown": null, "stateSeconds": 5, "upDownSeconds": null,
            "establishedCount": 0, "messagesReceived": 3, "messagesSent": 4, "inQueue": 0, "outQueue": 0,
            "received": [], "advertised": [], "learned": [], "lastError": null, "lastNote": null, "bfd": null,
        }))
        .unwrap();
        summary.bfd = bfd;
        summary
    }

    #[test]
    fn a_session_in_full() {
        assert_eq!(
            session(&up()),
            "  BFD state = Up, for 00:01:15, single hop\n    \
             Announced: transmit 300ms, receive 300ms, multiplier 3; by the peer: transmit 250500us, receive 200ms, multiplier 5\n    \
             In force: every 300ms, detection time 900ms\n    \
             Diagnostic: none; of the peer: Control Detection Time Expired\n    \
             Last down 00:01:20 ago: the peer signals Down\n    \
             Up 2 time(s), failed 1; packets 100 sent, 90 received\n    \
             Discarded on this node: ttl 3\n"
        );
    }

    #[test]
    fn a_hold_and_an_error_say_why() {
        let down = BfdView {
            state: Some("Down".to_owned()),
            holds_bgp: true,
            holds_bgp_milliseconds: Some(12_001),
            remote: None,
            transmit_interval: None,
            detection_time: None,
            polling: true,
            ..up()
        };
        let text = session(&down);
        assert!(text.contains("BGP waits for 13 s at most: BFD is down"), "{text}");
        assert!(text.contains("by the peer: nothing heard"), "{text}");
        assert!(
            text.contains("In force: no packets, detection time -, a Poll Sequence is under way"),
            "{text}"
        );
        let flapping = session(&BfdView { state: Some("Up".to_owned()), ..down });
        assert!(flapping.contains("BFD has failed again and again"), "{flapping}");
        let none = BfdView { state: None, error: Some("UDP port 3784 is taken".to_owned()), ..up() };
        assert!(session(&none).starts_with("  BFD: no session\n    Error: UDP port 3784 is taken\n"));
    }

    #[test]
    fn a_session_without_its_bfd_is_named() {
        let state = Some("Down".to_owned());
        let never = BfdView { state, up_count: 0, remote_state: None, last_down: None, ..up() };
        let off = BfdView { remote_state: Some("AdminDown".to_owned()), ..never.clone() };
        let failed = BfdView { last_down: up().last_down, ..never.clone() };
        let none = BfdView { state: None, error: Some("the port is taken".to_owned()), ..never.clone() };
        for (bfd, expected) in [
            (never.clone(), "the peer's has never been up"),
            (off, "the peer has switched it off"),
            (failed, "the peer signals Down"),
            (none, "the port is taken"),
        ] {
            let text = missing(&peer("Established", Some(bfd))).unwrap();
            assert!(text.starts_with("tor is up without BFD") && text.contains(expected), "{text}");
        }
        for quiet in [
            peer("Established", None),
            peer("Established", Some(up())),
            peer("Active", Some(never.clone())),
            peer("Established", Some(BfdView { holds_bgp: true, ..never })),
        ] {
            assert_eq!(missing(&quiet), None);
        }
    }
}
