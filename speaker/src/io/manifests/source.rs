//! The configured files and folders, and the kernel's word that something in them changed.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc as channel;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::due::{QUIET, WRITING};
use super::{FileFault, Message};
use crate::io::clock::Clock;
use crate::io::tcp::words;

/// What of a file changes when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What an event asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// Read this file after so long.
    File(PathBuf, Duration),
    /// Look at everything.
    Rescan,
}

/// A look at everything.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The manifests that there are.
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    /// What could not be looked at.
    pub(super) faults: Vec<FileFault>,
}

#[derive(Debug)]
pub(super) struct Source {
    /// Absolute.
    paths: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    /// Folders that the kernel watches, with their inodes: a folder made anew is watched anew.
    watched: BTreeMap<PathBuf, u64>,
}

/// A watcher that puts its events among the worker's messages.
///
/// # Errors
/// The kernel gives none.
pub(super) fn watcher(
    messages: channel::Sender<Message>,
    clock: Clock,
) -> Result<RecommendedWatcher, String> {
    let handler = move |event: notify::Result<Event>| {
        // Reading a file makes an event too, and we read.
        if !matches!(event, Ok(Event { kind: EventKind::Access(AccessKind::Open(_)), .. })) {
            // A worker that has ended watches no more.
            let _ = messages.send(Message::Watch(clock.now(), event));
        }
    };
    notify::recommended_watcher(handler).map_err(|error| format!("watching sources.manifests: {error}"))
}

impl Source {
    pub(super) fn new(paths: Vec<PathBuf>, watcher: RecommendedWatcher) -> Self {
        Self { paths, watcher, watched: BTreeMap::new() }
    }

    /// Looks at everything, and sees to it that it is watched before that.
    pub(super) fn scan(&mut self) -> Scan {
        let mut scan = Scan::default();
        for path in self.paths.clone() {
            let result = match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    self.watch(&path, &mut scan.faults);
                    read_folder(&path, &mut scan.files)
                }
                found => {
                    self.forget(&path);
                    if let Some(parent) = path.parent() {
                        self.watch(parent, &mut scan.faults);
                    }
                    found.map(|metadata| {
                        scan.files.insert(path.clone(), Stamp::of(&metadata));
                    })
                }
            };
            if let Err(error) = result {
                scan.faults.push(FileFault { path, text: words(&error) });
            }
        }
        scan
    }

    fn watch(&mut self, folder: &Path, faults: &mut Vec<FileFault>) {
        let inode = fs::metadata(folder).map(|metadata| metadata.ino()).ok();
        if self.watched.get(folder).copied() == inode {
            return;
        }
        self.forget(folder);
        let Some(inode) = inode else { return };
        match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(folder.to_owned(), inode);
            }
            Err(error) => {
                let text = format!("cannot be watched, and is looked at now and then instead: {error}");
                faults.push(FileFault { path: folder.to_owned(), text });
            }
        }
    }

    /// The folder is gone or another one now; a new one may have the old one's inode.
    fn forget(&mut self, folder: &Path) {
        if self.watched.remove(folder).is_some() {
            // The kernel may have let go of it already.
            let _ = self.watcher.unwatch(folder);
        }
    }

    /// What an event asks for.
    pub(super) fn notice(&mut self, event: &notify::Result<Event>) -> Vec<Notice> {
        let Ok(event) = event else { return vec![Notice::Rescan] };
        if event.need_rescan() {
            return vec![Notice::Rescan];
        }
        if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
            event.paths.iter().for_each(|path| self.forget(path));
        }
        event.paths.iter().filter_map(|path| self.notice_of(&event.kind, path)).collect()
    }

    fn notice_of(&self, kind: &EventKind, path: &Path) -> Option<Notice> {
        let after = match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => QUIET,
            EventKind::Access(_) => return None,
            EventKind::Modify(ModifyKind::Data(_)) => WRITING,
            // Whoever makes a link makes it at once, and nobody closes it.
            EventKind::Create(CreateKind::File) if !is_link(path) => WRITING,
            _ => QUIET,
        };
        if self.paths.iter().any(|listed| listed == path) && !path.is_dir() && is_manifest(path) {
            return Some(Notice::File(path.to_owned(), after));
        }
        let in_folder = path.parent().is_some_and(|parent| self.paths.iter().any(|listed| listed == parent));
        if in_folder && is_manifest(path) {
            return Some(Notice::File(path.to_owned(), after));
        }
        // A folder of ours came or went; or `..data`, by which Kubernetes replaces all files of a mounted
        // ConfigMap at once.
        let replaced =
            in_folder && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        let folder = self.paths.iter().any(|listed| listed.starts_with(path));
        (replaced || folder).then_some(Notice::Rescan)
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}

/// As `kubectl apply -f FOLDER` takes them.
fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// The manifests that `path` stands for, a file or a folder, by name.
///
/// # Errors
/// It cannot be looked at.
pub(crate) fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = BTreeMap::new();
    read_folder(path, &mut files)?;
    Ok(files.into_keys().collect())
}

fn read_folder(folder: &Path, files: &mut BTreeMap<PathBuf, Stamp>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !is_manifest(&path) {
            continue;
        }
        // One that went meanwhile is not there.
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.is_file()
        {
            files.insert(path, Stamp::of(&metadata));
        }
    }
    Ok(())
}

/// A file's text and what it looked like before it was read; `None` where there is no such file.
pub(super) fn read(path: &Path) -> Option<(Stamp, Result<String, String>)> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() {
        return None;
    }
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
            format!(
                "it is not UTF-8: octet {} is {:#04x}",
                error.utf8_error().valid_up_to(),
                first_bad(&error)
            )
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => Err(words(&error)),
    };
    Some((Stamp::of(&metadata), text))
}

fn first_bad(error: &std::string::FromUtf8Error) -> u8 {
    error.as_bytes().get(error.utf8_error().valid_up_to()).copied().unwrap_or_default()
}
