//! BGP sessions as routers print them.

use std::fmt::Write as _;

use speaker_core::view::{
    CapabilityView, FamilyCount, LastError, LearnedView, PeerDetail, PeerSummary, VersionView,
};

use super::table::{left, render, right, uptime};

/// `speaker peers`.
pub(crate) fn peers(peers: &[PeerSummary], version: &VersionView, wide: bool) -> String {
    let mut out = String::new();
    if let (Some(id), Some(asn)) = (version.router_id, version.asn) {
        let _ = writeln!(out, "BGP router identifier {id}, local AS number {asn}\n");
    }
    if peers.is_empty() {
        out.push_str("no peer: this node has none configured, and no dynamic peer is connected\n");
        return out;
    }
    let mut columns = vec![
        left("Neighbor"),
        right("AS"),
        right("MsgRcvd"),
        right("MsgSent"),
        right("InQ"),
        right("OutQ"),
        right("Up/Down"),
        right("State/PfxRcd"),
        right("PfxSnt"),
    ];
    if wide {
        columns.extend([
            left("PfxRcd by family"),
            left("PfxSnt by family"),
            left("Description"),
            left("Last error"),
        ]);
    }
    let rows: Vec<Vec<String>> = peers.iter().map(|peer| peer_row(peer, wide)).collect();
    out.push_str(&render(&columns, &rows));
    let reasons: Vec<String> = peers.iter().filter_map(why_down).collect();
    let without: Vec<String> = peers.iter().filter_map(super::bfd::missing).collect();
    if !(reasons.is_empty() && without.is_empty()) {
        let _ = write!(out, "\n{}{}", reasons.concat(), without.concat());
    }
    out
}

/// Why a peer is not up, where something is known: whoever sees `Idle` asks just that.
fn why_down(peer: &PeerSummary) -> Option<String> {
    if peer.is_established() || peer.shutdown.is_some() {
        return None;
    }
    let told = [&peer.last_error, &peer.last_note].into_iter().flatten().max_by_key(|told| &told.at)?;
    let LastError { at, text, .. } = told;
    Some(format!("{} is down: {text} ({at})\n", peer.name))
}

fn peer_row(peer: &PeerSummary, wide: bool) -> Vec<String> {
    let up = peer.is_established();
    let state = match (up, &peer.shutdown) {
        (true, _) => total(&peer.received),
        (false, Some(_)) => "Idle (Admin)".to_owned(),
        (false, None) => peer.state.clone(),
    };
    let mut row = vec![
        format!("{}({})", peer.name, peer.address),
        peer.remote_as.map_or_else(|| "-".to_owned(), |asn| asn.to_string()),
        peer.messages_received.to_string(),
        peer.messages_sent.to_string(),
        peer.in_queue.to_string(),
        peer.out_queue.to_string(),
        peer.up_down_seconds.map_or_else(|| "never".to_owned(), uptime),
        state,
        if up { total(&peer.advertised) } else { "0".to_owned() },
    ];
    if wide {
        row.push(by_family(&peer.received));
        row.push(by_family(&peer.advertised));
        row.push(peer.description.clone().unwrap_or_default());
        row.push(
            peer.last_error.as_ref().map(|error| format!("{} {}", error.at, error.text)).unwrap_or_default(),
        );
    }
    row
}

fn total(counts: &[FamilyCount]) -> String {
    let more = if counts.iter().any(|count| count.more) { ">" } else { "" };
    format!("{more}{}", counts.iter().map(|count| count.count).sum::<u64>())
}

fn by_family(counts: &[FamilyCount]) -> String {
    let each = counts.iter().map(|c| format!("{} {}{}", c.family, if c.more { ">" } else { "" }, c.count));
    each.collect::<Vec<_>>().join(", ")
}

/// What waits for the next session.
fn pending(keys: &[String]) -> Option<String> {
    let verb = if keys.len() == 1 { "waits" } else { "wait" };
    let all = keys.join(", ");
    (!keys.is_empty())
        .then(|| format!("  Changed since the session came up, and {verb} for the next one: {all}"))
}

