//! Bidirectional Forwarding Detection: RFC 5880 in asynchronous mode, over IP as RFC 5881 (one hop) and
//! RFC 5883 (several hops) say, and what BGP makes of it (RFC 5882, RFC 9384).
//!
//! * [`Packet`]: the control packet.
//! * [`Session`]: one session. Packets and the time go in, packets and changes of state come out.
//! * [`Sessions`]: all sessions of a process: which one a datagram is for, and whose deadline is next.
//! * [`Guard`]: when BGP is closed for the sake of BFD, and when it may come back.
//!
//! Not here: authentication (packets with it are discarded), Demand mode of our own (a peer that wants it
//! gets it), the Echo function (never sent, and announced as not taken). C is always clear: BFD runs in the
//! process that speaks BGP, and ends with it.

mod guard;
mod packet;
mod session;
mod sessions;
mod timing;
mod view;

pub use guard::{Guard, Order};
pub use packet::{Diagnostic, Discard, PACKET_LEN, Packet, State};
pub use session::{Action, Cause, Change, Input, Session};
pub use sessions::{Datagram, Hops, Output, Path, SessionId, Sessions};
pub use timing::Config;
pub use view::{Announced, SessionView};

#[cfg(test)]
mod tests;
