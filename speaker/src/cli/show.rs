//! Pools, Services and what became of their routes; the daemon's own state.

use std::fmt::Write as _;
use std::net::IpAddr;

use speaker_core::received::ReceivedRoute;
use speaker_core::view::{
    BmpView, Explanation, GateView, ListenerView, PoolView, PrefixStory, RouteState, ServiceView, VersionView,
};

use super::table::{Column, left, render, right};

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
    let verdict = match explanation.announced {
        true => "announced",
        false if explanation.concerns_announcing() => "held back",
        false => "not announced by this node",
    };
    let _ = writeln!(out, "{}: {verdict}", explanation.target);
    out.push_str(&gates(&explanation.gates, "  "));
    for story in &explanation.prefixes {
        out.push_str(&prefix_story(story));
    }
    for route in &explanation.learned {
        out.push_str(&learned(route));
    }
    for story in &explanation.segment {
        let verdict = match (&story.holder, story.answered) {
            (_, true) => "answered for by this node".to_owned(),
            (Some(holder), false) => format!("held by {holder}"),
            (None, false) => "not held".to_owned(),
        };
        let _ = writeln!(out, "  {} on the segment ({verdict})", story.address);
        out.push_str(&gates(&story.gates, "    "));
    }
    for warning in &explanation.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    out
}

fn learned(route: &ReceivedRoute) -> String {
    let next_hop = route.link_local_next_hop.map(IpAddr::V6).or(route.next_hop);
    let next_hop =
        next_hop.map_or_else(String::new, |addr| format!(" by {}", zoned(addr, route.interface.as_deref())));
    let stale = if route.stale { ", stale" } else { "" };
    let verdict = match (&route.reason, route.best) {
        (Some(reason), _) => format!("not used: {reason}"),
        (None, true) => "used, the best one".to_owned(),
        (None, false) => "used, beside the best one".to_owned(),
    };
    format!("  {} learned from {}{next_hop}{stale}: {verdict}\n", route.prefix, route.peer)
}

/// An address that means something on one link alone, with the link's interface.
pub(super) fn zoned(addr: IpAddr, interface: Option<&str>) -> String {
    match (addr, interface) {
        (IpAddr::V6(v6), Some(interface)) if v6.is_unicast_link_local() => format!("{v6}%{interface}"),
        _ => addr.to_string(),
    }
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
            (_, true) => match peer.next_hop {
                Some(addr) => format!("advertised, next hop {}", zoned(addr, peer.interface.as_deref())),
                None => "advertised".to_owned(),
            },
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
    let mut line = |head: &str, text: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{head:<7} {text}");
    };
    match (version.router_id, version.asn) {
        (Some(id), Some(asn)) => line("router", &format!("{id}, AS {asn}")),
        (Some(id), None) => line("router", &id.to_string()),
        (None, _) => {}
    }
    version.listeners.iter().for_each(|listener| line("listen", &listening(listener)));
    for refused in version.listeners.iter().flat_map(|listener| &listener.refused) {
        line("no key", refused);
    }
    if let Some(drain) = &version.drain {
        line("drain", drain);
    }
    if let Some(readiness) = &version.readiness {
        line("readiness", readiness);
    }
    if let Some(kept) = &version.kept {
        line("kept", kept);
    } else if !version.waiting_for.is_empty() {
        line("silent", &format!("until these have delivered: {}", version.waiting_for.join(", ")));
    }
    if !version.config_errors.is_empty() {
        line("refused", "the configuration file; an older one is in force:");
        version.config_errors.iter().for_each(|error| line("", error));
    }
    if !version.restart_needed.is_empty() {
        line("restart", &format!("to bring into force: {}", version.restart_needed.join(", ")));
    }
    version.faults.iter().for_each(|fault| line("fault", fault));
    version.kernel.iter().for_each(|problem| line("kernel", problem));
    version.bmp.iter().for_each(|one| line("bmp", &station(one)));
    out
}

fn station(one: &BmpView) -> String {
    let BmpView { name, address, connections, messages_sent: sent, messages_dropped: dropped, .. } = one;
    let now = match (&one.connected_since, &one.last_error) {
        (Some(since), _) => format!("connected since {since}"),
        (None, Some(error)) => format!("not connected: {} ({})", error.text, error.at),
        (None, None) => "not connected yet".to_owned(),
    };
    format!(
        "{name} at {address}: {now}; {connections} connection(s), {sent} message(s) sent, {dropped} dropped"
    )
}

fn listening(listener: &ListenerView) -> String {
    match (&listener.bound, &listener.error) {
        (Some(bound), _) if *bound == listener.address => bound.clone(),
        (Some(bound), _) => format!("{bound} ({})", listener.address),
        (None, Some(error)) => format!("{} not yet: {error}", listener.address),
        (None, None) => listener.address.clone(),
    }
}
