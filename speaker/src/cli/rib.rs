//! Routing tables as routers print them.

use serde_json::Value;

use super::table::{left, render, right};

/// `speaker rib advertised | local | received`. The rows are those of `-o json`.
pub(crate) fn rib(table: &str, rows: &[Value], wide: bool) -> String {
    if rows.is_empty() {
        return format!("no route in the {table} table\n");
    }
    let per_peer = table != "local";
    let mut columns = Vec::new();
    if per_peer {
        columns.push(left("Peer"));
    }
    columns.extend([
        left("   Network"),
        left("Next Hop"),
        right("Metric"),
        right("LocPrf"),
        left("Path"),
        left("Communities"),
        left("Source"),
    ]);
    if wide {
        columns.extend([left("Large Communities"), left("Extended Communities"), left("Since")]);
    }
    let reasons = rows.iter().any(|row| !text(row, "reason").is_empty());
    if reasons {
        columns.push(left("Not used because"));
    }
    let mut lines: Vec<Vec<String>> = rows.iter().map(|row| line(row, per_peer, wide)).collect();
    for (line, row) in lines.iter_mut().zip(rows).filter(|_| reasons) {
        line.push(text(row, "reason"));
    }
    let mut out = String::from(if table == "received" {
        "Status codes: S stale, * valid, > best, = multipath; Origin codes: i - IGP, e - EGP, ? - incomplete\n\n"
    } else {
        "Status codes: * valid, > best; Origin codes: i - IGP, e - EGP, ? - incomplete\n\n"
    });
    out.push_str(&render(&columns, &lines));
    out.push_str(&format!("\n{} route(s)\n", rows.len()));
    out
}

fn line(row: &Value, per_peer: bool, wide: bool) -> Vec<String> {
    let mut cells = Vec::new();
    if per_peer {
        cells.push(text(row, "peer"));
    }
    cells.push(format!("{} {}", codes(row), text(row, "prefix")));
    cells.push(next_hop(row));
    cells.push(text(row, "med"));
    cells.push(text(row, "localPreference"));
    cells.push(path(row));
    cells.push(list(row, "communities"));
    cells.push(source(row));
    if wide {
        cells.push(list(row, "largeCommunities"));
        cells.push(list(row, "extendedCommunities"));
        cells.push(text(row, "since"));
    }
    cells
}

/// What is announced, and what is in the Loc-RIB, was selected. A received route says for itself what it is;
/// one whose path is not kept has no code.
fn codes(row: &Value) -> String {
    let flag = |key: &str| row.get(key).map(|flag| flag.as_bool().unwrap_or_default());
    let sign = |set: Option<bool>, sign: char| if set.unwrap_or(true) { sign } else { ' ' };
    let multipath = flag("multipath").unwrap_or_default();
    let stale = if flag("stale").unwrap_or_default() { "S" } else { "" };
    let best = if multipath { '=' } else { sign(flag("best"), '>') };
    format!("{stale}{}{best}", sign(flag("valid"), '*'))
}

/// A value as a person reads it; nothing for null.
fn text(row: &Value, key: &str) -> String {
    match row.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A link-local one with its interface, where that is known: it says nothing alone.
fn next_hop(row: &Value) -> String {
    let next_hop = text(row, "nextHop");
    let interface = text(row, "interface");
    match next_hop.parse() {
        Ok(addr) if !interface.is_empty() => super::show::zoned(addr, Some(&interface)),
        _ => next_hop,
    }
}

fn list(row: &Value, key: &str) -> String {
    let items = row.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// AS_PATH and origin code: `64501 64501 {64502,64503} i`.
fn path(row: &Value) -> String {
    let segments = row.get("asPath").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut words: Vec<String> = segments.iter().map(segment).collect();
    words.push(match text(row, "origin").as_str() {
        "igp" => "i".to_owned(),
        "egp" => "e".to_owned(),
        "incomplete" => "?".to_owned(),
        other => other.to_owned(),
    });
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn segment(segment: &Value) -> String {
    let asns = segment.get("asns").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let asns: Vec<String> = asns.iter().map(Value::to_string).collect();
    match text(segment, "kind").as_str() {
        "set" => format!("{{{}}}", asns.join(",")),
        "confed-sequence" => format!("({})", asns.join(" ")),
        "confed-set" => format!("[{}]", asns.join(",")),
        _ => asns.join(" "),
    }
}

fn source(row: &Value) -> String {
    let sources = row.get("sources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let Some(first) = sources.first() else { return String::new() };
    let name = match first.get("namespace").and_then(Value::as_str) {
        Some(namespace) => format!("{namespace}/{}", text(first, "name")),
        None => text(first, "name"),
    };
    let more = if sources.len() > 1 { format!(" (+{})", sources.len() - 1) } else { String::new() };
    format!("{} {name}{more}", text(first, "kind"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_received_route_is_best_only_where_it_was_selected() {
        let line = |valid: Value, best: bool| {
            let row = json!({"peer": "tor-a", "prefix": "10.1.0.0/16", "valid": valid, "best": best});
            let table = rib("received", &[row], false);
            let line = table.lines().find(|line| line.contains("10.1.0.0/16")).unwrap().to_owned();
            line.trim_start_matches("tor-a").trim_start_matches("  ").trim_end().to_owned()
        };
        let prefix = "10.1.0.0/16";
        assert!(
            line(json!(true), false).starts_with(&format!("*  {prefix}")),
            "{}",
            line(json!(true), false)
        );
        assert!(line(json!(true), true).starts_with(&format!("*> {prefix}")));
        for unknown in [json!(false), Value::Null] {
            assert!(!line(unknown.clone(), false).contains('*'), "{}", line(unknown, false));
        }
    }

    #[test]
    fn learned_routes_have_their_codes_and_their_reasons() {
        let row = |peer: &str, best: bool, multipath: bool, stale: bool, reason: Value| {
            json!({"peer": peer, "prefix": "0.0.0.0/0", "valid": true, "best": best, "multipath": multipath,
                "stale": stale, "reason": reason})
        };
        let rows = [
            row("a", true, false, false, Value::Null),
            row("b", false, true, false, Value::Null),
            row("c", true, false, true, Value::Null),
            row("d", false, false, false, json!("another route is better: lower MED")),
        ];
        let out = rib("received", &rows, false);
        let of = |peer: &str| out.lines().find(|line| line.starts_with(peer)).unwrap().to_owned();
        assert!(of("a").contains("*> 0.0.0.0/0") && of("b").contains("*= 0.0.0.0/0"), "{out}");
        assert!(of("c").contains("S*> 0.0.0.0/0"), "{out}");
        assert!(of("d").ends_with("another route is better: lower MED"), "{out}");
    }

    #[test]
    fn a_route_reads_like_a_routers() {
        let row = json!({
            "peer": "tor-a", "prefix": "203.0.113.0/24", "nextHop": "10.0.0.1", "med": 50, "localPreference": null,
            "asPath": [{"kind": "sequence", "asns": [64501, 64501]}, {"kind": "set", "asns": [1, 2]}], "origin": "igp",
            "communities": ["64501:100", "no-export"],
            "sources": [{"kind": "pool", "namespace": null, "name": "blue"}, {"kind": "pool", "namespace": null, "name": "red"}],
        });
        let out = rib("advertised", &[row], false);
        let line = out.lines().find(|line| line.contains("203.0.113.0/24")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "tor-a",
                "*>",
                "203.0.113.0/24",
                "10.0.0.1",
                "50",
                "64501",
                "64501",
                "{1,2}",
                "i",
                "64501:100",
                "no-export",
                "pool",
                "blue",
                "(+1)"
            ]
        );
    }
}
