//! Where things stand, and what is said of them.

use std::cell::RefCell;

use crate::diagnostic::{Diagnostic, Position, Severity};

/// Where the diagnostics gather.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    found: RefCell<Vec<Diagnostic>>,
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: Position,
    pub(super) path: String,
}

/// A value with its place, for checks that compare it with others later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl Place {
    /// The value of `key` in the mapping here.
    pub(super) fn key(&self, at: Position, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { at, path }
    }

    /// The mapping that the key stands in.
    pub(super) fn parent(&self) -> Self {
        let path = self.path.rsplit_once('.').map_or("", |(parent, _)| parent);
        Self { at: self.at, path: path.to_owned() }
    }
}

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: RefCell::new(Vec::new()) }
    }

    fn add(&self, severity: Severity, place: &Place, message: String, help: String) {
        let diagnostic = Diagnostic {
            severity,
            file: self.file.clone(),
            at: place.at,
            path: place.path.clone(),
            message,
            help,
        };
        self.found.borrow_mut().push(diagnostic);
    }

    /// Refuses the file.
    pub(super) fn error(&self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, place, message.into(), help.into());
    }

    /// Tells the operator.
    pub(super) fn warn(&self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, place, message.into(), help.into());
    }

    /// What was found, in the order of the file, each once: what a group says is checked again with each
    /// of its peers.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.at, d.severity);
            key(a).cmp(&key(b)).then_with(|| (&a.path, &a.message).cmp(&(&b.path, &b.message)))
        });
        found.dedup();
        found
    }
}
