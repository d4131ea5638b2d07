//! Columns as routers print them: no borders, numbers to the right, nothing cut off.

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// The heading.
    pub(crate) head: &'static str,
    /// Numbers go to the right.
    pub(crate) right: bool,
}

/// A column of words.
pub(crate) const fn left(head: &'static str) -> Column {
    Column { head, right: false }
}

/// A column of numbers.
pub(crate) const fn right(head: &'static str) -> Column {
    Column { head, right: true }
}

/// Lays `rows` out under `columns`. A cell may hold several lines.
pub(crate) fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    use comfy_table::{CellAlignment, Table, presets};
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.head));
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in columns.iter().enumerate() {
        if let Some(laid_out) = table.column_mut(index) {
            laid_out.set_padding((0, if index + 1 == columns.len() { 0 } else { 2 }));
            if column.right {
                laid_out.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `00:04:11`, `2d03h`, `5w1d`: uptime as routers write it.
pub(crate) fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    if days >= 7 {
        format!("{}w{}d", days / 7, days % 7)
    } else if days >= 1 {
        format!("{days}d{:02}h", hours % 24)
    } else {
        format!("{hours:02}:{:02}:{:02}", minutes % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_reads_like_a_routers() {
        assert_eq!(uptime(0), "00:00:00");
        assert_eq!(uptime(3671), "01:01:11");
        assert_eq!(uptime(86400 * 2 + 3 * 3600), "2d03h");
        assert_eq!(uptime(86400 * 36), "5w1d");
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let text = render(
            &[left("Neighbor"), right("AS"), left("State")],
            &[
                vec!["10.0.0.254".to_owned(), "64500".to_owned(), String::new()],
                vec!["2001:db8::1".to_owned(), "1".to_owned(), "Idle".to_owned()],
            ],
        );
        assert_eq!(text, "Neighbor        AS  State\n10.0.0.254   64500\n2001:db8::1      1  Idle\n");
    }
}
