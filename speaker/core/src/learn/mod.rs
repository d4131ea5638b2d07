//! Routes that are learned from peers, by choice (`learn`): an Adj-RIB-In of what the choice lets in, the selection
//! of RFC 4271 §9.1 with multipath, and what of it stands in the kernel.
//!
//! ```text
//! UPDATE ─► sift ─► Learned ─► decide ─► hops ─► Fib ─► routes of the main table
//!                     ▲ ▲
//!   the session's end ┘ └ what this host is attached to
//! ```
//!
//! A peer's task sifts: of a full table with `learn: default-route` two routes come this far. [`Learned`] keeps what
//! comes, `maxPrefixes` of each family and peer at most, those that may not be used among them, so that an operator
//! sees why. It is the helper of graceful restart too (RFC 4724 §4.2, RFC 9494): nothing else here keeps routes of a
//! session that is gone.

mod decide;
mod destination;
mod fib;
mod helper;
mod judge;
mod restart;
mod route;
mod select;
mod sets;
mod sift;
mod table;
mod view;

pub use fib::{Fib, FibOp, Found, METRIC, Reading};
pub use helper::{Helper, Loss};
pub use judge::{Attached, Surroundings};
pub use route::{Hop, Hops, Neighbor, Refusal, Rules, Stale, Verdict};
pub use select::Step;
pub use sift::{Sifted, sift};
pub use table::Learned;
pub use view::LearnedCount;

#[cfg(test)]
mod tests;
