//! The speaker's decisions, without input or output: objects and configuration go in, addresses, routes
//! and their reasons come out.
//!
//! ```text
//! objects ─► Inputs ─┬─► ipam      ─► status of Services and pools
//!                    └─► announce  ─► LocRib ─► export ─► update groups (Adj-RIB-Out)
//! ```

pub mod announce;
pub mod bmp;
pub mod cilium;
pub mod cover;
pub mod danger;
pub mod datapath;
pub mod discovery;
pub mod drain;
pub mod dump;
pub mod export;
mod few;
pub mod fnv;
pub mod inputs;
pub mod ipam;
pub mod kept;
pub mod l2;
pub mod learn;
pub mod node_ipam;
pub mod operator;
pub mod pools;
pub mod prefixes;
pub mod programming;
pub mod readiness;
pub mod received;
mod rfc3339;
pub mod rib;
mod span;
pub mod view;
pub mod world;

pub use rfc3339::rfc3339;
pub use span::Count;
