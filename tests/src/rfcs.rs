//! Holds `speaker/docs/rfcs.md` to the tree, so that it cannot lie.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::pages::{check_test, file, root, rows};

fn page() -> String {
    file("speaker/docs/rfcs.md", "the page")
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
    let mut count = 0;
    for (row, cells) in rows(&page).filter(|(row, _)| row.starts_with("| RFC ")) {
        count += 1;
        let [rfc, section, what, code, test] = cells[..] else { panic!("five cells, not {row}") };
        assert!(!section.is_empty() && !what.is_empty(), "{row}");
        let code = code.trim_matches('`');
        assert!(named(&file(code, row)).is_superset(&named(rfc)), "{code} does not name it: {row}");
        check_test(test.trim_matches('`'), row);
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
