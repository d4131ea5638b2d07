//! Values out of the tree, with every fault written down and none in the way of the next.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bgp_proto::types::{Family, FamilyMap, FamilySet, Prefix};

pub(super) use super::report::{Place, Report, Spanned};
use super::schema::{self, Section};
use crate::diagnostic::nearest;
use crate::objects::Selector;
use crate::selector::{Written, WrittenRequirement, check};
use crate::tree::{Entry, Node, Value};

/// A value that has not been read yet.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    report: &'a Report,
    node: &'a Node,
    pub(super) place: Place,
}

/// A mapping whose keys are known.
#[derive(Debug)]
pub(super) struct Table<'a> {
    report: &'a Report,
    entries: &'a [Entry],
    pub(super) place: Place,
}

impl<'a> Table<'a> {
    /// The value of `key`; absent also where nothing is written behind the key.
    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        if entry.value.is_null() {
            return None;
        }
        let place = self.place.key(entry.value.at, key);
        Some(Field { report: self.report, node: &entry.value, place })
    }

    /// Whether the key is written, with or without a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The value of `key`, read by `read`.
    pub(super) fn read<T>(&self, key: &str, read: impl FnOnce(&Field<'a>) -> Option<T>) -> Option<T> {
        self.get(key).as_ref().and_then(read)
    }

    /// The same with its place.
    pub(super) fn spanned<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let field = self.get(key)?;
        Some(Spanned { value: read(&field)?, place: field.place })
    }

    /// A value that must be there.
    pub(super) fn required<T>(
        &self,
        key: &str,
        help: &str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        if !self.has(key) {
            self.report.error(&self.place, format!("{key} is missing"), help);
        }
        self.spanned(key, read)
    }

    /// The mapping at `key`.
    pub(super) fn table(&self, key: &str, section: &Section) -> Option<Table<'a>> {
        self.get(key)?.table(section)
    }

    /// The entries of the list at `key`; none where it is absent.
    pub(super) fn list(&self, key: &str) -> Vec<Field<'a>> {
        self.get(key).and_then(|field| field.items()).unwrap_or_default()
    }

    /// A number for each family.
    pub(super) fn per_family<T>(&self, read: impl Fn(&Field<'a>) -> Option<T>) -> FamilyMap<Option<T>> {
        FamilyMap::from_fn(|family| {
            let field = self.get(&family.to_string()).or_else(|| {
                self.get(match family {
                    Family::Ipv4Unicast => "ipv4",
                    Family::Ipv6Unicast => "ipv6",
                })
            })?;
            read(&field)
        })
    }
}

impl<'a> Field<'a> {
    /// The root of the file.
    pub(super) fn root(report: &'a Report, node: &'a Node) -> Self {
        Field { report, node, place: Place { at: node.at, path: String::new() } }
    }

    pub(super) fn error(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report.error(&self.place, message, help);
    }

    pub(super) fn warn(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report.warn(&self.place, message, help);
    }

    fn wants(&self, what: &str, help: &str) {
        self.error(format!("{what} is wanted here, not {}", self.node.kind()), help);
    }

