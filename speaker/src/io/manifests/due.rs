//! When a file that is being changed is to be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bgp_proto::types::Timestamp;

/// After a file was closed, renamed or removed: an editor that replaces it does that in several steps.
pub(super) const QUIET: Duration = Duration::from_millis(10);
/// While it is open for writing: how long a writer may pause before it is read as it stands.
pub(super) const WRITING: Duration = Duration::from_secs(3);
/// It is read at last, however often it changes.
const AT_MOST: Duration = Duration::from_secs(30);

/// Files that are to be read, each with its time.
#[derive(Debug, Default)]
pub(super) struct DueFiles {
    files: BTreeMap<PathBuf, DueFile>,
}

#[derive(Debug, Clone, Copy)]
struct DueFile {
    first: Timestamp,
    due: Timestamp,
}

impl DueFiles {
    /// `path` changed at `at`, and is to be read `after` that unless it changes again before.
    pub(super) fn changed(&mut self, path: PathBuf, at: Timestamp, after: Duration) {
        let file = self.files.entry(path).or_insert(DueFile { first: at, due: at });
        file.due = (at + after).min(file.first + AT_MOST);
    }

    /// Whether `path` waits to be read.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// When the next file is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.files.values().map(|file| file.due).min()
    }

    /// The files that are due, and when the first of their changes was.
    pub(super) fn take(&mut self, now: Timestamp) -> (Vec<PathBuf>, Option<Timestamp>) {
        let (ready, waiting) =
            std::mem::take(&mut self.files).into_iter().partition(|(_, file): &(_, DueFile)| file.due <= now);
        self.files = waiting;
        let ready: BTreeMap<PathBuf, DueFile> = ready;
        let first = ready.values().map(|file| file.first).min();
        (ready.into_keys().collect(), first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_writer_is_waited_for_until_it_closes() {
        let mut due = DueFiles::default();
        let path = || PathBuf::from("/a.yaml");
        due.changed(path(), at(0), QUIET);
        due.changed(path(), at(5), WRITING);
        assert_eq!(due.take(at(100)).0, Vec::<PathBuf>::new());
        due.changed(path(), at(200), QUIET);
        assert_eq!(due.next(), Some(at(210)));
        assert_eq!(due.take(at(210)), (vec![path()], Some(at(0))));
        assert_eq!(due.next(), None);
    }

    #[test]
    fn a_writer_that_never_ends_does_not_hold_its_file_for_ever() {
        let mut due = DueFiles::default();
        for millis in (0..40_000).step_by(1000) {
            due.changed(PathBuf::from("/a.yaml"), at(millis), WRITING);
        }
        assert_eq!(due.next(), Some(at(30_000)));
    }
}
