//! Reading a custom resource from JSON by hand: one wrong field must not cost the others, and each is to be
//! named.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Map, Value as Json};

use super::FieldError;
use crate::objects::{Condition, Selection, Selector, UnixSeconds};
use crate::selector::{Written, WrittenRequirement, check};

/// `metadata` of an object.
pub(super) fn metadata(object: &Json) -> Result<ObjectMeta, FieldError> {
    let written = object.get("metadata").unwrap_or(&Json::Null);
    serde_path_to_error::deserialize(written).map_err(|error| {
        FieldError::new(format!("metadata.{}", error.path()), error.into_inner().to_string())
    })
}

/// The conditions that can be read; what others wrote into the status is no fault of the object.
pub(super) fn conditions(object: &Json) -> Vec<Condition> {
    let written = object.pointer("/status/conditions").and_then(Json::as_array).into_iter().flatten();
    written
        .filter_map(|condition| {
            let text = |key: &str| condition.get(key).and_then(Json::as_str).map(str::to_owned);
            Some(Condition {
                kind: text("type")?,
                status: text("status")?,
                reason: text("reason").unwrap_or_default(),
                message: text("message").unwrap_or_default(),
                observed_generation: condition
                    .get("observedGeneration")
                    .and_then(Json::as_i64)
                    .unwrap_or_default(),
                since: text("lastTransitionTime").and_then(|time| seconds(&time)).unwrap_or_default(),
            })
        })
        .collect()
}

/// A point in time as the API server writes it.
fn seconds(text: &str) -> Option<UnixSeconds> {
    let time: Time = serde_json::from_value(Json::from(text)).ok()?;
    Some(time.0.as_second())
}

/// A value in a message: as JSON, cut short.
pub(super) fn brief(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// What reading found beside the values.
#[derive(Debug, Default)]
pub(super) struct Found {
    faults: RefCell<Vec<String>>,
    notes: RefCell<Vec<String>>,
}

impl Found {
    /// Faults and notes.
    pub(super) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.faults.into_inner(), self.notes.into_inner())
    }

    /// The value, and whether reading it found no fault.
    pub(super) fn sound<T>(&self, read: impl FnOnce() -> T) -> (T, bool) {
        let before = self.faults.borrow().len();
        let value = read();
        (value, self.faults.borrow().len() == before)
    }

    pub(super) fn fault(&self, fault: String) {
        self.faults.borrow_mut().push(fault);
    }
}

/// The fields of a mapping. A field that is null is absent.
pub(super) struct Fields<'a> {
    fields: &'a Map<String, Json>,
    path: String,
    found: &'a Found,
}

impl<'a> Fields<'a> {
    /// `spec` of an object; `None` where it is absent or no mapping, which is a fault unless `optional`.
    pub(super) fn spec(object: &'a Json, found: &'a Found, optional: bool) -> Option<Self> {
        match object.get("spec") {
            Some(Json::Object(fields)) => Some(Self { fields, path: "spec".to_owned(), found }),
            None | Some(Json::Null) if optional => None,
            None | Some(Json::Null) => {
                found.fault("spec: absent; write one".to_owned());
                None
            }
            Some(other) => {
                found.fault(format!("spec: {} is not a mapping; write one", brief(other)));
                None
            }
        }
    }

