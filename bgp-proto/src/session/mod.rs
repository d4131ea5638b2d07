//! One peering: the finite state machine of RFC 4271 §8 with its timers, its negotiation and its
//! connection collisions.
//!
//! The caller owns sockets and the clock. It feeds [`Input`]s to `Session::handle`, does what the
//! [`Action`]s ask, and calls again with [`Input::Timeout`] when `Session::deadline` has come.

mod api_stub;
mod config;
mod event;

pub use api_stub::{Counters, Session, SessionView};
pub use config::{GracefulRestartConfig, PeerAsn, SessionConfig, TimerConfig};
pub use event::{Action, ConnId, DownReason, Input, Negotiated, State, StopReason};
