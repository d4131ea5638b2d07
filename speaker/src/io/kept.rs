//! The set of routes that this node announced last, on the node's disk, for a process that finds no API server (ADR 12).
//!
//! It counts on the boot on which it was written: after that the kernel carries nothing, and the node's proxy has
//! programmed nothing, that the routes would lead to. So it need not outlive a power cut either, and is not synced.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use speaker_config::objects::UnixSeconds;
use speaker_core::kept::{KeptSet, Snapshot, VERSION};

use super::boot;

/// The file in `ipam.stateDir`.
const FILE: &str = "announced.json";

/// The longest file that is read: more than twice what the most routes take.
const LONGEST: u64 = 64 << 20;

/// The longest first line.
const LONGEST_HEADER: u64 = 4096;

/// The first line of the file; the set is the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    version: u32,
    boot_id: String,
    node: String,
    patience_ms: u64,
}

/// The place of the set.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    file: PathBuf,
    node: String,
    boot_id: String,
}

impl Shelf {
    /// In this folder, for this node.
    pub(crate) fn new(state_dir: &Path, node: &str) -> Self {
        Self { file: state_dir.join(FILE), node: node.to_owned(), boot_id: boot::id() }
    }

    /// Whether the process before this one left a set that counts: then how long the API server is to be waited for
    /// before it is announced. It counts up to `longest` after that process was last seen.
    ///
    /// # Errors
    /// In words: there is one, and it does not count.
    pub(crate) fn look(&self, longest: Duration) -> Result<Option<Duration>, String> {
        let Some((header, _)) = self.open()? else { return Ok(None) };
        let seen = fs::metadata(&self.file).and_then(|meta| meta.modified()).map_err(|e| self.fail(&e))?;
        // A clock that was set back makes it no older.
        let age = SystemTime::now().duration_since(seen).unwrap_or_default();
        if age > longest {
            let (age, longest) = (age.as_secs(), longest.as_secs());
            return Err(format!(
                "it was last known to be right {age} s ago, and sources.kubernetes.keepAnnounced is {longest} s"
            ));
        }
        Ok(Some(Duration::from_millis(header.patience_ms)))
    }

    /// The set.
    ///
    /// # Errors
    /// In words: it cannot be read, or does not count.
    pub(crate) fn read(&self) -> Result<KeptSet, String> {
        let (_, rest) = self.open()?.ok_or("it has gone")?;
        serde_json::from_reader(rest).map_err(|error| format!("{}: {error}", self.file.display()))
    }

