//! The speaker's decisions, without input or output: objects and configuration go in, addresses, routes
//! and their reasons come out.
//!
//! ```text
//! objects ─► Inputs ─┬─► ipam      ─► status of Services and pools
//!                    └─► announce  ─► LocRib ─► export ─► update groups (Adj-RIB-Out)
//! ```

pub mod cover;
pub mod danger;
pub mod inputs;
pub mod pools;
pub mod rib;
mod span;
pub mod view;

pub use span::Count;
