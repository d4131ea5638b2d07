//! A BGP-4 codec and finite state machine without input or output.
//!
//! * [`types`]: values that are parsed once and valid ever after ([`types::Asn`], [`types::Prefix`] …).
//! * [`wire`]: messages to and from bytes. A decode fault is a value that says which NOTIFICATION or
//!   which RFC 7606 treatment it asks for.
//! * [`session`]: one peering. Bytes, TCP events and the time go in; bytes, TCP requests and routing
//!   events come out. It owns its timers, its negotiation and its collisions.
//! * [`mrt`]: tables and messages in files, to and from octets; [`bmp`]: the same on the way to a monitoring station.
//! * [`bfd`]: Bidirectional Forwarding Detection in the same manner: datagrams and the time go in,
//!   datagrams and changes of state come out. It is here because it lives by the same rules and the same
//!   clock, and ends BGP sessions.
//!
//! Nothing here reads a clock, opens a socket or starts a thread.

pub mod bfd;
pub mod bmp;
pub mod mrt;
mod octets;
pub mod random;
pub mod session;
pub mod types;
pub mod wire;
