//! From operations to the kernel's messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_proto::types::Family;
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{Handle, RouteMessageBuilder};
use speaker_core::datapath::{KernelOp, OwnRoute, PROTOCOL, RouteKey, RouteKind, TABLE};

/// The loopback interface has this index in every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The process may not.
    Forbidden,
    /// The kernel's words.
    Other(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forbidden => f.write_str(super::capability::MISSING),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// Does one thing.
///
/// # Errors
/// The kernel refuses it. What is to go and has gone is no error.
pub(super) async fn apply(handle: &Handle, op: &KernelOp) -> Result<(), Refusal> {
    let (result, removes) = match op {
        KernelOp::AddRoute(route) => (handle.route().add(route_message(*route)).execute().await, false),
        KernelOp::ReplaceRoute(route) => {
            (handle.route().add(route_message(*route)).replace().execute().await, false)
        }
        KernelOp::DeleteRoute(key) => (handle.route().del(deletion(*key)).execute().await, true),
        KernelOp::AddRule { family, preference } => {
            let mut request = handle.rule().add();
            *request.message_mut() = rule_message(*family, *preference);
            (request.execute().await, false)
        }
        KernelOp::DeleteRule { family, preference } => {
            let mut message = rule_message(*family, *preference);
            // Of whatever shape it is: table, preference and protocol say whose it is.
            message.header.flags = RuleFlags::empty();
            message.attributes.retain(|one| !matches!(one, RuleAttribute::Iifname(_)));
            (handle.rule().del(message).execute().await, true)
        }
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) => judge(&error, removes, op.family()),
    }
}

/// What is said of EACCES for a route of IPv6, as the kernel itself does in an extended acknowledgement.
const DISABLED: &str = "IPv6 is disabled on the interface lo: net.ipv6.conf.lo.disable_ipv6 (or all) is 1";

fn judge(error: &rtnetlink::Error, removes: bool, family: Family) -> Result<(), Refusal> {
    let rtnetlink::Error::NetlinkError(message) = error else {
        return Err(Refusal::Other(error.to_string()));
    };
    if message.code.is_none() {
        return Ok(());
    }
    let error = message.to_io();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) if removes => Ok(()),
        // On a host without IPv6 that is no word about the process: IPv4 must not wait for it.
        Some(libc::EACCES) if family == Family::Ipv6Unicast => Err(Refusal::Other(DISABLED.to_owned())),
        Some(libc::EPERM | libc::EACCES) => Err(Refusal::Forbidden),
        _ => Err(Refusal::Other(error.to_string())),
    }
}

fn blank(key: RouteKey) -> RouteMessage {
    let protocol = RouteProtocol::from(PROTOCOL);
    match key.prefix.addr() {
        IpAddr::V4(addr) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(addr, key.prefix.len())
            .table_id(key.table)
            .priority(key.metric)
            .protocol(protocol)
            .build(),
        IpAddr::V6(addr) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(addr, key.prefix.len())
            .table_id(key.table)
            .priority(key.metric)
            .protocol(protocol)
            .build(),
    }
}

fn route_message(route: OwnRoute) -> RouteMessage {
    let mut message = blank(route.key);
    message.header.kind = match route.kind {
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Local => RouteType::Local,
        RouteKind::Unicast | RouteKind::Other => RouteType::Unicast,
    };
    if route.kind == RouteKind::Local {
        message.header.scope = RouteScope::Host;
        message.attributes.push(rtnetlink::packet_route::route::RouteAttribute::Oif(LOOPBACK));
    }
    message
}

/// Table, prefix, metric and protocol; of whatever type and scope.
fn deletion(key: RouteKey) -> RouteMessage {
    let mut message = blank(key);
    message.header.kind = RouteType::Unspec;
    message.header.scope = RouteScope::NoWhere;
    message
}

fn rule_message(family: Family, preference: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match family {
        Family::Ipv4Unicast => rtnetlink::packet_route::AddressFamily::Inet,
        Family::Ipv6Unicast => rtnetlink::packet_route::AddressFamily::Inet6,
    };
    message.header.action = RuleAction::ToTable;
    message.header.flags = RuleFlags::Invert;
    message.attributes = vec![
        RuleAttribute::Iifname("lo".to_owned()),
        RuleAttribute::Table(TABLE),
        RuleAttribute::Priority(preference),
        RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
    ];
    message
}
