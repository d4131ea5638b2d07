//! The state folder of the manifests role: what the API server would keep. One file, `state.journal`: a
//! line a record, each with a checksum, appended and synced as one batch, and rewritten whole once most of
//! it is history. A line that was cut off by a crash is a write that never happened.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use speaker_config::objects::{Condition, ObjectKey, UnixSeconds};

use freed::Freed;
use speaker_core::fnv::fnv1a_64;
use speaker_core::ipam::Held;

mod freed;

const VERSION: u32 = 1;
const JOURNAL: &str = "state.journal";
const REPLACEMENT: &str = "state.journal.new";
const LOCK: &str = "lock";

/// The journal is rewritten when it has this many records more than twice what is alive.
const SLACK: usize = 1000;

/// What is kept of one Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceState {
    /// When it was first seen.
    pub(crate) created: UnixSeconds,
    /// `status.loadBalancer.ingress`.
    pub(crate) ingress: Vec<IpAddr>,
    /// `status.conditions`.
    pub(crate) conditions: Vec<Condition>,
}

/// What is kept of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolState {
    /// When it was first seen.
    pub(crate) created: UnixSeconds,
    /// `status.conditions`.
    pub(crate) conditions: Vec<Condition>,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Record {
    /// The first line.
    Version(u32),
    /// Addresses that were given back, the longest free first; written when the journal is rewritten.
    Freed(Vec<IpAddr>),
    /// A Service, instead of what was kept of it before.
    Service {
        /// Which one.
        key: ObjectKey,
        /// What is kept.
        #[serde(flatten)]
        state: ServiceState,
    },
    /// A Service that is gone.
    ServiceGone(ObjectKey),
    /// A pool, instead of what was kept of it before.
    Pool {
        /// Its name.
        name: String,
        /// What is kept.
        #[serde(flatten)]
        state: PoolState,
    },
    /// A pool that is gone.
    PoolGone(String),
}

impl Record {
    /// Whether it says that an object is gone.
    pub(crate) fn is_deletion(&self) -> bool {
        matches!(self, Self::ServiceGone(_) | Self::PoolGone(_))
    }
}

/// The state in memory, which is what the journal says.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    services: BTreeMap<ObjectKey, ServiceState>,
    pools: BTreeMap<String, PoolState>,
    freed: Freed,
}

/// The open state folder.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    journal: Journal,
    state: State,
    warning: Option<String>,
    /// Held for as long as the process lives.
    _lock: File,
}

/// The open file.
#[derive(Debug)]
struct Journal {
    file: File,
    /// Octets of whole records in it.
    len: u64,
    /// Records in it.
    records: usize,
    /// A write failed and may have left something behind `len`.
    torn: bool,
}

impl Store {
    /// Opens the folder, which is made where it is missing.
    ///
    /// # Errors
    /// It cannot be made, read or written, another process has it, or a newer version wrote it.
    pub(crate) fn open(folder: &Path) -> Result<Self, String> {
        let fail = |what: &str, error: &io::Error| {
            format!("ipam.stateDir {}: {what}: {}", folder.display(), super::tcp::words(error))
        };
        fs::create_dir_all(folder).map_err(|error| fail("making it", &error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(|error| fail("opening its lock", &error))?;
        lock.try_lock()
            .map_err(|_| format!("ipam.stateDir {}: another speaker uses it", folder.display()))?;
        let journal = folder.join(JOURNAL);
        let bytes = match fs::read(&journal) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(fail("reading state.journal", &error)),
        };
        let replayed = replay(&bytes)
            .map_err(|text| format!("ipam.stateDir {}: state.journal: {text}", folder.display()))?;
        let mut warning = None;
        if let Some(damage) = &replayed.damage {
            let aside = set_aside(folder).map_err(|error| fail("setting state.journal aside", &error))?;
            warning = Some(format!(
                "{} is damaged: {damage}; {} records before that are in force, and the file is kept as {}",
                journal.display(),
                replayed.records,
                aside.display(),
            ));
        }
        // Opening writes the file anew: no torn line, no history.
        let journal = write_anew(folder, &replayed.state);
        let journal = journal.map_err(|error| fail("writing state.journal", &error))?;
        Ok(Self { folder: folder.to_owned(), journal, state: replayed.state, warning, _lock: lock })
    }

    /// The journal.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// What was wrong with the file, where something was.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Addresses that were given back, the longest free first.
    pub(crate) fn freed(&self) -> Vec<IpAddr> {
        self.state.freed.list()
    }

    /// What the Services have.
    pub(crate) fn held(&self) -> Vec<Held> {
        let services = self.state.services.iter().filter(|(_, state)| !state.ingress.is_empty());
        services
            .map(|(key, state)| Held {
                service: key.clone(),
                created: state.created,
                addresses: state.ingress.clone(),
            })
            .collect()
    }

    /// What is kept of a Service.
    pub(crate) fn service(&self, key: &ObjectKey) -> Option<&ServiceState> {
        self.state.services.get(key)
    }

    /// What is kept of a pool.
    pub(crate) fn pool(&self, name: &str) -> Option<&PoolState> {
        self.state.pools.get(name)
    }

    /// Every Service of which something is kept.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ObjectKey> {
        self.state.services.keys()
    }

