//! Holds `speaker/docs/rfcs.md` to the tree, so that it cannot lie.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    fs::read_to_string(root().join("speaker/docs/rfcs.md")).expect("the page")
}

/// The numbers behind `RFC ` in a text.
fn named(text: &str) -> BTreeSet<u32> {
    let after = text.split("RFC ").skip(1);
    after
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        })
        .collect()
}

/// The source files of a folder, tests left out.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

#[test]
fn each_row_has_its_code_and_its_test() {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| RFC ") && !line.starts_with("| RFC |"));
    let mut count = 0;
    for row in rows {
        count += 1;
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [rfc, section, what, code, test] = cells[..] else { panic!("five cells, not {row}") };
        assert!(!section.is_empty() && !what.is_empty(), "{row}");
        let code = code.trim_matches('`');
        let text = fs::read_to_string(root().join(code)).unwrap_or_else(|e| panic!("{code}: {e}: {row}"));
        assert!(named(&text).is_superset(&named(rfc)), "{code} does not name it: {row}");
        let (file, name) =
            test.trim_matches('`').split_once("::").unwrap_or_else(|| panic!("FILE::TEST: {row}"));
        let text = fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}: {row}"));
        let (before, _) =
            text.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("no such test: {row}"));
        // A scenario of the interop suite is a test of each daemon's suite.
        let is_test = before.trim_end().ends_with("#[test]") || before.trim_end().ends_with("#[tokio::test]");
        let scenario = format!("{}::{name},", Path::new(file).file_stem().expect("a file").to_string_lossy());
        let suite = include_str!("interop/mod.rs");
        assert!(is_test || suite.contains(&scenario), "{name} is not run: {row}");
    }
    assert!(count > 40, "{count} rows");
}

#[test]
fn what_the_protocol_names_is_on_the_page() {
    let mut files = Vec::new();
    sources(&root().join("bgp-proto/src"), &mut files);
    let on_page = named(&page());
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let missing: Vec<_> = named(&text).difference(&on_page).copied().collect();
        assert!(missing.is_empty(), "{} names RFCs that the page lacks: {missing:?}", file.display());
    }
}
