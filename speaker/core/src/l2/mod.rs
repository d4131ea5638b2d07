//! Announcing addresses on the local segment by ARP and NDP: who may, who does, and what he says.
//!
//! ```text
//! Services, policies, Nodes ─► Planner ─► units (addresses, candidates)
//!                                           │
//! Leases seen, own renewals ───────────► Election ─► claims and releases
//!                                           │
//! frames ───────────────────────────────► held ─► answers
//! ```

pub mod election;
pub mod frame;
pub mod planner;
pub mod segment;
