//! Messages to and from bytes.
//!
//! Decoding has two phases. Framing finds one whole message in the receive buffer and checks its header
//! (RFC 4271 §6.1). The body is then decoded from an owned slice, and every fault in it is a value:
//! [`DecodeError`] where the session must end with a NOTIFICATION, [`AttributeIssue`] where RFC 7606 lets
//! it live.

mod as_path;
mod attributes;
mod capability;
mod context;
mod encode;
mod error;
mod frame;
mod message;
mod nlri;
mod notification;
mod open;
mod pack;
mod parse;
mod refresh;
mod update;

pub use attributes::{Aggregator, AsPath, AsPathSegment, Origin, PathAttributes, RawAttribute, SegmentKind};
pub use context::{DecodeContext, EncodeContext};
pub(crate) use encode::attributes as encode_attributes;
pub use error::{AttributeIssue, DecodeError, Disposition};
pub use frame::{keepalive, read_message};
pub use message::{
    Announcement, Capability, GracefulRestart, Message, MessageKind, NextHop, Notification, Open,
    RefreshKind, RouteRefresh, Update,
};
pub use nlri::{Nlri, NlriBlock, NlriIter};
pub use notification::codes;
pub(crate) use pack::update_of;
pub use pack::{AttributesTooLong, end_of_rib, pack_announcements, pack_withdrawals};

#[cfg(test)]
mod testing;
