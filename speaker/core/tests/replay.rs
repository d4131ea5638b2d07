//! Recorded events, replayed: `speaker run --record FILE` writes them, and a file dropped into
//! `tests/scenarios` is a regression test. What the world came to is compared with the file's `.expect`;
//! `BLESS=1 cargo test -p speaker-core --test replay` writes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use speaker_core::world::{Event, World};

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    files
}

/// Everything that the events came to, as text: what was recorded in between, and the routes at the end.
fn replay(file: &Path) -> String {
    let mut out = String::new();
    let mut world: Option<World> = None;
    for (number, line) in std::fs::read_to_string(file).unwrap().lines().enumerate() {
        let event: Event = serde_json::from_str(line).unwrap_or_else(|e| panic!("line {}: {e}", number + 1));
        match event {
            Event::Start { text, start } => {
                let (config, _) =
                    speaker_config::speaker::parse(&text, "speaker.yaml", Path::new("/")).unwrap();
                world = Some(World::new(&config, &start));
            }
            Event::Configure { text, node } => {
                let (config, _) =
                    speaker_config::speaker::parse(&text, "speaker.yaml", Path::new("/")).unwrap();
                world.as_mut().unwrap().configure(&config, &node);
            }
            Event::Host { host } => drop(world.as_mut().unwrap().set_host(host)),
            Event::Upsert { object } => world.as_mut().unwrap().upsert(object),
            Event::Drain { drain } => {
                world.as_mut().unwrap().set_drain(drain);
            }
            Event::Kept { set } => drop(world.as_mut().unwrap().open_kept(*set)),
            Event::Health { health } => {
                world.as_mut().unwrap().set_health(health);
            }
            Event::Programmed { programmed } => world.as_mut().unwrap().programmed(&programmed),
            Event::Delete { object } => world.as_mut().unwrap().delete(&object),
            Event::Kernel { report } => world.as_mut().unwrap().kernel(report),
            Event::Interfaces { interfaces, answering } => {
                world.as_mut().unwrap().set_interfaces(interfaces, answering);
            }
            Event::Synced { source } => world.as_mut().unwrap().synced(&source),
            Event::Settle { now } => {
                let changes = world.as_mut().unwrap().settle(now);
                for status in changes.ipam.services {
                    let conditions: Vec<String> = status
                        .conditions
                        .iter()
                        .map(|c| format!("{}={} {}", c.kind, c.status, c.reason))
                        .collect();
                    writeln!(out, "record {} {:?} {}", status.key, status.ingress, conditions.join(", "))
                        .unwrap();
                }
            }
        }
    }
    for (prefix, route) in &world.unwrap().announcer().rib().routes {
        let sources: Vec<String> =
            route.contributions.iter().map(|c| format!("{} by {}", c.source.name, c.advertisement)).collect();
        writeln!(out, "route {prefix} {}", sources.join(", ")).unwrap();
    }
    out
}

#[test]
fn recorded_events_come_to_what_they_came_to() {
    let files = scenarios();
    assert!(!files.is_empty(), "there is no scenario");
    for file in files {
        let seen = replay(&file);
        let expected = file.with_extension("expect");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &seen).unwrap();
        }
        assert_eq!(seen, std::fs::read_to_string(&expected).unwrap(), "{}", file.display());
        assert_eq!(seen, replay(&file), "the same events give the same world");
    }
}
