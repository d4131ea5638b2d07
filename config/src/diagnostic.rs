//! What is wrong with a configuration file, and where.

use std::fmt;

/// A place in a text, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Position {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// Whether a file with this diagnostic may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used; the operator should know.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file's name, as the caller gave it.
    pub file: String,
    /// Where in it.
    pub at: Position,
    /// The key: `peers[1].timers.hold`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Diagnostic {
    /// As it is displayed, without its severity: for a log, which has a word of its own for that.
    #[must_use]
    pub fn without_severity(&self) -> String {
        let key = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        format!("{}:{}:{}: {key}{}; {}", self.file, self.at.line, self.at.column, self.message, self.help)
    }
}

/// `speaker.yaml:12:9: peers[1].timers.hold: what is wrong; what to do`, with `warning: ` before the key of
/// a warning.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.at.line, self.at.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.message, self.help)
    }
}

impl std::error::Error for Diagnostic {}

/// The entry of `known` that `word` was most likely meant to be: at most two typing errors, or a third of
/// the word, away, or the only one that begins with it. Case does not count.
pub(crate) fn nearest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> Option<&'a str> {
    let known = known.into_iter();
    // A word longer than any key can only be noise, and the distance costs its square.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 2);
    let near = known
        .clone()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate);
    near.or_else(|| {
        let mut longer = known.filter(|known| word.len() > 2 && known.to_lowercase().starts_with(&word));
        longer.next().filter(|_| longer.next().is_none())
    })
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        let mut last = i + 1;
        for (pair, right) in row.windows(2).zip(&b) {
            let &[diagonal, above] = pair else { continue };
            last = (diagonal + usize::from(left != *right)).min(above + 1).min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_typing_errors_and_nothing_else() {
        let known = ["address", "asn", "families", "keepalive"];
        assert_eq!(nearest("adress", known), Some("address"));
        assert_eq!(nearest("keepAlive", known), Some("keepalive"));
        assert_eq!(nearest("as", known), Some("asn"));
        assert_eq!(nearest("addr", known), Some("address"));
        assert_eq!(nearest("neighbor", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn distance_is_levenshteins() {
        for (a, b, want) in [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0)] {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn display_names_file_line_column_and_key() {
        let mut diagnostic = Diagnostic {
            severity: Severity::Error,
            file: "speaker.yaml".to_owned(),
            at: Position { line: 12, column: 9 },
            path: "peers[1].timers.hold".to_owned(),
            message: "bad".to_owned(),
            help: "write 9s".to_owned(),
        };
        assert_eq!(diagnostic.to_string(), "speaker.yaml:12:9: peers[1].timers.hold: bad; write 9s");
        diagnostic.severity = Severity::Warning;
        assert_eq!(diagnostic.to_string(), "speaker.yaml:12:9: warning: peers[1].timers.hold: bad; write 9s");
        diagnostic.path.clear();
        assert_eq!(diagnostic.to_string(), "speaker.yaml:12:9: warning: bad; write 9s");
    }
}
