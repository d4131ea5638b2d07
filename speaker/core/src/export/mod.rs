//! From the Loc-RIB to the wire: what each peer is told, and the bytes that say it.
//!
//! ```text
//! LocRib ─► Exporter ─► Table (one an update group) ◄─ Cursor (one a peer) ─► Span (bytes)
//!          hub writes     prefix → attributes,          peer task reads
//!                         sequence of its last change
//! ```
//!
//! Peers of one family with the same outbound policy, session class, next hop and encoding form an update
//! group. The group's [`Table`] is versioned, and a peer is a [`Cursor`] in it: pending is what is newer
//! than the cursor, so that nothing grows with a slow peer. A route refresh is [`Cursor::rewind`], a change
//! of policy [`Cursor::migrate`]. What several peers are to be told is encoded once ([`Span`]), by the
//! first of them that asks, and never while the table is locked.

mod cursor;
mod exporter;
mod feed;
mod group;
mod limit;
mod local;
mod next_hop;
mod outbox;
mod policy;
mod span;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod view;

pub use cursor::Cursor;
pub use exporter::{Changes, Exporter};
pub use feed::{Feed, Told};
pub use next_hop::{NextHopInputs, NoNextHop, is_loopback, next_hop};
pub use outbox::{Begun, Outbox};
pub use policy::{Conflict, DEFAULT_LOCAL_PREFERENCE, Held, PeerOut, conflicts};
pub use span::Span;
pub use table::{Phase, Table};
pub use view::{AdvertisedRoute, LocalAdvertisement, LocalRoute};