    /// Whether the field is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&'a Json> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    fn at(&self, key: &str) -> String {
        if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) }
    }

    /// Notes what is wrong with a field, or, with an empty key, with the whole.
    pub(super) fn fault(&self, key: &str, message: impl AsRef<str>) {
        self.found.fault(format!("{}: {}", self.at(key), message.as_ref()));
    }

    /// Notes that a field has no effect.
    pub(super) fn note(&self, key: &str, message: &str) {
        self.found.notes.borrow_mut().push(format!("{}: {message}", self.at(key)));
    }

    /// Notes that each of these fields, where it is there, has no effect.
    pub(super) fn without_effect(&self, keys: &[(&str, &str)]) {
        for (key, why) in keys {
            if self.has(key) {
                self.note(key, why);
            }
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Json::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            other => {
                self.fault(key, format!("{} is not text; write it in quotes", brief(other)));
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, key: &str) -> Option<&'a str> {
        if !self.has(key) {
            self.fault(key, "absent; write one");
        }
        self.text(key)
    }

    /// A text that `parse` takes.
    pub(super) fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key)?;
        parse(text).map_err(|message| self.fault(key, message)).ok()
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let value = known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if value.is_none() {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            self.fault(key, format!("{text:?} is not known here; write {}", words.join(", ")));
        }
        value
    }

    /// A whole number in a range.
    pub(super) fn number<T: TryFrom<i64>>(&self, key: &str, range: RangeInclusive<i64>) -> Option<T> {
        let written = self.get(key)?;
        let number = written.as_i64().filter(|number| range.contains(number));
        let value = number.and_then(|number| T::try_from(number).ok());
        if value.is_none() {
            let (low, high) = (range.start(), range.end());
            self.fault(key, format!("{} is not a number from {low} to {high}", brief(written)));
        }
        value
    }

    /// true or false.
    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let written = self.get(key)?;
        let value = written.as_bool();
        if value.is_none() {
            self.fault(key, format!("{} is not true or false; write one of them", brief(written)));
        }
        value
    }

    /// A mapping.
    pub(super) fn table(&self, key: &str) -> Option<Self> {
        match self.get(key)? {
            Json::Object(fields) => Some(Self { fields, path: self.at(key), found: self.found }),
            other => {
                self.fault(key, format!("{} is not a mapping; write one", brief(other)));
                None
            }
        }
    }

    fn entries(&self, key: &str) -> &'a [Json] {
        match self.get(key) {
            None => &[],
            Some(Json::Array(entries)) => entries,
            Some(other) => {
                self.fault(key, format!("{} is not a list; write one", brief(other)));
                &[]
            }
        }
    }

    /// The mappings of a list, each with its place; entries that are none are faults.
    pub(super) fn tables(&self, key: &str) -> impl Iterator<Item = (usize, Self)> {
        let path = self.at(key);
        self.entries(key).iter().enumerate().filter_map(move |(index, entry)| {
            let path = format!("{path}[{index}]");
            match entry {
                Json::Object(fields) => Some((index, Self { fields, path, found: self.found })),
                other => {
                    self.found.fault(format!("{path}: {} is not a mapping; write one", brief(other)));
                    None
                }
            }
        })
    }

    /// The texts of a list that `parse` takes.
    pub(super) fn texts<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut all = Vec::new();
        for (index, entry) in self.entries(key).iter().enumerate() {
            let value = match entry {
                Json::String(text) => parse(text),
                other => Err(format!("{} is not text; write it in quotes", brief(other))),
            };
            match value {
                Ok(value) => all.push(value),
                Err(message) => self.fault(&format!("{key}[{index}]"), message),
            }
        }
        all
    }

    /// A label selector.
    pub(super) fn selection(&self, key: &str, absent: Selection) -> Selection {
        let Some(written) = self.get(key) else { return absent };
        match selector(written, &self.at(key)) {
            Ok(selector) => Selection::These(selector),
            Err(faults) => {
                faults.into_iter().for_each(|fault| self.found.fault(fault));
                Selection::Unreadable
            }
        }
    }
}

/// A label selector from JSON.
///
/// # Errors
/// What is wrong with it, each with its path.
pub(super) fn selector(written: &Json, path: &str) -> Result<Selector, Vec<String>> {
    let fields: SelectorFields = serde_path_to_error::deserialize(written)
        .map_err(|error| vec![format!("{path}.{}: {}", error.path(), error.inner())])?;
    check(&fields.into()).map_err(|found| {
        found
            .into_iter()
            .map(|fault| format!("{path}.{}: {}; {}", fault.path, fault.message, fault.help))
            .collect()
    })
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelectorFields {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<RequirementFields>>,
}

#[derive(serde::Deserialize)]
struct RequirementFields {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

impl From<SelectorFields> for Written {
    fn from(fields: SelectorFields) -> Self {
        let expressions = fields.match_expressions.unwrap_or_default().into_iter();
        Self {
            labels: fields.match_labels.unwrap_or_default().into_iter().collect(),
            expressions: expressions
                .map(|written| WrittenRequirement {
                    key: written.key,
                    operator: written.operator,
                    values: written.values.unwrap_or_default(),
                })
                .collect(),
        }
    }
}