    /// Every pool of which something is kept.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &String> {
        self.state.pools.keys()
    }

    /// Puts records on the disk in one write and one sync, then into force.
    ///
    /// # Errors
    /// The operating system's; then none of them is in force, and it may be tried again.
    pub(crate) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.journal.append(records)?;
        for record in records {
            self.state.apply(record.clone());
        }
        if self.journal.records > 2 * self.state.alive() + SLACK {
            match write_anew(&self.folder, &self.state) {
                Ok(journal) => self.journal = journal,
                // What is on the disk is right; only long.
                Err(error) => {
                    tracing::warn!(folder = %self.folder.display(), "shortening state.journal: {error}");
                }
            }
        }
        Ok(())
    }
}

impl Journal {
    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let lines = lines(records)?;
        let written = self.write_at_end(&lines);
        self.torn = written.is_err();
        written?;
        self.len += lines.len() as u64;
        self.records += records.len();
        Ok(())
    }

    fn write_at_end(&self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
        }
        self.file.write_all_at(lines, self.len)?;
        self.file.sync_data()
    }
}

/// Writes the whole state into a new file that takes the journal's place at once or not at all.
fn write_anew(folder: &Path, state: &State) -> io::Result<Journal> {
    let records = state.records();
    let lines = lines(&records)?;
    let replacement = folder.join(REPLACEMENT);
    let file = File::create(&replacement)?;
    file.write_all_at(&lines, 0)?;
    file.sync_all()?;
    fs::rename(&replacement, folder.join(JOURNAL))?;
    File::open(folder)?.sync_all()?;
    Ok(Journal { file, len: lines.len() as u64, records: records.len(), torn: false })
}

impl State {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Version(_) => {}
            Record::Freed(list) => list.into_iter().for_each(|addr| self.freed.give_back(addr)),
            Record::Service { key, state } => {
                for addr in &state.ingress {
                    self.freed.take(*addr);
                }
                if let Some(old) = self.services.insert(key, state) {
                    old.ingress.into_iter().for_each(|addr| self.freed.release(addr));
                }
            }
            Record::ServiceGone(key) => {
                if let Some(old) = self.services.remove(&key) {
                    old.ingress.into_iter().for_each(|addr| self.freed.release(addr));
                }
            }
            Record::Pool { name, state } => {
                self.pools.insert(name, state);
            }
            Record::PoolGone(name) => {
                self.pools.remove(&name);
            }
        }
    }

    /// How many records it takes to write it down.
    fn alive(&self) -> usize {
        2 + self.services.len() + self.pools.len()
    }

    fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Version(VERSION), Record::Freed(self.freed.list())];
        let pools = self.pools.iter();
        records.extend(pools.map(|(name, state)| Record::Pool { name: name.clone(), state: state.clone() }));
        let services = self.services.iter();
        records
            .extend(services.map(|(key, state)| Record::Service { key: key.clone(), state: state.clone() }));
        records
    }
}

struct Replayed {
    state: State,
    records: usize,
    /// A line that is not what was written.
    damage: Option<String>,
}

/// Reads records up to the first that is damaged. One that lacks its end was cut off by a crash, before
/// anybody was told of it.
fn replay(bytes: &[u8]) -> Result<Replayed, String> {
    let mut replayed = Replayed { state: State::default(), records: 0, damage: None };
    for (index, line) in bytes.split_inclusive(|octet| *octet == b'\n').enumerate() {
        let Some(whole) = line.strip_suffix(b"\n") else { break };
        match read_line(whole) {
            Ok(Record::Version(version)) if version > VERSION => {
                return Err(format!("it has format {version}; this version of the speaker reads {VERSION}"));
            }
            Ok(Record::Version(_)) if index == 0 => {}
            Ok(record) if index > 0 => replayed.state.apply(record),
            Ok(_) => return Ok(replayed.damaged(1, "a record stands where it does not belong")),
            Err(text) => return Ok(replayed.damaged(index + 1, &text)),
        }
        replayed.records += 1;
    }
    Ok(replayed)
}

impl Replayed {
    fn damaged(mut self, line: usize, text: &str) -> Self {
        self.damage = Some(format!("line {line}: {text}"));
        self
    }
}

/// `checksum, space, JSON, line feed` for each record.
fn lines(records: &[Record]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for record in records {
        let json = serde_json::to_vec(record).map_err(io::Error::other)?;
        write!(out, "{:016x} ", checksum(&json))?;
        out.extend_from_slice(&json);
        out.push(b'\n');
    }
    Ok(out)
}

fn read_line(line: &[u8]) -> Result<Record, String> {
    let (sum, json) = line.split_at_checked(17).ok_or("it is too short")?;
    if sum != format!("{:016x} ", checksum(json)).as_bytes() {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// Enough to tell a torn line from a whole one.
fn checksum(bytes: &[u8]) -> u64 {
    fnv1a_64(bytes.iter().copied())
}

/// Moves the journal to the first free `state.journal.damaged-N`.
fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    let mut number = 1_u32;
    loop {
        let aside = folder.join(format!("{JOURNAL}.damaged-{number}"));
        if !aside.try_exists()? {
            fs::rename(folder.join(JOURNAL), &aside)?;
            return Ok(aside);
        }
        number += 1;
    }
}

#[cfg(test)]
impl Store {
    /// Makes every write fail, as a full disk does, until the returned file is put back.
    pub(crate) fn swap_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.journal.file, file)
    }
}

#[cfg(test)]
mod tests;
