//! Pools and Services, as both roles show them.

use std::collections::BTreeMap;

use bgp_proto::types::Family;
use speaker_core::inputs::Inputs;
use speaker_core::ipam::Ipam;
use speaker_core::l2::segment::Standing;

use super::Samples;
use super::catalogue as names;

/// Adds how full pools are, and what became of Services.
pub(crate) fn observe(samples: &mut Samples, inputs: &Inputs, ipam: Option<&Ipam>) {
    for entry in inputs.pools.iter().take(names::MOST) {
        let name = &entry.pool.name;
        samples.flag(&names::POOL_DISABLED, &[name], entry.pool.disabled);
        samples.flag(&names::POOL_CONFLICTING, &[name], entry.conflict.is_some());
        let Some(status) = ipam.and_then(|ipam| ipam.pool_status(inputs, name)) else { continue };
        for family in Family::ALL {
            let labels = [name, family_word(family)];
            samples.gauge(&names::POOL_ADDRESSES, &labels, status.total.get(family).as_f64());
            samples.gauge(&names::POOL_USED, &labels, status.used.get(family).as_f64());
            samples.gauge(&names::POOL_AVAILABLE, &labels, status.available.get(family).as_f64());
        }
    }
    samples.number(&names::OMITTED, &["pool"], inputs.pools.iter().count().saturating_sub(names::MOST));
    let services = inputs.service_counts();
    samples.number(&names::SERVICES, &["satisfied"], services.satisfied);
    samples.number(&names::SERVICES, &["unsatisfied"], services.unsatisfied);
    samples.number(&names::SERVICES, &["unknown"], services.unknown);
}

/// Adds what becomes of addresses on the segments; nothing where L2 announcements are off.
pub(crate) fn observe_segment(
    samples: &mut Samples,
    standings: Option<&BTreeMap<(Family, Standing), usize>>,
) {
    let Some(standings) = standings else { return };
    for family in Family::ALL {
        for standing in Standing::ALL {
            let count = standings.get(&(family, standing)).copied().unwrap_or_default();
            samples.number(&names::L2_ADDRESSES, &[family_word(family), standing.as_str()], count);
        }
    }
}

/// The family of addresses, where no SAFI is meant.
fn family_word(family: Family) -> &'static str {
    match family {
        Family::Ipv4Unicast => "ipv4",
        Family::Ipv6Unicast => "ipv6",
    }
}
