//! The small values of BGP: parsed once, valid ever after.

mod asn;
mod community;
mod family;
mod hold_time;
mod prefix;
mod router_id;
mod time;

pub use asn::{AS_TRANS, Asn, AsnError};
pub use community::{Community, CommunityError, ExtendedCommunity, LargeCommunity};
pub use family::{AfiSafi, Family, FamilyMap, FamilySet};
pub use hold_time::{HoldTime, HoldTimeError};
pub use prefix::{Prefix, PrefixError};
pub use router_id::{RouterId, RouterIdError};
pub use time::Timestamp;
