//! The interfaces on which there is a segment to announce on.

use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use speaker_core::l2::frame::Mac;

/// An Ethernet interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) mac: Mac,
}

/// An Ethernet interface that is up and belongs to no bridge or bond: frames of such a one arrive at its
/// controller.
pub(super) fn read(message: &LinkMessage) -> Option<(String, Link)> {
    let flags = message.header.flags;
    let usable = message.header.link_layer_type == LinkLayerType::Ether
        && flags.contains(LinkFlags::Up)
        && flags.contains(LinkFlags::LowerUp)
        && !flags.contains(LinkFlags::Noarp);
    let mut name = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(octets) => mac = octets.as_slice().try_into().ok().map(Mac),
            LinkAttribute::Controller(_) => return None,
            _ => {}
        }
    }
    usable.then_some(())?;
    Some((name?, Link { index: message.header.index, mac: mac? }))
}

#[cfg(test)]
mod tests {
    use super::super::super::links::Links;
    use super::*;

    #[tokio::test]
    async fn the_loopback_is_no_segment() {
        let found = Links::open(read).unwrap().next().await.unwrap();
        assert!(!found.contains_key("lo"), "{found:?}");
    }

    #[test]
    fn ports_of_a_bridge_and_interfaces_that_are_down_are_left_out() {
        let link = |flags, more: Option<LinkAttribute>| {
            let mut message = LinkMessage::default();
            message.header.index = 7;
            message.header.link_layer_type = LinkLayerType::Ether;
            message.header.flags = flags;
            message.attributes = vec![
                LinkAttribute::IfName("eth0".to_owned()),
                LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
            ];
            message.attributes.extend(more);
            read(&message)
        };
        let up = LinkFlags::Up | LinkFlags::LowerUp;
        let expected = Link { index: 7, mac: Mac([2, 0, 0, 0, 0, 1]) };
        assert_eq!(link(up, None), Some(("eth0".to_owned(), expected)));
        assert_eq!(link(LinkFlags::Up, None), None, "no carrier");
        assert_eq!(link(up | LinkFlags::Noarp, None), None);
        assert_eq!(link(up, Some(LinkAttribute::Controller(3))), None, "a bridge has it");
    }
}
