//! The shells around `speaker-core`: everything that touches a socket, a file, the kernel or a clock, and
//! the command line.

pub mod app;
mod bgp_status;
mod capability;
pub mod check;
pub mod cli;
pub mod demo;
pub mod hub;
pub mod io;
pub mod load;
pub mod metrics;
mod monitor;
pub mod operator;
mod panics;
pub mod question;
pub mod record;
mod reload;
