//! What kubectl prints, as columns.

use std::collections::BTreeMap;

/// One row: heading to cell, empty where nothing is printed.
pub type Row = BTreeMap<String, String>;

/// The rows of a table that kubectl has printed. Columns begin where their headings do.
#[must_use]
pub fn rows(text: &str) -> Vec<Row> {
    let mut lines = text.lines();
    let heads = heads(lines.next().unwrap_or_default());
    let cell = |line: &str, from: usize, to: Option<usize>| -> String {
        let cell = line.chars().skip(from).take(to.map_or(usize::MAX, |to| to - from));
        cell.collect::<String>().trim().to_owned()
    };
    let row = |line: &str| -> Row {
        let ends = heads.iter().skip(1).map(|(from, _)| Some(*from)).chain([None]);
        heads.iter().zip(ends).map(|((from, head), to)| (head.clone(), cell(line, *from, to))).collect()
    };
    lines.map(row).collect()
}

/// The headings of a table with the column that each begins in: two spaces part them.
#[must_use]
pub fn heads(line: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    for part in line.split("  ") {
        let word = part.trim();
        if !word.is_empty() {
            found.push((at + part.chars().take_while(|c| *c == ' ').count(), word.to_owned()));
        }
        at += part.chars().count() + 2;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_begin_at_their_headings() {
        let text = "NAME   DISABLED   IPS AVAILABLE   AGE\npool   false                      2s\n";
        let row = &rows(text)[0];
        assert_eq!(row["NAME"], "pool");
        assert_eq!(row["DISABLED"], "false");
        assert_eq!(row["IPS AVAILABLE"], "");
        assert_eq!(row["AGE"], "2s");
    }
}
