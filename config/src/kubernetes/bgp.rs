//! Cilium's BGP kinds, v2 or v2alpha1, and its L2 announcement policy. They differ in nothing that the
//! speaker reads: `peerConfigRef.group` and `.kind` of v2alpha1 say what v2 takes for granted.

use std::net::IpAddr;

use bgp_proto::types::{Asn, Family, HoldTime, RouterId};
use serde_json::Value as Json;

use super::fields::{Fields, Found, conditions, metadata};
use super::{FieldError, created, name};
use crate::crd::cluster_config::MonitoringPolicy;
use crate::objects::{
    BgpClusterConfig, BgpFamily, BgpInstance, BgpInstanceOverride, BgpNodeConfig, BgpNodeConfigOverride,
    BgpPeer, BgpPeerConfig, BgpPeerOverride, BgpStation, L2AnnouncementPolicy, Owner, PeerPlace, Selection,
};

/// `peerPort` of a station that has none.
const BMP_PORT: u16 = 11019;
const MONITORED: [(&str, MonitoringPolicy); 5] = [
    ("pre", MonitoringPolicy::Pre),
    ("post", MonitoringPolicy::Post),
    ("both", MonitoringPolicy::Both),
    ("local", MonitoringPolicy::Local),
    ("all", MonitoringPolicy::All),
];
const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::Ipv4Unicast), ("ipv6", Family::Ipv6Unicast)];

/// A CiliumBGPClusterConfig, from the whole object.
///
/// # Errors
/// `metadata` cannot be read, so that the object has no name.
pub fn bgp_cluster_config(object: &Json) -> Result<BgpClusterConfig, FieldError> {
    let meta = metadata(object)?;
    let found = Found::default();
    let mut config = BgpClusterConfig {
        name: name(&meta)?,
        created: created(&meta),
        generation: meta.generation.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
        conditions: conditions(object),
        ..BgpClusterConfig::default()
    };
    if let Some(spec) = Fields::spec(object, &found, false) {
        config.nodes = spec.selection("nodeSelector", Selection::Everything);
        config.instances = instances(&spec, &found);
    }
    (config.faults, config.notes) = found.into_parts();
    Ok(config)
}

/// A CiliumBGPNodeConfig, from the whole object.
///
/// # Errors
/// `metadata` cannot be read, so that the object has no name.
pub fn bgp_node_config(object: &Json) -> Result<BgpNodeConfig, FieldError> {
    let meta = metadata(object)?;
    let found = Found::default();
    let mut owners = meta.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true)).map(|owner| Owner {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    });
    let mut config = BgpNodeConfig {
        name: name(&meta)?,
        deleting: meta.deletion_timestamp.is_some(),
        generation: meta.generation.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
        owner,
        conditions: conditions(object),
        ..BgpNodeConfig::default()
    };
    if let Some(spec) = Fields::spec(object, &found, false) {
        config.instances = instances(&spec, &found);
    }
    (config.faults, config.notes) = found.into_parts();
    Ok(config)
}

/// `bgpInstances`, those with a fault of their own and the second of one name left out.
fn instances(spec: &Fields<'_>, found: &Found) -> Vec<BgpInstance> {
    let mut all: Vec<BgpInstance> = Vec::new();
    for (_, fields) in spec.tables("bgpInstances") {
        let (instance, sound) = found.sound(|| BgpInstance {
            name: fields.required("name").unwrap_or_default().to_owned(),
            local_asn: asn(&fields, "localASN"),
            local_port: fields.number("localPort", 1..=65535),
            router_id: router_id(&fields),
            peers: Vec::new(),
            bmp_servers: Vec::new(),
        });
        if all.iter().any(|other| other.name == instance.name) {
            fields.fault("name", format!("an instance named {:?} stands above", instance.name));
        } else if sound {
            let mut peers: Vec<BgpPeer> = Vec::new();
            for (_, entry) in fields.tables("peers") {
                let (read, sound) = found.sound(|| peer(&entry));
                let Some(read) = read.filter(|_| sound) else { continue };
                if peers.iter().any(|other| other.name == read.name) {
                    entry.fault("name", format!("a peer named {:?} stands above", read.name));
                } else {
                    peers.push(read);
                }
            }
            all.push(BgpInstance { peers, bmp_servers: stations(&fields, found), ..instance });
        }
    }
    all
}

