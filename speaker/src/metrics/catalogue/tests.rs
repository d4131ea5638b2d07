use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::*;

#[test]
fn names_are_unique_and_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for metric in ALL {
        assert!(names.insert(metric.full_name()), "{} stands twice", metric.full_name());
        let ours = metric.name.starts_with("speaker_");
        // These names are the ecosystem's own: every dashboard knows them.
        assert!(ours || metric.name.starts_with("process_"), "{}", metric.name);
        assert!(!metric.name.ends_with("_total") && !metric.name.ends_with("_count"), "{}", metric.name);
        let word =
            |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(word(metric.name) && metric.labels.iter().all(|label| word(label)), "{}", metric.name);
        assert!(metric.help.ends_with('.'), "{}: {}", metric.name, metric.help);
    }
}

fn table() -> String {
    let mut table = "| name | kind | labels | role | meaning |\n|---|---|---|---|---|\n".to_owned();
    for metric in ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let role = format!("{:?}", metric.role).to_lowercase();
        let (name, labels, help) = (metric.full_name(), labels.join(", "), metric.help);
        writeln!(table, "| `{name}` | {kind} | {labels} | {role} | {help} |").unwrap();
    }
    table
}

/// `BLESS=1` writes the table anew.
#[test]
fn the_page_lists_what_the_code_has() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let start = page.find("| name |").expect("the page has the table");
    let end = start + page[start..].find("\n\n").expect("a blank line ends the table") + 1;
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, format!("{}{}{}", &page[..start], table(), &page[end..])).unwrap();
        return;
    }
    assert_eq!(&page[start..end], table(), "BLESS=1 cargo test -p speaker --lib catalogue writes it anew");
}
