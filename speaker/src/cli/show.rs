//! Tables from the daemon's answers.

use std::fmt::Write as _;

use speaker_core::view::{
    CapabilityView, Explanation, FamilyCount, GateView, PeerDetail, PeerSummary, PoolView, PrefixStory,
    RouteState, ServiceView, VersionView,
};

use super::table::{Column, left, render, right, uptime};

/// `speaker peers`.
pub(crate) fn peers(peers: &[PeerSummary], version: &VersionView, wide: bool) -> String {
    let mut out = String::new();
    if let (Some(id), Some(asn)) = (version.router_id, version.asn) {
        let _ = writeln!(out, "BGP router identifier {id}, local AS number {asn}\n");
    }
    if peers.is_empty() {
        out.push_str("no peer is configured\n");
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
    out
}

fn peer_row(peer: &PeerSummary, wide: bool) -> Vec<String> {
    let up = peer.state == "Established";
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
        if up || peer.messages_received > 0 { uptime(peer.state_seconds) } else { "never".to_owned() },
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

/// `speaker peers NAME`.
pub(crate) fn peer(detail: &PeerDetail) -> String {
    let mut out = String::new();
    let peer = &detail.summary;
    let asn = peer.remote_as.map_or_else(|| "unknown".to_owned(), |asn| asn.to_string());
    let local = peer.local_as.map_or_else(|| "unknown".to_owned(), |asn| asn.to_string());
    let kind = match detail.internal {
        Some(true) => "internal link",
        Some(false) => "external link",
        None => "not negotiated",
    };
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "BGP neighbor {} at {}, remote AS {asn}, local AS {local}, {kind}",
        peer.name, peer.address
    ));
    if let Some(description) = &peer.description {
        line(format!("  Description: {description}"));
    }
    if let Some(group) = &detail.group {
        line(format!("  Peer group: {group}"));
    }
    line(format!("  BGP state = {}, for {}", peer.state, uptime(peer.state_seconds)));
    if let Some(message) = &peer.shutdown {
        line(format!("  Administratively shut down: {message:?}"));
    }
    if let Some(id) = peer.router_id {
        line(format!("  Remote router ID {id}"));
    }
    if let Some(address) = &detail.local_address {
        line(format!("  Local address {address}"));
    }
    let keepalive = detail.keepalive.map_or_else(|| "off".to_owned(), |seconds| format!("{seconds} s"));
    line(format!("  Hold time {} s, keepalive {keepalive}", detail.hold_time));
    if let Some(timer) = &detail.next_timer {
        line(format!("  Next timer {} in {:.1} s", timer.name, precise(timer.milliseconds)));
    }
    line(format!("  TTL: {}; TCP MD5: {}", detail.ttl, if detail.md5 { "on" } else { "off" }));
    line(format!("  Established {} time(s)", detail.established_count));
    if let Some(error) = &peer.last_error {
        line(format!("  Last error {}: {}", error.at, error.text));
    }
    out.push_str(&capabilities(detail));
    out.push_str(&messages(detail));
    for count in &peer.advertised {
        let received = peer.received.iter().find(|received| received.family == count.family);
        let received = received.map_or_else(|| "0".to_owned(), |count| total(std::slice::from_ref(count)));
        let _ = writeln!(out, "  {}: {} advertised, {received} received", count.family, count.count);
    }
    for held in &detail.held {
        let _ = writeln!(out, "  held back {}: {}", held.prefix, held.reason);
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "a timer of 2^52 ms is beyond any display")]
fn precise(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
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

/// `speaker pools`.
pub(crate) fn pools(pools: &[PoolView], wide: bool) -> String {
    if pools.is_empty() {
        return "no pool\n".to_owned();
    }
    let mut columns = vec![
        left("NAME"),
        left("DISABLED"),
        left("CONFLICTING"),
        right("IPS AVAILABLE"),
        right("USED"),
        left("BLOCKS"),
        left("ROUTES"),
    ];
    if wide {
        columns.push(left("CONDITIONS"));
    }
    let rows: Vec<Vec<String>> = pools
        .iter()
        .map(|pool| {
            let conflict =
                pool.conditions.iter().find(|condition| condition.kind == "cilium.io/PoolConflict");
            let mut row = vec![
                pool.name.clone(),
                pool.disabled.to_string(),
                conflict.map(|condition| condition.status.clone()).unwrap_or_default(),
                pool.available.clone(),
                pool.used.clone(),
                pool.blocks.join("\n"),
                routes(&pool.routes),
            ];
            if wide {
                row.push(conditions(&pool.conditions));
            }
            row
        })
        .collect();
    render(&columns, &rows)
}

/// `speaker services`.
pub(crate) fn services(services: &[ServiceView], wide: bool) -> String {
    if services.is_empty() {
        return "no Service of type LoadBalancer\n".to_owned();
    }
    let mut columns: Vec<Column> = vec![
        left("NAMESPACE"),
        left("NAME"),
        left("ADDRESSES"),
        left("POLICY"),
        left("READY"),
        left("SATISFIED"),
        left("ROUTES"),
    ];
    if wide {
        columns.extend([left("CLASS"), left("CONDITIONS")]);
    }
    let rows: Vec<Vec<String>> = services.iter().map(|service| service_row(service, wide)).collect();
    render(&columns, &rows)
}

fn service_row(service: &ServiceView, wide: bool) -> Vec<String> {
    let satisfied = service.conditions.iter().find(|c| c.kind == "cilium.io/IPAMRequestSatisfied");
    let mut row = vec![
        service.namespace.clone(),
        service.name.clone(),
        if service.ingress.is_empty() {
            "<pending>".to_owned()
        } else {
            service.ingress.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        },
        service.external_traffic_policy.clone(),
        format!("{} ({} here)", service.ready_endpoints, service.local_ready_endpoints),
        satisfied.map_or_else(
            || "-".to_owned(),
            |c| if c.status == "True" { "yes".to_owned() } else { format!("no: {}", c.reason) },
        ),
        routes(&service.routes),
    ];
    if wide {
        row.push(service.class.clone().unwrap_or_default());
        row.push(conditions(&service.conditions));
    }
    row
}

fn routes(routes: &[RouteState]) -> String {
    let each = routes.iter().map(|route| match (&route.reason, route.announced) {
        (_, true) if route.peers.is_empty() => format!("{} (to no peer)", route.prefix),
        (_, true) => format!("{} to {}", route.prefix, route.peers.join(" ")),
        (Some(reason), false) => format!("{} held: {reason}", route.prefix),
        (None, false) => format!("{} held", route.prefix),
    });
    each.collect::<Vec<_>>().join("\n")
}

fn conditions(conditions: &[speaker_config::objects::Condition]) -> String {
    let each = conditions.iter().map(|c| {
        let message = if c.message.is_empty() { String::new() } else { format!(": {}", c.message) };
        format!("{}={} ({}){message}", c.kind, c.status, c.reason)
    });
    each.collect::<Vec<_>>().join("\n")
}

/// `speaker explain`.
pub(crate) fn explanation(explanation: &Explanation) -> String {
    let mut out = String::new();
    let verdict = if explanation.announced { "announced" } else { "held back" };
    let _ = writeln!(out, "{}: {verdict}", explanation.target);
    out.push_str(&gates(&explanation.gates, "  "));
    for story in &explanation.prefixes {
        out.push_str(&prefix_story(story));
    }
    for warning in &explanation.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    out
}

fn prefix_story(story: &PrefixStory) -> String {
    let mut out = String::new();
    let place = if story.in_loc_rib { "in the Loc-RIB" } else { "not in the Loc-RIB" };
    let _ = writeln!(out, "  {} ({place})", story.prefix);
    for reason in &story.reasons {
        out.push_str(&gates(reason, "    "));
    }
    for peer in &story.peers {
        let verdict = match (&peer.reason, peer.advertised) {
            (_, true) => "advertised".to_owned(),
            (Some(reason), false) => format!("held: {reason}"),
            (None, false) => "not advertised".to_owned(),
        };
        let _ = writeln!(out, "    to {}: {verdict}", peer.peer);
    }
    out
}

fn gates(gates: &[GateView], indent: &str) -> String {
    let mut out = String::new();
    for gate in gates {
        let mark = if gate.passed { "ok  " } else { "HELD" };
        let _ = writeln!(out, "{indent}{mark} {}: {}", gate.gate, gate.detail);
    }
    out
}

/// `speaker version`.
pub(crate) fn version(version: &VersionView) -> String {
    let mut out = format!("daemon  {} on {}, since {}\n", version.version, version.node, version.started);
    if let (Some(id), Some(asn)) = (version.router_id, version.asn) {
        let _ = writeln!(out, "router  {id}, AS {asn}");
    }
    if !version.waiting_for.is_empty() {
        let _ = writeln!(out, "silent  until these have delivered: {}", version.waiting_for.join(", "));
    }
    for error in &version.config_errors {
        let _ = writeln!(out, "refused {error}");
    }
    out
}
