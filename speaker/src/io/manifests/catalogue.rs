//! The objects of all files: which file each comes from, and what is in force.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use speaker_config::manifest::{self, Content};
use speaker_config::objects::{Object, ObjectRef};

use super::FileFault;

/// Files and their objects.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    files: BTreeMap<PathBuf, FileEntry>,
    /// Which files have an object, by path: the first one counts.
    owners: BTreeMap<ObjectRef, BTreeSet<PathBuf>>,
    /// Objects that more than one file has.
    doubles: BTreeSet<ObjectRef>,
    /// Files with faults.
    faulty: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct FileEntry {
    objects: BTreeMap<ObjectRef, Object>,
    faults: Vec<String>,
    /// Some of its objects may be missing from `objects`.
    incomplete: bool,
}

impl Catalogue {
    /// Takes in a file's new content; says which objects that may have changed.
    pub(super) fn read(&mut self, path: &Path, text: Result<String, String>) -> BTreeSet<ObjectRef> {
        let mut entry = match text {
            Ok(text) => parse(&text),
            Err(fault) => FileEntry { faults: vec![fault], incomplete: true, ..FileEntry::default() },
        };
        let mut former = self.files.remove(path).unwrap_or_default();
        if entry.incomplete {
            // What cannot be read now stays what it was.
            for (reference, object) in std::mem::take(&mut former.objects) {
                entry.objects.entry(reference).or_insert(object);
            }
        }
        let mut touched: BTreeSet<ObjectRef> = BTreeSet::new();
        for reference in former.objects.into_keys() {
            if !entry.objects.contains_key(&reference) {
                self.disown(&reference, path);
            }
            touched.insert(reference);
        }
        for reference in entry.objects.keys() {
            let owners = self.owners.entry(reference.clone()).or_default();
            owners.insert(path.to_owned());
            if owners.len() > 1 {
                self.doubles.insert(reference.clone());
            }
            touched.insert(reference.clone());
        }
        if entry.faults.is_empty() {
            self.faulty.remove(path);
        } else {
            self.faulty.insert(path.to_owned());
        }
        self.files.insert(path.to_owned(), entry);
        touched
    }

    /// A file is gone; says which objects that may have changed.
    pub(super) fn remove(&mut self, path: &Path) -> BTreeSet<ObjectRef> {
        let Some(entry) = self.files.remove(path) else { return BTreeSet::new() };
        self.faulty.remove(path);
        for reference in entry.objects.keys() {
            self.disown(reference, path);
        }
        entry.objects.into_keys().collect()
    }

    fn disown(&mut self, reference: &ObjectRef, path: &Path) {
        if let Some(paths) = self.owners.get_mut(reference) {
            paths.remove(path);
            if paths.len() == 1 {
                self.doubles.remove(reference);
            }
            if paths.is_empty() {
                self.owners.remove(reference);
            }
        }
    }

    /// Whether a file had objects when it was last read.
    pub(super) fn has_objects(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|entry| !entry.objects.is_empty())
    }

    /// The object in force.
    pub(super) fn get(&self, reference: &ObjectRef) -> Option<&Object> {
        let path = self.owners.get(reference)?.first()?;
        self.files.get(path)?.objects.get(reference)
    }

    /// Whether there may be objects that could not be read.
    pub(super) fn is_incomplete(&self) -> bool {
        self.faulty.iter().filter_map(|path| self.files.get(path)).any(|entry| entry.incomplete)
    }

    /// Every fault, by path.
    pub(super) fn faults(&self) -> Vec<FileFault> {
        let mut faults = Vec::new();
        for (path, entry) in self.faulty.iter().filter_map(|path| self.files.get_key_value(path)) {
            let of = |text: &String| FileFault { path: path.clone(), text: text.clone() };
            faults.extend(entry.faults.iter().map(of));
        }
        for (reference, paths) in self.doubles.iter().filter_map(|double| self.owners.get_key_value(double)) {
            let mut paths = paths.iter();
            let Some(first) = paths.next() else { continue };
            for other in paths {
                let text = format!("{reference} stands in {} too, and that one counts", first.display());
                faults.push(FileFault { path: other.clone(), text });
            }
        }
        faults.sort_unstable();
        faults
    }
}

fn parse(text: &str) -> FileEntry {
    let mut entry = FileEntry::default();
    for document in manifest::parse(text) {
        match document.content {
            Content::Object(object) => match entry.objects.entry(object.reference()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(object);
                }
                Entry::Occupied(first) => {
                    let (line, name) = (document.line, first.key());
                    entry.faults.push(format!("{line}: {name} stands here twice; the first one counts"));
                }
            },
            Content::Skipped { api_version, kind, name } => {
                tracing::debug!(
                    api_version,
                    kind,
                    name,
                    line = document.line,
                    "not a kind that the speaker reads"
                );
            }
            Content::Broken(error) => {
                entry.faults.push(error.to_string());
                entry.incomplete = true;
            }
        }
    }
    entry
}
