//! The daemon and its command line from outside: real processes on loopback, one as the router, others as
//! nodes, and what their operators see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod check;
mod cilium;
mod command_line;
mod gates;
mod harness;
mod lifecycle;
mod manifests;
mod metrics;
mod operator;
mod reload;
