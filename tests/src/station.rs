//! A monitoring station (BMP): GoBGP's parser behind a socket, and what it makes of what it is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lab::Node;
use crate::process::Process;

/// The program that `tests/bmp/build` makes.
fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = target.join("bmp/bmp");
    assert!(program.exists(), "no {}: run tests/bmp/build first", program.display());
    program
}

/// A station on a node, on port 11019.
#[derive(Debug)]
pub struct Station {
    process: Process,
}

/// Which table of which peer: `in`, `out` or `local`, and the peer's address.
pub type Table = (&'static str, String);

/// What the station knows after what it has been told over its last connection.
#[derive(Debug, Default)]
pub struct Known {
    /// Peer Up of each session that is up, by address; the Loc-RIB as `local`.
    pub up: BTreeMap<String, Value>,
    /// Routes by prefix.
    pub tables: BTreeMap<Table, BTreeMap<String, Value>>,
    /// Families whose End-of-RIB has come.
    pub ended: Vec<(Table, String)>,
    /// Every Peer Down over all connections.
    pub downs: Vec<Value>,
    /// The last figures of each session, `local` for the Loc-RIB.
    pub statistics: BTreeMap<String, Value>,
    /// The introduction.
    pub introduction: Option<Value>,
    /// The leave, where it was taken.
    pub termination: Option<Value>,
    /// Connections so far.
    pub connections: u64,
    /// Prefixes told over all connections.
    pub told: usize,
}

impl Station {
    /// Starts it.
    #[must_use]
    pub fn start(node: &Node) -> Self {
        Self { process: node.spawn("station", &mut Command::new(program())) }
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it knows.
    ///
    /// # Panics
    /// If the parser has refused anything, or routes came of what was not up.
    #[must_use]
    pub fn known(&self) -> Known {
        let log = self.process.log();
        let mut known = Known::default();
        // The last line may be half written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        for line in whole.lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("the station says {line}: {e}"));
            known.take(line);
        }
        known
    }
}

impl Known {
    fn take(&mut self, line: Value) {
        let address = line["address"].as_str().unwrap_or_default().to_owned();
        let local = line["peerType"] == 3;
        let key = if local { "local".to_owned() } else { address.clone() };
        match line["kind"].as_str().unwrap_or_default() {
            "connected" => {
                let (downs, connections) = (std::mem::take(&mut self.downs), self.connections + 1);
                *self = Self { downs, connections, told: self.told, ..Self::default() };
            }
            "initiation" => self.introduction = Some(line),
            "termination" => self.termination = Some(line),
            "up" => assert!(self.up.insert(key.clone(), line).is_none(), "{key} came up twice"),
            "down" => {
                assert!(self.up.remove(&key).is_some(), "{key} went down and was not up");
                self.tables.retain(|(_, peer), _| *peer != key);
                self.ended.retain(|((_, peer), _)| *peer != key);
                self.statistics.remove(&key);
                self.downs.push(line);
            }
            "statistics" => drop(self.statistics.insert(key, line["statistics"].clone())),
            "route" => self.route(&line, key),
            _ => {}
        }
    }

    fn route(&mut self, line: &Value, key: String) {
        assert!(self.up.contains_key(&key), "routes of {key}, which is not up");
        let flags = line["flags"].as_u64().unwrap_or_default();
        // O and L (RFC 8671 §4), and nothing but V otherwise.
        let which = match (line["peerType"] == 3, flags & 0x7f) {
            (true, 0) => "local",
            (false, 0) => "in",
            (false, 0x50) => "out",
            _ => panic!("flags {flags:#x}: {line}"),
        };
        let table = (which, key);
        if let Some(family) = line["endOfRib"].as_str() {
            return self.ended.push((table, family.to_owned()));
        }
        let routes = self.tables.entry(table).or_default();
        for prefix in line["withdrawn"].as_array().into_iter().flatten() {
            let prefix = prefix.as_str().unwrap_or_default();
            assert!(routes.remove(prefix).is_some(), "{prefix} is withdrawn and was never announced");
            self.told += 1;
        }
        for route in line["announced"].as_array().into_iter().flatten() {
            routes.insert(route["prefix"].as_str().unwrap_or_default().to_owned(), route.clone());
            self.told += 1;
        }
    }
}
