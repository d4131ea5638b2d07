//! One peering: the finite state machine of RFC 4271 §8 with its timers, its negotiation and its
//! connection collisions.
//!
//! The caller owns sockets and the clock. It feeds [`Input`]s to [`Session::handle`], does what the
//! [`Action`]s ask in their order, and calls again with [`Input::Timeout`] when [`Session::deadline`] has come.
//!
//! A session is in one of three phases, each with the data that only it has:
//!
//! ```text
//!           Start, IdleHoldTimer                 KEEPALIVE on a connection in OpenConfirm
//!  Idle ───────────────────────────► Opening ───────────────────────────────────────────► Up
//!   ▲   stopped | IdleHoldTimer        dial + at most one accepted connection               │ one Established,
//!   │                                  Connect, Active, OpenSent, OpenConfirm               │ at most one newcomer
//!   └────────────── an error ────────────────┴────────────────── its end ───────────────────┘
//! ```
//!
//! A connection is consumed by its transitions: `OpenDelayed`, `OpenSent`, `OpenReceived`, `OpenConfirm`,
//! `Established`. Whatever ends one makes an `Ended` of it, the only thing that can send a NOTIFICATION,
//! and only once.
//!
//! Departures from the letter of RFC 4271 §8.2.2 are rows of `session/tests/table/rows.rs` with their reasons.

mod backoff;
mod collision;
mod config;
mod connection;
mod dial;
mod end;
mod established;
mod event;
mod fallback;
mod idle;
mod link;
mod memory;
mod negotiate;
mod open_confirm;
mod open_delayed;
mod open_sent;
mod opening;
#[expect(clippy::module_inception, reason = "the type is named Session")]
mod session;
mod timers;
mod up;
mod view;

pub use config::{GracefulRestartConfig, PeerAsn, SessionConfig, TimerConfig};
pub use event::{Action, ConnId, DownReason, Input, Negotiated, State, StopReason};
pub use session::Session;
pub use view::{Counters, SessionView};

#[cfg(test)]
mod tests;
