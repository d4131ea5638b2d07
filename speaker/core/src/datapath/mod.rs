//! What the kernel of this node is to carry, and what has to be done about it.
//!
//! ```text
//! announce ─► Change ─┐
//!                     ├─► Keeper ─► KernelOps ─► shell ─► rtnetlink
//! dump ─► KernelState ┤       └───► KernelReport ─► the gate "kernel" of announce
//! acknowledgements ───┘
//! ```
//!
//! Two kinds of routes, each marked with [`PROTOCOL`]:
//!
//! * the loop guard: a blackhole or unreachable route of every announced prefix as a whole, in [`TABLE`], which a
//!   rule `not iif lo` of [`PREFERENCES`] leads to. A packet for an address that nobody uses, or for a port that
//!   nobody serves, ends here instead of following the default route back to the router that sent it. What the
//!   host itself sends does not meet the rule: its destination is translated in OUTPUT only after a route was
//!   found, and a blackhole in the main table would cut it off.
//! * local delivery: `local` routes on the loopback interface (AnyIP) for single addresses, in the table `local`.
//!   The kernel asks that table first, so that the guard does not swallow them.

mod keeper;
mod linger;
mod picture;
mod plan;
mod report;
mod state;
mod wanted;

pub use keeper::Keeper;
pub use plan::{cleanup, obstacles};
pub use report::{Access, Carriage, Kernel, KernelReport, Outcome};
pub use state::{
    Device, KernelOp, KernelRoute, KernelRule, KernelState, OwnRoute, RouteKey, RouteKind, RuleShape,
};
pub use wanted::{Change, Guard, GuardKind, Wanted};

use std::ops::RangeInclusive;

/// The routing table of the loop guard (RTA_TABLE). Above 255, where the tables that people and other programs
/// number by hand lie, and named after BGP's port.
pub const TABLE: u32 = 10_179;

/// The mark of every route and rule of ours (rtm_protocol, FRA_PROTOCOL), by which they are known again after a
/// crash. It stands in no list of rt_protos.
pub const PROTOCOL: u8 = 179;

/// Preferences of the rule that leads to [`TABLE`]: the first that is free. Behind the rule of the table `local`
/// (0, and 100 where Cilium has moved it) and that of VRFs (1000), before `main` (32766) and before the rules to
/// which the kernel itself gives a number (32765 and down).
pub const PREFERENCES: RangeInclusive<u32> = 10_179..=10_188;

/// The metric of our routes: IPv6 knows no other default, and IPv4 is told the same.
pub const METRIC: u32 = 1_024;

/// The table `local`, RT_TABLE_LOCAL: addresses that are delivered on this host.
pub const LOCAL_TABLE: u32 = 255;