/// `speaker peers NAME`.
pub(crate) fn peer(detail: &PeerDetail) -> String {
    let mut out = String::new();
    let peer = &detail.summary;
    let [asn, local] = [peer.remote_as, peer.local_as]
        .map(|asn| asn.map_or_else(|| "unknown".to_owned(), |asn| asn.to_string()));
    let kind = match detail.internal {
        Some(true) => "internal link",
        Some(false) => "external link",
        None => "not negotiated",
    };
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let found = peer.neighbor_address.as_ref().map(|found| format!(" ({found})")).unwrap_or_default();
    let (name, address) = (&peer.name, &peer.address);
    line(format!("BGP neighbor {name} at {address}{found}, remote AS {asn}, local AS {local}, {kind}"));
    if let Some(description) = &peer.description {
        line(format!("  Description: {description}"));
    }
    if let Some(group) = &detail.group {
        line(format!("  Peer group: {group}"));
    }
    line(format!("  BGP state = {}, for {}", peer.state, uptime(peer.state_seconds)));
    match peer.shutdown.as_deref() {
        Some("") => line("  Administratively shut down".to_owned()),
        Some(message) => line(format!("  Administratively shut down: {message}")),
        None => {}
    }
    if let Some(id) = peer.router_id {
        line(format!("  Remote router ID {id}"));
    }
    if let Some(address) = &detail.local_address {
        line(format!("  Local address {address}"));
    }
    let keepalive = detail.keepalive.map_or_else(|| "off".to_owned(), |seconds| format!("{seconds} s"));
    line(format!("  Hold time {} s, keepalive {keepalive}", detail.hold_time));
    pending(&detail.pending).into_iter().for_each(&mut line);
    if let Some(timer) = &detail.next_timer {
        line(format!("  Next timer {} in {:.1} s", timer.name, precise(timer.milliseconds)));
    }
    let on = |on: bool| if on { "on" } else { "off" };
    line(format!("  TTL: {}; TCP MD5: {}; TCP-AO: {}", detail.ttl, on(detail.md5), on(detail.tcp_ao)));
    line(format!("  Established {} time(s)", peer.established_count));
    if let Some(error) = &peer.last_error {
        line(format!("  Last error {}: {}", error.at, error.text));
        if let Some(message) = &error.message {
            line(format!("  The malformed message: {message}"));
        }
    }
    if let Some(note) = &peer.last_note {
        line(format!("  Last note {}: {}", note.at, note.text));
    }
    out.push_str(&peer.bfd.as_ref().map(super::bfd::session).unwrap_or_default());
    out.push_str(&capabilities(detail));
    out.push_str(&messages(detail));
    out.push_str(&routes(peer));
    if let Some(seen) = &detail.propagation {
        let [median, p99, longest] =
            [seen.median_microseconds, seen.p99_microseconds, seen.longest_microseconds].map(precise);
        let _ = writeln!(
            out,
            "  {} change(s) written within {median:.2} ms (median), {p99:.2} ms (99 %), {longest:.2} ms (all)",
            seen.changes
        );
    }
    out.push_str(&held(detail));
    out
}

/// What the peer is not told.
fn held(detail: &PeerDetail) -> String {
    let mut out = String::new();
    for held in &detail.held {
        let _ = writeln!(out, "  held back {}: {}", held.prefix, held.reason);
    }
    if detail.held_count > detail.held.len() {
        let more = detail.held_count - detail.held.len();
        let _ = writeln!(out, "  and {more} more; `speaker explain PREFIX` says why of each");
    }
    out
}

/// Prefixes both ways, and what is learned of them.
fn routes(peer: &PeerSummary) -> String {
    let mut out = String::new();
    for count in &peer.advertised {
        let received = peer.received.iter().find(|received| received.family == count.family);
        let received = received.map_or_else(|| "0".to_owned(), |count| total(std::slice::from_ref(count)));
        let _ = writeln!(out, "  {}: {} advertised, {received} received", count.family, count.count);
    }
    for LearnedView { family, count } in &peer.learned {
        let stale = if count.stale > 0 { format!(", {} stale (S)", count.stale) } else { String::new() };
        let more = if count.beyond { "; more than maxPrefixes came, which are not kept" } else { "" };
        let _ = writeln!(out, "  {family}: {} learned, {} used{stale}{more}", count.kept, count.used);
    }
    out
}

/// Thousandths.
#[expect(clippy::cast_precision_loss, reason = "a time of 2^52 ms is beyond any display")]
fn precise(thousandths: u64) -> f64 {
    thousandths as f64 / 1000.0
}

