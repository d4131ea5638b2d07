//! Thin shells: bytes, files and the kernel on one side, values on the other. What they decide is how to
//! move something, never what.

pub(crate) mod allocator;
pub mod api;
pub mod bfd;
pub mod bmp;
pub mod boot;
pub mod carrier;
pub mod clock;
mod connect;
pub mod drain;
pub mod egress;
pub mod health;
pub mod http;
pub(crate) mod kept;
pub mod kernel;
pub mod keys;
pub mod kube;
pub mod learn;
pub mod link;
mod links;
pub mod listen;
pub mod manifests;
pub mod neighbors;
mod netlink;
pub mod parting;
pub mod peer;
pub mod process;
pub mod programming;
mod sockopt;
pub mod source;
mod state;
pub(crate) mod systemd;
mod tcp;
pub mod tcp_ao;
