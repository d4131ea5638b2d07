//! No text makes the readers panic, and what they say of it holds together.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;

use proptest::prelude::*;
use speaker_config::diagnostic::Severity;
use speaker_config::manifest::{self, Content};
use speaker_config::speaker;

const CONFIGS: [&str; 8] = [
    include_str!("../examples/every-key.yaml"),
    include_str!("../examples/two-tors.yaml"),
    include_str!("../examples/host-anycast.yaml"),
    include_str!("../examples/warnings.yaml"),
    include_str!("../examples/broken/values.yaml"),
    include_str!("../examples/broken/contradictions.yaml"),
    include_str!("../examples/broken/keys.yaml"),
    include_str!("../examples/broken/names.yaml"),
];

const MANIFESTS: [&str; 4] = [
    include_str!("../examples/manifests/pool.yaml"),
    include_str!("../examples/manifests/web.yaml"),
    include_str!("../examples/manifests/node.yaml"),
    include_str!("../examples/broken/manifests/objects.yaml"),
];

/// How often YAML 1.1, which knows more line breaks than 1.2, could break a line here.
fn line_breaks(text: &str) -> usize {
    text.chars().filter(|c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')).count()
}

/// Reads `text` as `speaker.yaml`, and checks what holds for every answer.
fn read_config(text: &str) {
    let lines = line_breaks(text) + 1;
    match speaker::parse(text, "speaker.yaml", Path::new("/etc/speaker")) {
        Ok((_, warnings)) => assert!(warnings.iter().all(|found| found.severity == Severity::Warning)),
        Err(found) => {
            assert!(found.iter().any(|found| found.severity == Severity::Error));
            assert!(found.is_sorted_by_key(|found| found.at));
            for found in found {
                // One more: what is missing at the end of a text is missing behind its last line.
                assert!((1..=lines + 1).contains(&found.at.line), "{found} in {text:?}");
                assert!(found.at.column >= 1 && !found.message.is_empty() && !found.help.is_empty());
            }
        }
    }
}

/// Reads `text` as manifests, and checks what holds for every answer.
fn read_manifests(text: &str) {
    let lines = line_breaks(text) + 1;
    for document in manifest::parse(text) {
        assert!((1..=lines).contains(&document.line), "{document:?} in {text:?}");
        if let Content::Broken(error) = document.content {
            assert!((1..=lines + 1).contains(&error.line), "{error} in {text:?}");
            assert!(error.column >= 1 && !error.message.is_empty());
        }
    }
}

/// A piece of text that means something to a YAML reader, or a key, or a value near the edge of one.
fn piece() -> impl Strategy<Value = String> {
    let marks = prop::sample::select(vec![
        "{", "}", "[", "]", ": ", ":", "- ", ", ", "\n", "\n  ", "\n    ", "\t", "'", "\"", "#", "&a", "*a",
        "!t", "|", ">", "?", "%", "---\n", "...\n", "<<: *a", "\u{feff}", "\r\n", "~", "null", "é",
        "\u{2028}", "\\", "@",
    ]);
    let words = prop::sample::select(vec![
        "router",
        "asn",
        "peers",
        "name",
        "address",
        "timers",
        "hold",
        "export",
        "prefix",
        "advertisements",
        "poolPrefix",
        "lengths",
        "matchExpressions",
        "learn",
        "shutdown",
        "bfd",
        "apiVersion",
        "kind",
        "v1",
        "List",
        "items",
        "Service",
        "ServiceList",
        "Node",
        "metadata",
        "spec",
        "status",
        "cilium.io/v2",
        "blocks",
        "cidr",
        "CiliumLoadBalancerIPPool",
        "EndpointSlice",
        "discovery.k8s.io/v1",
        "ports",
        "creationTimestamp",
    ]);
    let values = prop::sample::select(vec![
        "0",
        "-1",
        "1",
        "65536",
        "4294967296",
        "1e999",
        "0x10",
        "1.10",
        "9s",
        "18446744073709551615h",
        "10.0.0.1",
        "10.0.0.0/8",
        "::/0",
        "fe80::1%eth0",
        "::ffff:1.2.3.4",
        "true",
        "Yes",
        "2026-01-02T03:04:05Z",
        "exact",
    ]);
    prop_oneof![
        4 => marks.prop_map(str::to_owned),
        3 => words.prop_map(str::to_owned),
        2 => values.prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

/// One of `examples`, with some pieces cut out and others put in.
fn mutated(examples: &'static [&'static str]) -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0..12_usize, piece());
    (prop::sample::select(examples), prop::collection::vec(edit, 1..6)).prop_map(|(text, edits)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (place, cut, put) in edits {
            let start = place.index(chars.len().max(1)).min(chars.len());
            let end = (start + cut).min(chars.len());
            chars.splice(start..end, put.chars());
        }
        chars.into_iter().collect()
    })
}

/// One of `examples`, with some of its lines moved, dropped or indented anew.
fn shuffled(examples: &'static [&'static str]) -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5_usize);
    (prop::sample::select(examples), prop::collection::vec(edit, 1..6)).prop_map(|(text, edits)| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (from, to, indent) in edits {
            if lines.is_empty() {
                break;
            }
            let line = lines.remove(from.index(lines.len()));
            if indent > 0 {
                let at = to.index(lines.len() + 1);
                lines.insert(at, format!("{}{}", " ".repeat(indent - 1), line.trim_start()));
            }
        }
        lines.join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_any_pieces(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        read_config(&text);
        read_manifests(&text);
    }

    #[test]
    fn of_any_characters(text in any::<String>()) {
        read_config(&text);
        read_manifests(&text);
    }

    #[test]
    fn of_a_changed_configuration(text in prop_oneof![mutated(&CONFIGS), shuffled(&CONFIGS)]) {
        read_config(&text);
    }

    #[test]
    fn of_a_changed_manifest(text in prop_oneof![mutated(&MANIFESTS), shuffled(&MANIFESTS)]) {
        read_manifests(&text);
    }
}
