//! `router`.

use std::net::SocketAddr;

use bgp_proto::types::Asn;

use super::reader::{Report, Table};
use super::settings;
use crate::model::Router;

/// The section, without what only other sections know to be wrong.
pub(super) fn router(table: &Table<'_>) -> Router {
    let mut listen: Vec<SocketAddr> = Vec::new();
    for field in table.list("listen") {
        let help = "write address and port, for example 0.0.0.0:179 or [::]:179";
        let Some(socket) = field.parse::<SocketAddr>(help) else { continue };
        if let SocketAddr::V6(v6) = socket
            && v6.ip().is_unicast_link_local()
        {
            field.error(
                format!("{} is link-local, and belongs to one interface", v6.ip()),
                "write [::]:179, which takes link-local peers too",
            );
        }
        if listen.contains(&socket) {
            field.error(format!("{socket} stands here twice"), "remove one");
        }
        let (address, plain) = (socket.ip(), socket.ip().to_canonical());
        if address != plain {
            let help = format!("write {plain}:{}", socket.port());
            field.error(format!("{address} is an IPv4-mapped address"), help);
        }
        listen.push(socket);
    }
    Router {
        asn: table.read("asn", settings::asn),
        router_id: table
            .read("routerId", |field| field.parse("write it as an IPv4 address, for example 10.0.0.1")),
        listen,
    }
}

/// Peers need our AS number, from the router or each from its own `localAsn`.
pub(super) fn check_asn(
    table: &Table<'_>,
    report: &Report,
    local_asns: impl IntoIterator<Item = Option<Asn>>,
) {
    let router = table.get("router");
    let given = router.as_ref().and_then(|field| field.entry("asn"));
    if given.is_none() && local_asns.into_iter().any(|asn| asn.is_none()) {
        let place = router.map_or_else(|| table.place.clone(), |field| field.place);
        report.error(
            &place,
            "router.asn is missing, and there are peers",
            "write our AS number: router: {asn: 64501}",
        );
    }
}