    /// The first line, where there is a file, and the rest.
    fn open(&self) -> Result<Option<(Header, impl io::Read + use<>)>, String> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.fail(&error)),
        };
        let mut reader = BufReader::new(file.take(LONGEST));
        let mut line = String::new();
        reader.by_ref().take(LONGEST_HEADER).read_line(&mut line).map_err(|error| self.fail(&error))?;
        let header: Header =
            serde_json::from_str(&line).map_err(|error| format!("{}: {error}", self.file.display()))?;
        if header.version != VERSION {
            let version = header.version;
            return Err(format!("it has format {version}; this version of the speaker reads {VERSION}"));
        }
        if header.node != self.node {
            return Err(format!("it is of node {}", header.node));
        }
        if self.boot_id.is_empty() || header.boot_id != self.boot_id {
            return Err("the machine was started since".to_owned());
        }
        Ok(Some((header, reader)))
    }

    /// Puts a set in the place of the last one, whole or not at all.
    ///
    /// # Errors
    /// The operating system's; the one before is still there.
    pub(crate) fn put(&self, snapshot: Snapshot, now: UnixSeconds) -> io::Result<()> {
        let header = Header {
            version: VERSION,
            boot_id: self.boot_id.clone(),
            node: self.node.clone(),
            patience_ms: u64::try_from(snapshot.patience().as_millis()).unwrap_or(u64::MAX),
        };
        let new = self.file.with_extension("json.new");
        let mut out = io::BufWriter::new(File::create(&new)?);
        serde_json::to_writer(&mut out, &header)?;
        out.write_all(b"\n")?;
        serde_json::to_writer(&mut out, &snapshot.into_set(now))?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(new, &self.file)
    }

    /// Says that what is there is still right.
    pub(crate) fn touch(&self) {
        // Where there is none, or the disk refuses, it grows old.
        if let Ok(file) = File::options().write(true).open(&self.file) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Leaves nothing to the next process.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    fn fail(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use speaker_core::world::{Start, World};

    use super::*;

    const CONFIG: &str = "
router: {asn: 64501}
peers: [{name: tor, address: 10.0.0.254, asn: 64500, gracefulRestart: {restartTime: 30s}}]
advertisements: [{name: fixed, prefixes: [198.51.100.0/24]}]
";

    fn snapshot() -> Snapshot {
        let config = crate::load::parse(CONFIG.to_owned(), "speaker.yaml", Path::new("/")).unwrap().config;
        let mut world = World::new(&config, &Start { node: "n1".to_owned(), ..Start::default() });
        assert!(world.settle(5).complete);
        world.to_keep().unwrap()
    }

    fn shelf(folder: &Path, node: &str, boot_id: &str) -> Shelf {
        Shelf { boot_id: boot_id.to_owned(), ..Shelf::new(folder, node) }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_set_counts_on_its_node_and_boot_for_as_long_as_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let own = shelf(folder.path(), "n1", "a");
        assert_eq!(own.look(HOUR), Ok(None));
        assert!(own.read().is_err());
        own.put(snapshot(), 77).unwrap();
        assert_eq!(own.look(HOUR), Ok(Some(Duration::from_secs(15))), "half of the restart time");
        let set = own.read().unwrap();
        assert_eq!((set.written, set.routes.len(), set.routes[0].since), (77, 1, 5));
        for (other, why) in [
            (shelf(folder.path(), "n2", "a"), "it is of node n1"),
            (shelf(folder.path(), "n1", "b"), "the machine was started since"),
            (shelf(folder.path(), "n1", ""), "the machine was started since"),
        ] {
            assert_eq!(other.look(HOUR), Err(why.to_owned()));
            assert!(other.read().is_err());
        }
        let long_ago = SystemTime::now() - Duration::from_secs(7200);
        File::options().write(true).open(own.path()).unwrap().set_modified(long_ago).unwrap();
        let old = own.look(HOUR).unwrap_err();
        assert!(old.contains("7200 s ago") && old.contains("keepAnnounced"), "{old}");
        own.touch();
        assert!(own.look(HOUR).unwrap().is_some(), "somebody knew it to be right");
        own.forget().unwrap();
        own.forget().unwrap();
        own.touch();
        assert_eq!(own.look(HOUR), Ok(None));
    }

    #[test]
    fn a_file_that_cannot_be_read_counts_for_nothing_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let own = shelf(folder.path(), "n1", "a");
        own.put(snapshot(), 77).unwrap();
        let whole = fs::read_to_string(own.path()).unwrap();
        let (header, set) = whole.split_once('\n').unwrap();
        let newer = header.replace(&format!("\"version\":{VERSION}"), "\"version\":99");
        for (text, expected) in [
            ("", "announced.json"),
            ("{}\n", "announced.json"),
            (newer.as_str(), "format 99"),
            (&"x".repeat(100_000), "announced.json"),
        ] {
            fs::write(own.path(), text).unwrap();
            let error = own.look(HOUR).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for cut in [0, 1, set.len() / 2, set.len() - 1] {
            fs::write(own.path(), format!("{header}\n{}", &set[..cut])).unwrap();
            assert!(own.read().is_err(), "cut at {cut}");
        }
        fs::remove_file(own.path()).unwrap();
        let away = shelf(&folder.path().join("away"), "n1", "a");
        assert!(away.put(snapshot(), 1).is_err());
    }
}
