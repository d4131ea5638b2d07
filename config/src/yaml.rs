//! The one file that knows `serde_yaml`. It is archived; a fork with the same interface would replace it here.

use serde_json::{Map, Number, Value as Json};
use serde_yaml::Value as Yaml;

/// Why a text is no YAML document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// Line and column in the text, counted from 1, where known.
    pub(crate) at: Option<(usize, usize)>,
    pub(crate) message: String,
}

/// The scanner looks at every open bracket for each word that it reads: without a bound 100 kB of them take minutes.
/// Text between quotes is counted too, where brackets do not come in such numbers without their ends.
const MOST_OPEN: usize = 4000;

/// The line where more brackets are open than that.
fn too_many_open(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let at = text.bytes().position(|octet| {
        match octet {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > MOST_OPEN
    })?;
    Some(1 + text.bytes().take(at).filter(|octet| *octet == b'\n').count())
}

/// One YAML document as JSON, with merge keys (`<<`) applied, as kubectl reads it. JSON is YAML too, except
/// that YAML does not let tabs indent; so text that starts like JSON is tried as JSON first.
pub(crate) fn to_json(text: &str) -> Result<Json, YamlError> {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(json) = serde_json::from_str(text)
    {
        return Ok(json);
    }
    if let Some(line) = too_many_open(text) {
        let message = format!("more than {MOST_OPEN} brackets are open; no object nests so deep");
        return Err(YamlError { at: Some((line, 1)), message });
    }
    let mut yaml: Yaml = serde_yaml::from_str(text).map_err(|error| {
        let at = error.location().map(|location| (location.line(), location.column()));
        let line = at.and_then(|(line, _)| text.lines().nth(line.checked_sub(1)?));
        let message = match line {
            Some(line) if line.trim_start_matches(' ').starts_with('\t') => {
                "a tab stands in the indentation, where YAML has spaces alone; write spaces".to_owned()
            }
            _ => without_places(&error.to_string()),
        };
        YamlError { at, message }
    })?;
    let unplaced = |message: String| YamlError { at: None, message };
    yaml.apply_merge().map_err(|error| unplaced(error.to_string()))?;
    convert(yaml).map_err(unplaced)
}

/// A message without its " at line 2 column 1": the lines are counted from the start of one document, and
/// the caller says where that is.
fn without_places(message: &str) -> String {
    let mut parts = message.split(" at line ");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let rest = rest.strip_prefix(" column ").unwrap_or(rest);
        kept.push_str(rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    kept
}

fn convert(yaml: Yaml) -> Result<Json, String> {
    Ok(match yaml {
        Yaml::Null => Json::Null,
        Yaml::Bool(value) => Json::Bool(value),
        Yaml::Number(number) => Json::Number(convert_number(&number)?),
        Yaml::String(text) => Json::String(text),
        Yaml::Sequence(items) => Json::Array(items.into_iter().map(convert).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => Json::Object(
            entries
                .into_iter()
                .map(|(key, value)| Ok((convert_key(key)?, convert(value)?)))
                .collect::<Result<Map<_, _>, String>>()?,
        ),
        Yaml::Tagged(tagged) => return Err(format!("a tag ({}) stands in the document", tagged.tag)),
    })
}

fn convert_number(number: &serde_yaml::Number) -> Result<Number, String> {
    number
        .as_i64()
        .map(Number::from)
        .or_else(|| number.as_u64().map(Number::from))
        .or_else(|| number.as_f64().and_then(Number::from_f64))
        .ok_or_else(|| format!("{number} is no number that JSON has"))
}

fn convert_key(key: Yaml) -> Result<String, String> {
    match key {
        Yaml::String(text) => Ok(text),
        Yaml::Number(number) => Ok(number.to_string()),
        Yaml::Bool(value) => Ok(value.to_string()),
        Yaml::Null | Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => {
            Err("a key is neither a word nor a number".to_owned())
        }
    }
}

/// A value as YAML text that kubectl reads too: it reads YAML 1.1, where `Yes` and `No` are booleans, so
/// such words are quoted.
///
/// # Errors
/// The value's own `Serialize` failed.
pub fn to_string(value: &impl serde::Serialize) -> Result<String, String> {
    let mut yaml = serde_yaml::to_value(value).map_err(|error| error.to_string())?;
    mark(&mut yaml);
    let text = serde_yaml::to_string(&yaml).map_err(|error| error.to_string())?;
    let mut parts = text.split(MARK);
    let mut quoted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(part.len());
        let (word, rest) = part.split_at(end);
        quoted.push_str(&format!("\"{word}\"{rest}"));
    }
    Ok(quoted)
}

/// Stands before a word that is to be quoted.
const MARK: &str = "_quote_this_word_";

fn mark(yaml: &mut Yaml) {
    match yaml {
        Yaml::String(text) => {
            let word = text.to_ascii_lowercase();
            if matches!(word.as_str(), "y" | "n" | "yes" | "no" | "on" | "off") {
                text.insert_str(0, MARK);
            }
        }
        Yaml::Sequence(items) => items.iter_mut().for_each(mark),
        Yaml::Mapping(entries) => {
            *entries = std::mem::take(entries)
                .into_iter()
                .map(|(mut key, mut value)| {
                    mark(&mut key);
                    mark(&mut value);
                    (key, value)
                })
                .collect();
        }
        Yaml::Tagged(tagged) => mark(&mut tagged.value),
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_as_kubectl_does() {
        for (text, want) in [
            ("a: Yes", json!({"a": "Yes"})),
            (
                "a: true\nb: 1.5\nc: -1\nd: 18446744073709551615\ne:",
                json!({"a": true, "b": 1.5, "c": -1, "d": u64::MAX, "e": null}),
            ),
            ("1: a\ntrue: b", json!({"1": "a", "true": "b"})),
            ("base: &b {x: 1}\nz: {<<: *b, y: 2}", json!({"base": {"x": 1}, "z": {"x": 1, "y": 2}})),
            ("{\n\t\"a\": [1, \"b\"]\n}", json!({"a": [1, "b"]})),
        ] {
            assert_eq!(to_json(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn aliases_cannot_multiply_without_end() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let below = format!("*a{}, ", level - 1).repeat(9);
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(to_json(&text).unwrap_err().message.contains("repetition limit"));
        assert!(to_json(&"[".repeat(1000)).is_err());
        assert!(to_json(&format!("{}{}", "{\"a\":".repeat(1000), "}".repeat(1000))).is_err());
    }

    #[test]
    fn words_that_older_yaml_takes_for_booleans_are_quoted() {
        let value = json!({"on": ["Yes", "No", "north", "true", true], "text": "a No\nYes\n"});
        let text = to_string(&value).unwrap();
        assert!(text.starts_with("\"on\":\n- \"Yes\"\n- \"No\"\n- north\n- 'true'\n- true\n"), "{text}");
        assert_eq!(to_json(&text), Ok(value));
    }

    #[test]
    fn errors_have_a_place_where_there_is_one() {
        let error = to_json("a: 1\nb: [\n").unwrap_err();
        assert!(error.at.is_some_and(|(line, _)| line >= 2), "{error:?}");
        assert!(!error.message.contains("line"), "{error:?}");
        assert!(to_json("a: 1\na: 2\n").unwrap_err().message.contains("duplicate"));
        assert!(to_json("a: !x 1").unwrap_err().message.contains("tag"));
        assert!(to_json("a: .nan").unwrap_err().message.contains("number"));
        assert!(to_json("[1]: 2").unwrap_err().message.contains("key"));
    }
}
