//! The golden captures of `bgp-proto/tests/golden`: messages that other implementations put on the wire.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::bgp::{Message, Type};
use crate::daemon::Kind;

/// Where they are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bgp-proto/tests/golden")
}

/// What a file of captures is headed with.
#[derive(Debug, Clone)]
pub struct Title<'a> {
    /// Whose messages.
    pub kind: Kind,
    /// Its version.
    pub version: &'a str,
    /// File name without `.hex`.
    pub name: &'a str,
    /// What was done, one line.
    pub what: &'a str,
    /// What the reader must know to decode: the keys of the `context:` line.
    pub context: &'a str,
}

/// Writes the messages: comment lines, then one message a line in hex. KEEPALIVEs after the first are left
/// out, and so is what is the same as a line before.
///
/// # Panics
/// If the file cannot be written, or there is nothing to write.
pub fn write(title: &Title<'_>, messages: &[Message]) {
    let mut text = format!(
        "# daemon: {} {}\n# what: {}\n# context: {}\n",
        title.kind, title.version, title.what, title.context
    );
    let mut lines: Vec<String> = Vec::new();
    for message in messages {
        let hex = message.hex();
        if lines.contains(&hex) {
            continue;
        }
        let _w = writeln!(text, "# {}", label(message));
        let _w = writeln!(text, "{hex}");
        lines.push(hex);
    }
    assert!(!lines.is_empty(), "{} {}: nothing captured", title.kind, title.name);
    let dir = folder().join(title.kind.name());
    std::fs::create_dir_all(&dir).expect("folder of golden captures");
    std::fs::write(dir.join(format!("{}.hex", title.name)), text).expect("golden capture");
}

fn label(message: &Message) -> String {
    match (message.kind(), message.notification()) {
        (_, Some((code, subcode))) => format!("NOTIFICATION {code}/{subcode}"),
        (Some(Type::Open), _) => "OPEN".to_owned(),
        (Some(Type::Update), _) => format!("UPDATE, {} octets", message.bytes.len()),
        (Some(Type::Keepalive), _) => "KEEPALIVE".to_owned(),
        (Some(Type::RouteRefresh), _) => "ROUTE-REFRESH".to_owned(),
        _ => "unknown type".to_owned(),
    }
}
