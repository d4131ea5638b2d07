//! Decode faults, and the one map from them to NOTIFICATION or RFC 7606 treatment.

use bytes::Bytes;

use super::Notification;

/// A fault that ends the session: the NOTIFICATION to send, with its data filled in, and what was wrong
/// in words for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{notification}: {detail}")]
pub struct DecodeError {
    /// What goes to the peer.
    pub notification: Notification,
    /// What goes into the log: field, offset, found and expected.
    pub detail: String,
    /// The whole message, for the log (RFC 7606 §6); behind a faulty header there is none, and it is the header.
    pub message: Bytes,
}

impl DecodeError {
    /// NOTIFICATION `code`/`subcode` with `data`, and the words for the log.
    pub(crate) fn new(code: u8, subcode: u8, data: impl Into<Bytes>, detail: impl Into<String>) -> Self {
        let notification = Notification { code, subcode, data: data.into() };
        Self { notification, detail: detail.into(), message: Bytes::new() }
    }
}

/// What RFC 7606 §2 makes of a faulty UPDATE. Ordered by strength; the strongest one wins (§3 (h)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Disposition {
    /// No fault.
    #[default]
    Accept,
    /// The attribute is dropped and the UPDATE goes on.
    AttributeDiscard,
    /// The routes of the UPDATE are treated as if they had been withdrawn.
    TreatAsWithdraw,
    /// The session ends with a NOTIFICATION.
    SessionReset,
}

/// One fault in one attribute that the session survives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeIssue {
    /// The attribute's type code; 0 for the Withdrawn Routes and NLRI fields.
    pub code: u8,
    /// What is done about it.
    pub disposition: Disposition,
    /// What was wrong, in words.
    pub detail: String,
    /// The whole offending attribute (flags, type, length, value), cut to what was there.
    pub attribute: Bytes,
}