/// `bmpServers`, those with a fault of their own and the second of one name left out.
fn stations(instance: &Fields<'_>, found: &Found) -> Vec<BgpStation> {
    let mut all: Vec<BgpStation> = Vec::new();
    for (_, fields) in instance.tables("bmpServers") {
        let (read, sound) = found.sound(|| {
            let name = fields.required("name");
            let place = fields.required("peerAddress").and_then(|_| fields.parsed("peerAddress", address));
            if let Some((_, Some(zone))) = &place {
                fields.fault("peerAddress", format!("a station has no zone; leave {zone:?} out"));
            }
            Some(BgpStation {
                name: name?.to_owned(),
                address: place?.0,
                port: fields.number("peerPort", 1..=65535).unwrap_or(BMP_PORT),
                policy: fields.one_of("monitoringPolicy", &MONITORED).unwrap_or_default(),
                statistics: fields.number("statisticsTimeout", 15..=65535),
            })
        });
        let Some(read) = read.filter(|_| sound) else { continue };
        if all.iter().any(|other| other.name == read.name) {
            fields.fault("name", format!("a station named {:?} stands above", read.name));
        } else {
            all.push(read);
        }
    }
    all
}

/// `None` where something is missing or wrong; that is noted.
fn peer(fields: &Fields<'_>) -> Option<BgpPeer> {
    let name = fields.required("name");
    let place = place(fields);
    let asn = match fields.number::<u32>("peerASN", 0..=i64::from(u32::MAX)) {
        None | Some(0) => None,
        Some(number) => known_asn(fields, "peerASN", number),
    };
    let peer_config = fields.table("peerConfigRef").and_then(|reference| {
        for (key, only) in [("group", "cilium.io"), ("kind", "CiliumBGPPeerConfig")] {
            if let Some(other) = reference.text(key).filter(|text| *text != only) {
                reference.fault(key, format!("{other:?} is not known here; write {only}, or leave it out"));
            }
        }
        reference.required("name").map(str::to_owned)
    });
    let local_address = fields.parsed("localAddress", address).map(|(address, _)| address);
    Some(BgpPeer { name: name?.to_owned(), place: place?, asn, peer_config, local_address })
}

/// `peerAddress`, `peerInterface` and `autoDiscovery`.
fn place(fields: &Fields<'_>) -> Option<PeerPlace> {
    let interface = fields.text("peerInterface");
    let written = fields.parsed("peerAddress", address);
    if let Some((address, zone)) = written {
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let zone = zone.or_else(|| interface.map(str::to_owned));
        return match zone {
            Some(_) if !link_local => {
                fields.fault("peerAddress", format!("{address} is not link-local, and has no interface"));
                None
            }
            None if link_local => {
                fields.fault("peerAddress", format!("{address} is link-local; write {address}%INTERFACE"));
                None
            }
            zone => Some(PeerPlace::Address { address, zone }),
        };
    }
    if fields.has("peerAddress") {
        return None;
    }
    let Some(discovery) = fields.table("autoDiscovery") else {
        if let Some(interface) = interface {
            return Some(PeerPlace::Interface(interface.to_owned()));
        }
        fields.fault("", "neither peerAddress nor autoDiscovery; write one of them");
        return None;
    };
    discovery.required("mode");
    if discovery.one_of("mode", &[("DefaultGateway", true), ("Unnumbered", false)])? {
        let Some(gateway) = discovery.table("defaultGateway") else {
            discovery.fault("defaultGateway", "absent; write defaultGateway.addressFamily");
            return None;
        };
        gateway.required("addressFamily");
        gateway.one_of("addressFamily", &FAMILIES).map(PeerPlace::DefaultGateway)
    } else {
        let on = discovery.table("unnumbered").and_then(|table| table.text("interface")).or(interface);
        if on.is_none() {
            discovery.fault("unnumbered", "absent; write unnumbered.interface");
        }
        on.map(|interface| PeerPlace::Interface(interface.to_owned()))
    }
}