fn capabilities(detail: &PeerDetail) -> String {
    let all: std::collections::BTreeSet<(u8, &str)> = detail
        .our_capabilities
        .iter()
        .chain(&detail.peer_capabilities)
        .map(|capability| (capability.code, capability.name.as_str()))
        .collect();
    if all.is_empty() {
        return String::new();
    }
    let values = |side: &[CapabilityView], code: u8| {
        let found: Vec<&str> = side.iter().filter(|c| c.code == code).map(|c| c.value.as_str()).collect();
        match (found.is_empty(), found.iter().all(|value| value.is_empty())) {
            (true, _) => "-".to_owned(),
            (false, true) => "yes".to_owned(),
            (false, false) => found.join(", "),
        }
    };
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|(code, name)| {
            vec![
                format!("    {name} ({code})"),
                values(&detail.our_capabilities, code),
                values(&detail.peer_capabilities, code),
            ]
        })
        .collect();
    render(&[left("  Capabilities"), left("advertised"), left("received")], &rows)
}

fn messages(detail: &PeerDetail) -> String {
    let (sent, received) = (&detail.sent_by_kind, &detail.received_by_kind);
    let row = |name: &str, sent: u64, received: u64| {
        vec![format!("    {name}"), sent.to_string(), received.to_string()]
    };
    render(
        &[left("  Messages"), right("sent"), right("received")],
        &[
            row("OPEN", sent.opens, received.opens),
            row("UPDATE", sent.updates, received.updates),
            row("NOTIFICATION", sent.notifications, received.notifications),
            row("KEEPALIVE", sent.keepalives, received.keepalives),
            row("ROUTE-REFRESH", sent.route_refreshes, received.route_refreshes),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, state: &str) -> PeerSummary {
        serde_json::from_value(serde_json::json!({
            "name": name, "address": "10.0.0.254", "description": null, "remoteAs": 64500, "localAs": 64501,
            "routerId": null, "state": state, "shutdown": null, "stateSeconds": 5, "upDownSeconds": null,
            "establishedCount": 0, "messagesReceived": 3, "messagesSent": 4, "inQueue": 0, "outQueue": 0,
            "received": [], "advertised": [], "learned": [], "lastError": null, "lastNote": null,
        }))
        .unwrap()
    }

    fn version() -> VersionView {
        serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "node": "n1", "asn": 64501, "routerId": "10.0.0.1", "started": "",
            "waitingFor": [], "listeners": [], "configErrors": [], "restartNeeded": [], "faults": [], "kernel": [], "bmp": [],
        }))
        .unwrap()
    }

    fn told(at: &str, text: &str) -> LastError {
        LastError { at: at.to_owned(), text: text.to_owned(), message: None }
    }

    #[test]
    fn state_or_count_and_uptime_are_what_routers_show() {
        let count = |count, more| FamilyCount { family: bgp_proto::types::Family::Ipv4Unicast, count, more };
        let up = PeerSummary {
            up_down_seconds: Some(3671),
            received: vec![count(10_000, true)],
            learned: Vec::new(),
            advertised: vec![count(2, false), count(1, false)],
            ..peer("up", "Established")
        };
        let never = peer("never", "Active");
        let down = PeerSummary { up_down_seconds: Some(60), ..peer("down", "Idle") };
        let off = PeerSummary { shutdown: Some(String::new()), ..peer("off", "Idle") };
        let table = peers(&[up, never, down, off], &version(), false);
        let tail = |name: &str| {
            let line = table.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().skip(6).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(tail("up("), "01:01:11 >10000 3");
        assert_eq!(tail("never("), "never Active 0");
        assert_eq!(tail("down("), "00:01:00 Idle 0");
        assert_eq!(tail("off("), "never Idle (Admin) 0");
        assert!(!table.contains("is down"), "nothing is known of why: {table}");
    }

    #[test]
    fn the_latest_reason_stands_below_the_table() {
        let refused = told("2026-01-01T00:00:00Z", "received Cease");
        let unreachable = told("2026-01-01T00:00:01Z", "Connection refused");
        let down = PeerSummary {
            last_error: Some(refused.clone()),
            last_note: Some(unreachable),
            ..peer("down", "Active")
        };
        let up = PeerSummary { last_error: Some(refused.clone()), ..peer("up", "Established") };
        let off = PeerSummary {
            last_error: Some(refused),
            shutdown: Some("work".to_owned()),
            ..peer("off", "Idle")
        };
        let table = peers(&[down, up, off], &version(), false);
        let reasons: Vec<&str> = table.lines().filter(|line| line.contains(" is down: ")).collect();
        assert_eq!(reasons, ["down is down: Connection refused (2026-01-01T00:00:01Z)"]);
    }
}
