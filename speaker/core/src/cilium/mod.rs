//! Cilium's BGP kinds: what they mean.
//!
//! ```text
//! CiliumBGPClusterConfig ┐
//! Node                   ├─► operator ─► CiliumBGPNodeConfig ┐
//! …NodeConfigOverride    ┘                                   ├─► agent ─► peers, advertisements
//! CiliumBGPPeerConfig, CiliumBGPAdvertisement, Secret, Node  ┘
//! ```
//!
//! With Kubernetes the two halves are two processes, and the CiliumBGPNodeConfig stands in the API server
//! between them. Where the objects are files, the agent does both.

pub mod agent;
pub mod operator;
pub mod report;
mod router_ids;
pub mod status;

#[cfg(test)]
pub(crate) mod testing;
