//! `bmp[]`: monitoring stations.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::{Field, Report, Table};
use super::schema;
use super::settings::{at_least_a_second, unless_off};
use crate::model::BmpCollector;

/// `connectRetry`, "with an initial backoff of 30 seconds" as RFC 7854 §3.2 has it.
const CONNECT_RETRY: Duration = Duration::from_secs(30);
/// `statistics`.
const STATISTICS: Duration = Duration::from_secs(60);

/// The tables that `monitor` may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Monitored {
    In,
    Out,
    Local,
}

/// Every entry, and an error for a name that stands twice.
pub(super) fn collectors(table: &Table<'_>, report: &Report) -> Vec<BmpCollector> {
    let mut seen = BTreeMap::new();
    let mut all = Vec::new();
    for field in table.list("bmp") {
        let Some(read) = field.table(&schema::BMP).and_then(|table| collector(&table)) else { continue };
        if let Some(line) = seen.insert(read.name.clone(), field.place.at.line) {
            let message = format!("a collector named {} stands in line {line}", read.name);
            report.error(&field.place, message, "give each collector a name of its own");
        }
        all.push(read);
    }
    all
}

fn collector(table: &Table<'_>) -> Option<BmpCollector> {
    let name = table.required("name", "a collector needs a name", Field::word);
    let address =
        table.required("address", "write where the collector listens, for example 192.0.2.10:11019", address);
    let monitored = table.read("monitor", |field| {
        let tables = field.each(|field| {
            field.choice(&[
                ("adj-rib-in", Monitored::In),
                ("adj-rib-out", Monitored::Out),
                ("loc-rib", Monitored::Local),
            ])
        })?;
        if tables.is_empty() {
            field.error("there is nothing to monitor", "name a table, or leave `monitor` out for all three");
        }
        Some(tables)
    });
    let has = |table| monitored.as_ref().is_none_or(|tables| tables.contains(&table));
    let statistics = table.read("statistics", |field| unless_off(field, at_least_a_second));
    Some(BmpCollector {
        name: name?.value,
        address: address?.value,
        adj_rib_in: has(Monitored::In),
        adj_rib_out: has(Monitored::Out),
        loc_rib: has(Monitored::Local),
        statistics: statistics.unwrap_or(Some(STATISTICS)),
        connect_retry: table.read("connectRetry", at_least_a_second).unwrap_or(CONNECT_RETRY),
    })
}

/// A name or an address, and a port. Names are looked up at each attempt.
fn address(field: &Field<'_>) -> Option<String> {
    let text = field.word()?;
    let parts = text.rsplit_once(':').filter(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host_is_right = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']),
        };
        host_is_right && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if parts.is_none() {
        field.error(
            format!("{text:?} is no host and port"),
            "write it as 192.0.2.10:11019, [2001:db8::10]:11019 or collector.example.com:11019",
        );
    }
    parts.map(|_| text.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::speaker::parse;

    fn read(entry: &str) -> Result<BmpCollector, String> {
        let text = format!("bmp: [{entry}]");
        match parse(&text, "f", Path::new("/etc/speaker")) {
            Ok((mut config, _)) => Ok(config.bmp.remove(0)),
            Err(found) => Err(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_page() {
        let expected = BmpCollector {
            name: "noc".to_owned(),
            address: "192.0.2.10:11019".to_owned(),
            adj_rib_in: true,
            adj_rib_out: true,
            loc_rib: true,
            statistics: Some(Duration::from_secs(60)),
            connect_retry: Duration::from_secs(30),
        };
        assert_eq!(read("{name: noc, address: '192.0.2.10:11019'}"), Ok(expected.clone()));
        let keys = "monitor: [loc-rib], statistics: false, connectRetry: 2s";
        let chosen =
            BmpCollector { adj_rib_in: false, adj_rib_out: false, statistics: None, ..expected.clone() };
        assert_eq!(
            read(&format!("{{name: noc, address: '[2001:db8::1]:5000', {keys}}}")),
            Ok(BmpCollector {
                address: "[2001:db8::1]:5000".to_owned(),
                connect_retry: Duration::from_secs(2),
                ..chosen
            })
        );
        assert!(read("{name: noc, address: 'noc.example.com:11019'}").is_ok());
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for address in
            ["192.0.2.10", "2001:db8::1:5000", ":5000", "noc:0", "noc:65536", "[noc]:5", "http://noc:5"]
        {
            let error = read(&format!("{{name: noc, address: '{address}'}}")).unwrap_err();
            assert!(error.contains("no host and port") && error.contains("11019"), "{address}: {error}");
        }
        assert!(read("{address: 'noc:5'}").unwrap_err().contains("name"));
        assert!(read("{name: noc}").unwrap_err().contains("192.0.2.10:11019"));
        assert!(read("{name: a, address: 'b:5', monitor: []}").unwrap_err().contains("nothing to monitor"));
        assert!(read("{name: a, address: 'b:5', monitor: [rib]}").unwrap_err().contains("loc-rib"));
        assert!(read("{name: a, address: 'b:5', connectRetry: 0s}").is_err());
        let twice = read("{name: a, address: 'b:5'}, {name: a, address: 'b:6'}").unwrap_err();
        assert!(twice.contains("a name of its own"), "{twice}");
    }
}
