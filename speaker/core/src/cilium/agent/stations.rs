//! `bmpServers` of an instance: monitoring stations (RFC 7854) as `speaker.yaml` has them in `bmp`.

use std::net::SocketAddr;
use std::time::Duration;

use speaker_config::crd::cluster_config::MonitoringPolicy;
use speaker_config::model::BmpCollector;
use speaker_config::objects::{BgpInstance, BgpStation};

/// "with an initial backoff of 30 seconds" (RFC 7854 §3.2).
const CONNECT_RETRY: Duration = Duration::from_secs(30);

/// The stations of an instance, each named after it and itself (`main/noc`).
pub(super) fn of(instance: &BgpInstance) -> impl Iterator<Item = BmpCollector> {
    instance.bmp_servers.iter().map(|station| collector(&instance.name, station))
}

/// Between a peer's Adj-RIB-In and our tables there is no policy of ours, so that what is told before policy is
/// what stands there after it.
fn collector(instance: &str, station: &BgpStation) -> BmpCollector {
    let policy = station.policy;
    BmpCollector {
        name: format!("{instance}/{}", station.name),
        address: SocketAddr::new(station.address, station.port).to_string(),
        adj_rib_in: policy != MonitoringPolicy::Local,
        adj_rib_out: policy == MonitoringPolicy::All,
        loc_rib: matches!(policy, MonitoringPolicy::Local | MonitoringPolicy::All),
        statistics: station.statistics.map(|seconds| Duration::from_secs(seconds.into())),
        connect_retry: CONNECT_RETRY,
    }
}
