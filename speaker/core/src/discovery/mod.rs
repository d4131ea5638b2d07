//! Who is at the other end of a link: router advertisements, by which unnumbered peers find each other (what routers
//! call `neighbor eth1 interface`).
//!
//! ```text
//! packets ─► packet::read ─► Discovery ─► Say (when to advertise and solicit)
//!                                └──────► Sight (who the neighbor is, and who else is there)
//! ```
//!
//! Both ends send router advertisements and take the source of the other's for the address of the BGP session. Ours say
//! that we are no default router (lifetime 0) and carry no prefix: a host that hears them changes nothing.

mod machine;
pub mod packet;

pub use machine::{Discovery, Say, Sight};