    /// A single value as text.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => {
                self.wants("a single value", "write one word, number or quoted text");
                None
            }
        }
    }

    /// The text, where this is a single value; no error otherwise.
    pub(super) fn single(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The value of `key`, where this is a mapping that has it; no error otherwise.
    pub(super) fn entry(&self, key: &str) -> Option<Self> {
        let Value::Mapping(entries) = &self.node.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        let place = self.place.key(entry.value.at, key);
        Some(Field { report: self.report, node: &entry.value, place })
    }

    /// Text that is not empty.
    pub(super) fn word(&self) -> Option<String> {
        let text = self.text()?;
        if text.is_empty() {
            self.error("the text is empty", "write a value or remove the key");
            return None;
        }
        Some(text.to_owned())
    }

    /// `false`, which switches off what a group has on.
    pub(super) fn is_false(&self) -> bool {
        matches!(&self.node.value, Value::Scalar { text, plain: true } if text == "false")
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        self.choice(&[("true", true), ("false", false)])
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let help = match nearest(text, known.iter().copied()) {
                Some(word) => format!("did you mean {word}?"),
                None => format!("write one of: {}", known.join(", ")),
            };
            self.error(format!("{text:?} is not known here"), help);
        }
        found
    }

    /// A whole number within bounds.
    pub(super) fn number<T>(&self, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let text = self.text()?;
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        if number.is_none() {
            let help = format!("write a whole number from {} to {}", bounds.start(), bounds.end());
            self.error(format!("{text:?} is not such a number"), help);
        }
        number
    }

    /// What `T` makes of the text. Its errors may say what to do behind a semicolon.
    pub(super) fn parse<T>(&self, help: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text()?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let error: T::Err = error;
                let whole = error.to_string();
                match whole.split_once("; ") {
                    Some((message, help)) => self.error(message, help),
                    None => self.error(format!("{text:?} cannot be read: {whole}"), help),
                }
                None
            }
        }
    }

    /// A time: `9s`, `300ms`, `1m30s`, `0`.
    pub(super) fn duration(&self) -> Option<Duration> {
        let text = self.text()?;
        let duration = duration(text);
        if duration.is_none() {
            let help = match text.parse::<u32>() {
                Ok(number) => format!("write the unit with it, for example {number}s"),
                Err(_) => "write it as 9s, 300ms, 1m or 1m30s".to_owned(),
            };
            self.error(format!("{text:?} is not a time"), help);
        }
        duration
    }

    /// A prefix without host bits. They are refused, not masked: `203.0.113.5/24` may mean the network or
    /// the one address, and what is announced by mistake reaches other people's routers.
    pub(super) fn prefix(&self) -> Option<Prefix> {
        let prefix: Prefix = self.parse("write it as 203.0.113.0/24 or 2001:db8::/32")?;
        let text = self.text()?;
        if let IpAddr::V6(v6) = prefix.addr()
            && let (Some(v4), Some(len)) = (v6.to_ipv4_mapped(), prefix.len().checked_sub(96))
        {
            self.error(format!("{text} is an IPv4-mapped prefix"), format!("write {v4}/{len}"));
            return None;
        }
        let (address, _) = text.split_once('/')?;
        if address.parse() == Ok(prefix.addr()) {
            return Some(prefix);
        }
        self.error(
            format!("{text} has bits set behind its length"),
            format!(
                "write {prefix} for the network, or {address}/{} for the address",
                prefix.family().max_len()
            ),
        );
        None
    }

    /// A list.
    pub(super) fn items(&self) -> Option<Vec<Field<'a>>> {
        let Value::Sequence(nodes) = &self.node.value else {
            self.wants("a list", "write [a, b], or one entry a line with a dash before it");
            return None;
        };
        let fields = nodes.iter().enumerate().map(|(index, node)| Field {
            report: self.report,
            node,
            place: Place { at: node.at, path: format!("{}[{index}]", self.place.path) },
        });
        Some(fields.collect())
    }

    /// A list of which each entry is read by `read`; those that cannot be read are left out.
    pub(super) fn each<T>(&self, read: impl Fn(&Field<'a>) -> Option<T>) -> Option<Vec<T>> {
        Some(self.items()?.iter().filter_map(read).collect())
    }

    /// A set of families that is not empty.
    pub(super) fn families(&self) -> Option<FamilySet> {
        let mut set = FamilySet::EMPTY;
        let items = self.items()?;
        for field in &items {
            let Some(family) = field.parse::<Family>("write ipv4-unicast or ipv6-unicast") else { continue };
            if set.contains(family) {
                field.error(format!("{family} stands here twice"), "remove one");
            }
            set.insert(family);
        }
        if items.is_empty() {
            self.error("the list is empty", "write ipv4-unicast, ipv6-unicast or both, or remove the key");
        }
        Some(set).filter(|set| !set.is_empty())
    }

    /// A mapping with the keys of `section`. Unknown keys, keys that stand twice and keys with nothing
    /// behind them are errors; only in the file itself may a section be empty.
    pub(super) fn table(&self, section: &Section) -> Option<Table<'a>> {
        let Value::Mapping(entries) = &self.node.value else {
            self.wants(
                "a mapping",
                &format!("its keys are: {}", section.all().collect::<Vec<_>>().join(", ")),
            );
            return None;
        };
        let mut lines = BTreeMap::new();
        for entry in entries {
            let place = self.place.key(entry.at, &entry.key);
            if let Some(line) = lines.insert(&entry.key, entry.at.line) {
                let message = format!("the key stands here twice, first in line {line}");
                self.report.error(&place, message, "remove one of the two");
            } else if !section.all().any(|key| key == entry.key) {
                self.report.error(&place, "unknown key", unknown_help(section, &entry.key));
            } else if entry.value.is_null() && !self.place.path.is_empty() {
                self.report.error(&place, "nothing stands behind the key", "write a value or remove the key");
            }
        }
        Some(Table { report: self.report, entries, place: self.place.clone() })
    }

    /// A label selector.
    pub(super) fn selector(&self) -> Option<Selector> {
        let table = self.table(&schema::SELECTOR)?;
        let mut written = Written::default();
        if let Some(labels) = table.get("matchLabels") {
            let Value::Mapping(entries) = &labels.node.value else {
                labels.wants("a mapping", "write {label: value}");
                return None;
            };
            for entry in entries {
                let place = labels.place.key(entry.value.at, &entry.key);
                let value = Field { report: self.report, node: &entry.value, place }.text()?;
                written.labels.push((entry.key.clone(), value.to_owned()));
            }
        }
        for field in table.list("matchExpressions") {
            let table = field.table(&schema::REQUIREMENT)?;
            let text = |key, help| Some(table.required(key, help, |f| f.text().map(str::to_owned))?.value);
            let key = text("key", "write the label's key");
            let operator = text("operator", "write In, NotIn, Exists or DoesNotExist");
            let values = table.list("values").iter().filter_map(|f| f.text().map(str::to_owned)).collect();
            written.expressions.push(WrittenRequirement { key: key?, operator: operator?, values });
        }
        check(&written)
            .map_err(|faults| {
                for fault in faults {
                    let at = crate::tree::locate(self.node, &fault.path);
                    self.report.error(&self.place.key(at, &fault.path), fault.message, fault.help);
                }
            })
            .ok()
    }
}

fn unknown_help(section: &Section, key: &str) -> String {
    if let Some(known) = nearest(key, section.all()) {
        return format!("did you mean {known}?");
    }
    let elsewhere = schema::ALL.iter().find(|other| other.keys.contains(&key));
    match elsewhere {
        Some(other) => format!("{key} is a key of {}, not of {}", other.name, section.name),
        None => format!("the keys of {} are: {}", section.name, section.all().collect::<Vec<_>>().join(", ")),
    }
}

fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(end)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(millis)?)?;
        rest = behind;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("9s", 9000),
            ("300ms", 300),
            ("1m", 60_000),
            ("1m30s", 90_000),
            ("1h1ms", 3_600_001),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "9",
            "s",
            "9 s",
            "-1s",
            "1.5s",
            "9sec",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
