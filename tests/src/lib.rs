//! The laboratory: network namespaces, real routers run in them, and what the suites need to drive and to
//! read both. Everything a [`lab::Lab`] makes is gone when it is dropped, after a panic too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the laboratory is test code: what goes wrong here fails the test that uses it"
)]

pub mod asker;
pub mod bgp;
pub mod cgroup;
pub mod chart;
pub mod clab;
pub mod cluster;
#[cfg(test)]
mod compatibility;
pub mod daemon;
pub mod docker;
pub mod e2e;
pub mod echo;
pub mod fabric;
pub mod fake;
pub mod golden;
pub mod interop;
pub mod lab;
pub mod mrt;
#[cfg(test)]
mod pages;
pub mod pair;
pub mod pcap;
pub mod process;
#[cfg(test)]
mod rfcs;
pub mod speaker;
pub mod station;
pub mod systemd;
pub mod tors;
pub mod traffic;
pub mod wait;
