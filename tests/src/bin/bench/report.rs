//! Tables of figures, as Markdown.

use std::time::Duration;

/// Prints a table; every row has as many cells as the heading.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].chars().count()]).max().unwrap_or_default()
    };
    let line = |cells: Vec<String>| {
        let cells =
            cells.into_iter().enumerate().map(|(column, cell)| format!("{cell:<w$}", w = width(column)));
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
    };
    line(heading.iter().map(|&cell| cell.to_owned()).collect());
    line((0..heading.len()).map(|column| "-".repeat(width(column))).collect());
    for row in rows {
        line(row.clone());
    }
    println!();
}

/// Tells of a row before the table is complete.
pub(crate) fn progress(row: Vec<String>) -> Vec<String> {
    eprintln!("{}", row.join(" | "));
    row
}

/// Seconds, or milliseconds where they are few.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 10.0 {
        format!("{seconds:.1} s")
    } else if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 0.01 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{:.2} ms", seconds * 1e3)
    }
}

/// Megabytes.
pub(crate) fn megabytes(value: f64) -> String {
    format!("{value:.0} MB")
}

/// The value below which `share` of them lie, the nearest one that was measured.
pub(crate) fn quantile<T: Copy + PartialOrd>(values: &[T], share: f64) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in the list")]
    let at = (share * (sorted.len() - 1) as f64).round() as usize;
    sorted[at]
}

/// The middle one.
pub(crate) fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    quantile(values, 0.5)
}
