//! The steps of `expect/`: what is done, and what must then be seen.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A step: one file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The file's name without its ending.
    #[serde(skip)]
    pub name: String,
    /// What is shown, for a person.
    pub claim: String,
    /// What is done first.
    #[serde(default, rename = "do", deserialize_with = "actions")]
    pub(super) actions: Vec<Action>,
    /// What must come true, all of it together.
    pub(super) see: Vec<Look>,
}

/// Something that is done in a topology. Files are relative to its folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Action {
    /// `cp`.
    Copy {
        /// What.
        from: String,
        /// Where.
        to: String,
    },
    /// `rm`.
    Remove(String),
    /// `docker pause`: a node stands still.
    Pause(String),
    /// `docker unpause`.
    Unpause(String),
    /// `docker exec`.
    Exec {
        /// Where.
        node: String,
        /// The command line.
        run: String,
    },
}

/// A command in a node and what it must show.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Look {
    pub(super) node: String,
    pub(super) run: String,
    /// Its exit status.
    #[serde(default)]
    exit: i32,
    /// What its output is as JSON: see [`differs`].
    json: Option<Value>,
    /// Texts that its output has.
    #[serde(default)]
    has: Vec<String>,
    /// Texts that it has not.
    #[serde(default)]
    lacks: Vec<String>,
}

/// `serde_yaml` reads an externally tagged enum from a YAML tag; a map with one key is easier to read.
fn actions<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Action>, D::Error> {
    let values = Vec::<Value>::deserialize(from)?;
    values.into_iter().map(|v| serde_json::from_value(v).map_err(serde::de::Error::custom)).collect()
}

impl Step {
    /// Reads a step.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let step: Self = serde_yaml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        if step.see.is_empty() {
            return Err(format!("{}: nothing is seen", file.display()));
        }
        for look in &step.see {
            if look.json.is_none() && look.has.is_empty() && look.lacks.is_empty() {
                return Err(format!("{}: {}: json, has or lacks", file.display(), look.run));
            }
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, ..step })
    }
}

impl Look {
    /// Whether an exit status and an output are what is expected.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn judge(&self, exit: i32, output: &str) -> Result<(), String> {
        if exit != self.exit {
            return Err(format!("exit status {exit}, not {}: {output}", self.exit));
        }
        if let Some(wanted) = &self.json {
            // `ip -j` prints nothing at all for an empty list in some versions.
            let output = if output.trim().is_empty() { "[]" } else { output };
            let shown: Value = serde_json::from_str(output).map_err(|e| format!("{e}: {output}"))?;
            if let Some(why) = differs(wanted, &shown) {
                return Err(format!("{why}, in {shown}"));
            }
        }
        if let Some(missing) = self.has.iter().find(|text| !output.contains(text.as_str())) {
            return Err(format!("{missing:?} is not in: {output}"));
        }
        if let Some(present) = self.lacks.iter().find(|text| output.contains(text.as_str())) {
            return Err(format!("{present:?} is in: {output}"));
        }
        Ok(())
    }
}

/// How `shown` differs from what is `wanted`: objects by the keys that are wanted, where null also stands for a key
/// that is not there; lists whole, in any order; everything else as it is.
#[must_use]
pub fn differs(wanted: &Value, shown: &Value) -> Option<String> {
    match (wanted, shown) {
        (Value::Object(wanted), Value::Object(shown)) => wanted.iter().find_map(|(key, value)| {
            let why = differs(value, shown.get(key).unwrap_or(&Value::Null))?;
            Some(format!("{key}: {why}"))
        }),
        (Value::Array(wanted), Value::Array(shown)) => {
            if wanted.len() != shown.len() {
                return Some(format!("{} elements, not {}", shown.len(), wanted.len()));
            }
            let mut free: Vec<&Value> = shown.iter().collect();
            (!assign(wanted, &mut free)).then(|| {
                let lost = wanted.iter().find(|w| shown.iter().all(|s| differs(w, s).is_some()));
                lost.map_or_else(
                    || "two elements are wanted that one alone is".to_owned(),
                    |lost| format!("no element is {lost}"),
                )
            })
        }
        _ => (wanted != shown).then(|| format!("{shown}, not {wanted}")),
    }
}

/// Whether each of `wanted` can have one of `free` for itself.
fn assign(wanted: &[Value], free: &mut Vec<&Value>) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return true };
    (0..free.len()).any(|n| {
        if differs(first, free[n]).is_some() {
            return false;
        }
        let taken = free.swap_remove(n);
        let fits = assign(rest, free);
        free.push(taken);
        let last = free.len() - 1;
        free.swap(n, last);
        fits
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(wanted: &Value, shown: &Value) -> bool {
        differs(wanted, shown).is_none()
    }

    #[test]
    fn objects_by_what_is_wanted_lists_whole_in_any_order() {
        assert!(same(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
        assert!(!same(&json!({"a": 1}), &json!({"b": 2})));
        assert!(same(&json!({"a": null}), &json!({"b": 2})));
        assert!(!same(&json!({"a": null}), &json!({"a": 0})));
        assert!(same(&json!([1, 2]), &json!([2, 1])));
        assert!(!same(&json!([1, 1]), &json!([1, 2])));
        assert!(!same(&json!([1]), &json!([1, 2])));
        assert!(!same(&json!([]), &json!({})));
        let (loose, tight) = (json!({}), json!({"a": 1}));
        assert!(same(&json!([loose, tight]), &json!([{"a": 1}, {"a": 2}])));
        assert!(!same(&json!([tight, tight]), &json!([{"a": 1}, {"a": 2}])));
    }

    #[test]
    fn a_look_is_judged_by_status_json_and_text() {
        let look: Look = serde_yaml::from_str("{node: a, run: b, exit: 4, has: [x], lacks: [y]}").unwrap();
        assert_eq!(look.judge(4, "ax"), Ok(()));
        assert!(look.judge(0, "ax").unwrap_err().contains("exit status 0"));
        assert!(look.judge(4, "a").unwrap_err().contains("\"x\" is not in"));
        assert!(look.judge(4, "xy").unwrap_err().contains("\"y\" is in"));
        let look: Look = serde_yaml::from_str("{node: a, run: b, json: [{k: v}]}").unwrap();
        assert_eq!(look.judge(0, r#"[{"k": "v", "l": 1}]"#), Ok(()));
        assert!(look.judge(0, r#"[{"k": "w"}]"#).unwrap_err().contains("no element is"));
        assert!(look.judge(0, "").unwrap_err().contains("0 elements, not 1"));
        serde_yaml::from_str::<Look>("{node: a, run: b, jason: []}").unwrap_err();
    }
}