/// An address that may have white space around it and a zone behind it.
fn address(text: &str) -> Result<(IpAddr, Option<String>), String> {
    let (address, zone) = match text.trim().split_once('%') {
        Some((address, zone)) => (address, Some(zone.to_owned())),
        None => (text.trim(), None),
    };
    match address.parse() {
        Ok(IpAddr::V6(v6)) if let Some(v4) = v6.to_ipv4_mapped() => {
            Err(format!("{text:?} is an IPv4-mapped address; write {v4}"))
        }
        Ok(address) => Ok((address, zone)),
        Err(_) => Err(format!("{text:?} is not an IP address; write it as 10.0.0.1 or 2001:db8::1")),
    }
}

fn asn(fields: &Fields<'_>, key: &str) -> Option<Asn> {
    let number = fields.number::<u32>(key, 1..=i64::from(u32::MAX))?;
    known_asn(fields, key, number)
}

fn known_asn(fields: &Fields<'_>, key: &str, number: u32) -> Option<Asn> {
    let asn = Asn::new(number);
    if asn.is_none() {
        fields.fault(key, format!("{number} is no AS number that may be used (RFC 7607, RFC 4893)"));
    }
    asn
}

fn router_id(fields: &Fields<'_>) -> Option<RouterId> {
    fields.parsed("routerID", |text| {
        text.parse::<RouterId>().map_err(|_| format!("{text:?} is no BGP identifier; write it as 10.0.0.1"))
    })
}

/// A CiliumBGPPeerConfig, from the whole object, with Cilium's defaults.
///
/// # Errors
/// `metadata` cannot be read, so that the object has no name.
pub fn bgp_peer_config(object: &Json) -> Result<BgpPeerConfig, FieldError> {
    let meta = metadata(object)?;
    let found = Found::default();
    let mut config = BgpPeerConfig {
        generation: meta.generation.unwrap_or_default(),
        conditions: conditions(object),
        ..BgpPeerConfig::defaults(name(&meta)?)
    };
    if let Some(spec) = Fields::spec(object, &found, false) {
        read_peer_config(&spec, &mut config);
    }
    (config.faults, config.notes) = found.into_parts();
    Ok(config)
}

fn read_peer_config(spec: &Fields<'_>, config: &mut BgpPeerConfig) {
    if let Some(transport) = spec.table("transport") {
        config.port = transport.number("peerPort", 1..=65535).unwrap_or(config.port);
        config.source_interface = transport.text("sourceInterface").map(str::to_owned);
    }
    if let Some(timers) = spec.table("timers") {
        let retry = timers.number("connectRetryTimeSeconds", 1..=i64::from(i32::MAX));
        config.connect_retry = retry.unwrap_or(config.connect_retry);
        let hold = timers.number::<u16>("holdTimeSeconds", 3..=65535).and_then(HoldTime::new);
        config.hold = hold.unwrap_or(config.hold);
        config.keepalive = timers.number("keepAliveTimeSeconds", 1..=65535).unwrap_or(config.keepalive);
        if config.keepalive > config.hold.seconds() {
            let (keepalive, hold) = (config.keepalive, config.hold.seconds());
            timers.fault(
                "keepAliveTimeSeconds",
                format!("{keepalive} (it is 30 where absent) is above {hold}, the holdTimeSeconds; write a third of that"),
            );
        }
    }
    config.auth_secret = spec.text("authSecretRef").map(str::to_owned);
    if let Some(restart) = spec.table("gracefulRestart") {
        let time = restart.number("restartTimeSeconds", 1..=4095).unwrap_or(120);
        if !restart.has("enabled") {
            restart.fault("enabled", "absent; write true or false");
        }
        config.graceful_restart = restart.boolean("enabled").filter(|on| *on).map(|_| time);
    }
    config.multihop = spec.number("ebgpMultihop", 1..=255).unwrap_or(config.multihop);
    // An empty list is as good as none, as in Cilium.
    if spec.tables("families").next().is_some() {
        config.families = families(spec);
    }
    spec.without_effect(&[("bfd", "BFD stands in speaker.yaml")]);
}

