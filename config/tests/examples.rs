//! Each file in `examples/` is a golden input: what comes of it stands beside it, in `tests/golden/` for the
//! sound ones and as `.txt` for the broken ones. `BLESS=1 cargo test -p speaker-config` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use speaker_config::{manifest, speaker};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The YAML files of a folder, in order of their names. Fails on an empty folder.
fn yaml_files(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no example in {name}");
    files
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

fn compare(got: &str, golden: &Path) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden, got).unwrap();
        return;
    }
    let want = std::fs::read_to_string(golden).unwrap_or_default();
    assert_eq!(got, want, "{} differs; BLESS=1 writes it anew", golden.display());
}

#[test]
fn sound_files_give_what_their_goldens_say() {
    for path in yaml_files("examples") {
        let text = std::fs::read_to_string(&path).unwrap();
        let (config, warnings) = match speaker::parse(&text, "speaker.yaml", Path::new("/etc/speaker")) {
            Ok(parsed) => parsed,
            Err(found) => panic!("{}: {found:#?}", path.display()),
        };
        let mut got = String::new();
        for warning in warnings {
            writeln!(got, "{warning}").unwrap();
        }
        writeln!(got, "{config:#?}").unwrap();
        compare(&got, &folder("tests/golden").join(format!("{}.txt", stem(&path))));
    }
}

#[test]
fn broken_files_say_everything_that_is_wrong() {
    for path in yaml_files("examples/broken") {
        let text = std::fs::read_to_string(&path).unwrap();
        let Err(found) = speaker::parse(&text, "speaker.yaml", Path::new("/etc/speaker")) else {
            panic!("{} is not broken", path.display());
        };
        let mut got = String::new();
        for diagnostic in found {
            writeln!(got, "{diagnostic}").unwrap();
        }
        compare(&got, &path.with_extension("txt"));
    }
}

#[test]
fn manifests_give_what_their_goldens_say() {
    for (folder_name, prefix) in
        [("examples/manifests", "manifests"), ("examples/broken/manifests", "broken-manifests")]
    {
        for path in yaml_files(folder_name) {
            let mut got = String::new();
            for document in manifest::parse(&std::fs::read_to_string(&path).unwrap()) {
                match document.content {
                    manifest::Content::Broken(error) => writeln!(got, "{error}").unwrap(),
                    content => writeln!(got, "line {}: {content:#?}", document.line).unwrap(),
                }
            }
            compare(&got, &folder("tests/golden").join(format!("{prefix}-{}.txt", stem(&path))));
        }
    }
}
