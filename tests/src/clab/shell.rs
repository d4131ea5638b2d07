//! Command lines as containerlab takes them: words and quotes, no shell.

/// Splits a command line into words; quotes of both kinds hold words together, a backslash takes the next
/// character as it is, except between single quotes.
///
/// # Panics
/// If a quote is not closed.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(rest.next()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == c => quote = None,
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "a quote is not closed: {line}");
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(words("ip  link set eth1 up"), ["ip", "link", "set", "eth1", "up"]);
        assert_eq!(words("vtysh -c 'show bgp \"x\"' ''"), ["vtysh", "-c", "show bgp \"x\"", ""]);
        assert_eq!(words(r#"a "b \"c\" d"e f\ g"#), ["a", "b \"c\" de", "f g"]);
    }
}
