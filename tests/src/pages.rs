//! Tests that a page of the documentation names, held to the tree.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The cells of each row of a page's tables, heads left out, with the line itself.
pub(crate) fn rows(page: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let lines: Vec<&str> = page.lines().collect();
    let ruled = |line: &str| line.starts_with("|---");
    let heads: Vec<usize> = (1..lines.len()).filter(|at| ruled(lines[*at])).map(|at| at - 1).collect();
    let all = lines
        .into_iter()
        .enumerate()
        .filter(move |(at, line)| line.starts_with('|') && !line.starts_with("|---") && !heads.contains(at));
    all.map(|(_, line)| (line, line.trim_matches('|').split('|').map(str::trim).collect()))
}

/// Checks that a file of the repository exists, and gives its text.
pub(crate) fn file(path: &str, row: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}: {row}"))
}

/// Checks that `FILE::TEST` is a test that is run.
pub(crate) fn check_test(test: &str, row: &str) {
    let (path, name) = test.split_once("::").unwrap_or_else(|| panic!("FILE::TEST, not {test}: {row}"));
    let text = file(path, row);
    let (before, _) =
        text.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("no test {name} in {path}: {row}"));
    // A scenario of the interop suite is a test of each daemon's suite.
    let before = before.trim_end().trim_end_matches("async").trim_end();
    let is_test = ["#[test]", "#[tokio::test]"].iter().any(|mark| before.ends_with(mark));
    let scenario = format!("{}::{name},", Path::new(path).file_stem().expect("a file").to_string_lossy());
    let suite = include_str!("interop/mod.rs");
    assert!(is_test || suite.contains(&scenario), "{name} is not run: {row}");
}