fn families(spec: &Fields<'_>) -> Vec<BgpFamily> {
    let mut all: Vec<BgpFamily> = Vec::new();
    for (_, fields) in spec.tables("families") {
        let (Some(afi), Some(safi)) = (fields.required("afi"), fields.required("safi")) else { continue };
        let family = FAMILIES.iter().find(|(word, _)| *word == afi && safi == "unicast");
        let Some((_, family)) = family else {
            fields.note("", &format!("{afi}/{safi} is not spoken; ipv4/unicast and ipv6/unicast are"));
            continue;
        };
        let advertisements = fields.selection("advertisements", Selection::Nothing);
        if all.iter().any(|other| other.family == *family) {
            fields.note("", &format!("{afi}/{safi} stands above, and that one counts"));
        } else {
            all.push(BgpFamily { family: *family, advertisements });
        }
    }
    all
}

/// A CiliumBGPNodeConfigOverride, from the whole object.
///
/// # Errors
/// `metadata` cannot be read, so that the object has no name.
pub fn bgp_node_config_override(object: &Json) -> Result<BgpNodeConfigOverride, FieldError> {
    let meta = metadata(object)?;
    let found = Found::default();
    let mut config = BgpNodeConfigOverride { name: name(&meta)?, ..BgpNodeConfigOverride::default() };
    if let Some(spec) = Fields::spec(object, &found, false) {
        config.instances = spec
            .tables("bgpInstances")
            .map(|(_, fields)| BgpInstanceOverride {
                name: fields.required("name").unwrap_or_default().to_owned(),
                router_id: router_id(&fields),
                local_port: fields.number("localPort", 1..=65535),
                local_asn: asn(&fields, "localASN"),
                peers: fields.tables("peers").map(|(_, fields)| peer_override(&fields)).collect(),
            })
            .collect();
    }
    (config.faults, config.notes) = found.into_parts();
    Ok(config)
}

fn peer_override(fields: &Fields<'_>) -> BgpPeerOverride {
    fields.without_effect(&[("localPort", "Cilium does not use it, and neither does the speaker")]);
    let (local, interface) = (fields.has("localAddress"), fields.text("peerInterface"));
    if local && interface.is_some() {
        fields.fault("peerInterface", "not together with localAddress; remove one of them");
    }
    BgpPeerOverride {
        name: fields.required("name").unwrap_or_default().to_owned(),
        local_address: fields.parsed("localAddress", address).map(|(address, _)| address),
        interface: interface.map(str::to_owned),
    }
}

/// A CiliumL2AnnouncementPolicy, from the whole object.
///
/// # Errors
/// `metadata` cannot be read, so that the object has no name.
pub fn l2_announcement_policy(object: &Json) -> Result<L2AnnouncementPolicy, FieldError> {
    let meta = metadata(object)?;
    let found = Found::default();
    let mut policy = L2AnnouncementPolicy {
        name: name(&meta)?,
        generation: meta.generation.unwrap_or_default(),
        nodes: Selection::Everything,
        services: Selection::Everything,
        conditions: conditions(object),
        ..L2AnnouncementPolicy::default()
    };
    if let Some(spec) = Fields::spec(object, &found, true) {
        policy.nodes = spec.selection("nodeSelector", Selection::Everything);
        policy.services = spec.selection("serviceSelector", Selection::Everything);
        policy.interfaces = spec.texts("interfaces", |text| Ok(text.to_owned()));
        policy.load_balancer_ips = spec.boolean("loadBalancerIPs").unwrap_or_default();
        policy.external_ips = spec.boolean("externalIPs").unwrap_or_default();
    }
    (policy.faults, _) = found.into_parts();
    Ok(policy)
}

#[cfg(test)]
mod tests;
