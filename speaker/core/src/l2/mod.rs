//! Announcing addresses on the local segment by ARP and NDP: who may, who does, and what he says.
//!
//! ```text
//! Services, policies, Nodes ─► Planner ─► units (addresses, candidates)
//!                                           │
//! kube-proxy is done ──────────────────► Fitness (addresses that this node can serve)
//!                                           │
//! Leases seen, own renewals ───────────► Election ─► claims and releases
//!                                           │
//! frames ───────────────────────────────► held ─► answers
//! ```

pub mod election;
mod fitness;
pub mod frame;
pub mod planner;
pub mod segment;
