//! Secrets, of which only TCP MD5 keys are ever read.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ObjectKey;

/// A value of a Secret. It is neither shown nor recorded: a replay knows that there was one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// A value.
    #[must_use]
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(octets.into())
    }

    /// Its octets. Not for logs.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into_bytes()))
    }
}

/// Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `data`, decoded, and `stringData`.
    pub data: BTreeMap<String, SecretValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_neither_shown_nor_recorded() {
        let data = BTreeMap::from([("password".to_owned(), SecretValue::new("hunter2"))]);
        let secret = Secret { key: ObjectKey::new("kube-system", "bgp"), data };
        assert!(!format!("{secret:?}").contains("hunter2"));
        let recorded = serde_json::to_string(&secret).unwrap();
        assert!(!recorded.contains("hunter2") && recorded.contains("password"), "{recorded}");
    }
}
