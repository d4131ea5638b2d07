//! The speaker's decisions, without input or output: objects and configuration go in, addresses, routes
//! and their reasons come out.
//!
//! ```text
//! objects ─► Inputs ─┬─► ipam      ─► status of Services and pools
//!                    └─► announce  ─► LocRib ─► export ─► update groups (Adj-RIB-Out)
//! ```

pub mod inputs;
pub mod pools;
pub mod rib;
pub mod view;
