//! Selectors as one line of text, as `kubectl -l` takes them: `pool in (a,b),!bears,rack=r1`.

use super::{OF_LINES, OPERATORS, Written, WrittenRequirement, check_with};
use crate::objects::Selector;

/// A selector from one line: requirements between commas, all of which must hold.
///
/// `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key>3` and `key<3`, with
/// spaces anywhere between the words. An empty line selects everything. `>` and `<` take whole numbers, and a label that
/// is none is not selected.
///
/// # Errors
/// The text, in words for whoever wrote it.
pub fn selector_query(text: &str) -> Result<Selector, String> {
    let mut rest = text.trim();
    let mut written = Written::default();
    while !rest.is_empty() {
        let (requirement, after) = requirement(rest)?;
        written.expressions.push(requirement);
        rest = match after.trim_start() {
            "" => "",
            after => {
                let more =
                    after.strip_prefix(',').ok_or_else(|| format!("{after:?} where a comma should stand"))?;
                if more.trim().is_empty() {
                    return Err("a comma at the end; remove it".to_owned());
                }
                more.trim_start()
            }
        };
    }
    check_with(&written, &[&OPERATORS[..], &OF_LINES[..]].concat()).map_err(|faults| {
        let faults: Vec<String> = faults.into_iter().map(|f| format!("{}; {}", f.message, f.help)).collect();
        faults.join("; ")
    })
}

/// The first requirement, and what follows it.
fn requirement(text: &str) -> Result<(WrittenRequirement, &str), String> {
    let make = |key: &str, operator: &str, values: Vec<String>| WrittenRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values,
    };
    if let Some(negated) = text.strip_prefix('!') {
        let (key, rest) = word(negated.trim_start());
        return Ok((make(key, "DoesNotExist", Vec::new()), rest));
    }
    let (key, rest) = word(text);
    let after = rest.trim_start();
    if after.is_empty() || after.starts_with(',') {
        return Ok((make(key, "Exists", Vec::new()), after));
    }
    for (sign, operator) in [("!=", "NotIn"), ("==", "In"), ("=", "In"), (">", "Gt"), ("<", "Lt")] {
        if let Some(after) = after.strip_prefix(sign) {
            let (value, rest) = word(after.trim_start());
            return Ok((make(key, operator, vec![value.to_owned()]), rest));
        }
    }
    for (name, operator) in [("in", "In"), ("notin", "NotIn")] {
        let (found, after) = word(after);
        if found == name {
            let (values, rest) = values(after.trim_start(), name)?;
            return Ok((make(key, operator, values), rest));
        }
    }
    Err(format!("{after:?} after {key:?}; write =, !=, >, <, in (…) or notin (…), or a comma"))
}

/// The longest beginning without a space or a sign.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace() || ",=!()<>".contains(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// `(a, b)`
fn values<'a>(text: &'a str, operator: &str) -> Result<(Vec<String>, &'a str), String> {
    let inside = text.strip_prefix('(').and_then(|text| text.split_once(')'));
    let (list, rest) = inside.ok_or_else(|| format!("{operator} needs its values as (a,b)"))?;
    if list.trim().is_empty() {
        return Ok((Vec::new(), rest));
    }
    Ok((list.split(',').map(|value| value.trim().to_owned()).collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Labels;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_form_selects_what_kubectl_selects() {
        let node = labels(&[
            ("pool", "a"),
            ("rack", "r1"),
            ("empty", ""),
            ("example.com/zone", "z"),
            ("cores", "8"),
            ("far", "9223372036854775807"),
        ]);
        for (text, selected) in [
            ("", true),
            ("  ", true),
            ("pool", true),
            ("bears", false),
            ("!bears", true),
            ("! pool", false),
            ("pool=a", true),
            ("pool == a", true),
            ("pool=b", false),
            ("pool!=b", true),
            ("pool!=a", false),
            ("bears != b", true),
            ("empty=", true),
            ("pool=", false),
            ("pool in (a,b)", true),
            ("pool in ( b , c )", false),
            ("pool notin (b)", true),
            ("pool notin(a)", false),
            ("bears notin (a)", true),
            ("bears in (a,)", false),
            ("empty in (a,)", true),
            ("pool in (a,b),!bears", true),
            ("pool in (a,b) , !bears,rack=r2", false),
            ("example.com/zone=z,in,notin", false),
            ("in=a", false),
            ("cores>7", true),
            ("cores > 8", false),
            ("cores<9", true),
            ("cores < 8", false),
            ("cores>4,cores<16,pool=a", true),
            ("far>9223372036854775806", true),
            // A label that is no number, and none at all.
            ("pool>0", false),
            ("pool<1", false),
            ("bears<1", false),
        ] {
            let selector = selector_query(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(selector.matches(&node), selected, "{text:?}: {selector:?}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (text, said) in [
            ("pool in a", "needs its values as (a,b)"),
            ("pool in (a", "needs its values as (a,b)"),
            ("pool,", "comma at the end"),
            ("pool,,rack", "\"\" is not a label key"),
            ("=a", "\"\" is not a label key"),
            ("pool a", "after \"pool\""),
            ("cores>many", "\"many\" is not a whole number"),
            ("cores>", "\"\" is not a whole number"),
            ("cores<=3", "\"=3\" where a comma should stand"),
            ("cores>9223372036854775808", "is not a whole number"),
            ("pool in ()", "needs at least one value"),
            ("pool in (a) rack", "where a comma should stand"),
            ("po:ol=a", "\"po:ol\" is not a label key"),
            ("pool=-a", "\"-a\" is not a label value"),
            ("(a)", "after \"\""),
        ] {
            let error = selector_query(text).expect_err(text);
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }
}
