//! What operators see: the shapes of `-o json`, from which the command line makes its tables.
//!
//! Every key is always present and null where it has no value, so that a script can rely on it.

mod bfd;
mod explain;
mod objects;
mod session;
mod version;

pub use bfd::{BfdAnnounced, BfdDown, BfdView};
pub use explain::{Explanation, GateView, PeerVerdict, PrefixStory, SegmentStory};
pub use objects::{PoolView, RouteState, ServiceView};
pub use session::{
    CapabilityView, FamilyCount, HeldRoute, LastError, LearnedView, MessageCounts, NextTimer, PeerDetail,
    PeerSummary, PropagationView,
};
pub use version::{BmpView, ListenerView, VersionView};
