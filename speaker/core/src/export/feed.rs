//! What the update groups' tables have for one session, one chunk at a time.

use std::sync::Arc;

use bgp_proto::types::{Family, FamilyMap, FamilySet};
use bgp_proto::wire::{RefreshKind, RouteRefresh};
use bytes::Bytes;

use super::{Cursor, Phase, Span, Table};

/// A session's places in its tables, and the span that is being sent. It holds one span at most, however slow
/// the peer is.
#[derive(Debug, Default)]
pub struct Feed {
    cursors: FamilyMap<Option<Cursor>>,
    /// Families whose table the peer asked for again.
    refresh: FamilySet,
    /// Families whose End-of-RIB has been handed out.
    told_all: FamilySet,
    /// Mark refreshes with BoRR and EoRR (RFC 7313).
    enhanced: bool,
    span: Option<(Arc<Span>, usize)>,
    /// EoRR, due behind the span.
    trailer: Option<Bytes>,
    told: Told,
}

/// What kinds of changes a session was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Some destination was announced.
    pub announced: bool,
    /// Some destination was withdrawn.
    pub withdrawn: bool,
}

impl Feed {
    /// The feed of a session that was just established; its tables come with [`Feed::attach`]. `enhanced`: refreshes
    /// are marked with BoRR and EoRR (RFC 7313).
    #[must_use]
    pub fn new(enhanced: bool) -> Self {
        Self { enhanced, ..Self::default() }
    }

    /// Sends these tables from now on: from the beginning where the family had none, else what differs.
    pub fn attach(&mut self, tables: &FamilyMap<Option<Arc<Table>>>) {
        for (family, table) in tables.iter() {
            let cursor = self.cursors.get_mut(family);
            match (cursor.as_mut(), table) {
                (Some(cursor), Some(table)) => cursor.migrate(table),
                (None, Some(table)) => *cursor = Some(table.attach()),
                (_, None) => *cursor = None,
            }
        }
    }

    /// The peer wants a family again (RFC 2918 §4): "the BGP speaker … SHOULD re-advertise to that peer the
    /// Adj-RIB-Out". One that comes before our End-of-RIB waits for it (RFC 7313 §4). Whether it is news:
    /// one that waits serves all that come meanwhile.
    pub fn refresh(&mut self, family: Family) -> bool {
        let new = !self.refresh.contains(family);
        self.refresh.insert(family);
        new
    }

    /// The operator wants a family to be sent again.
    pub fn rewind(&mut self, family: Family) {
        if let Some(cursor) = self.cursors.get_mut(family) {
            cursor.rewind();
        }
    }

    /// Whether the peer has been handed everything, End-of-RIB included.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        // A family without a table has nothing to send, asked for or not.
        let synced = |(family, cursor): (Family, &Option<Cursor>)| {
            cursor.as_ref().is_none_or(|cursor| cursor.is_synced() && !self.refresh.contains(family))
        };
        self.span.is_none() && self.trailer.is_none() && self.cursors.iter().all(synced)
    }

    /// Whole messages to send next. May encode a whole table, once for all peers of a group.
    pub fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if let Some((span, next)) = &mut self.span {
                if let Some(chunk) = span.bytes.get(*next) {
                    *next += 1;
                    return Some(chunk.clone());
                }
                self.span = None;
            }
            if let Some(trailer) = self.trailer.take() {
                return Some(trailer);
            }
            match self.next_span()? {
                Next::Span(span) => {
                    self.told.announced |= span.announced > 0;
                    self.told.withdrawn |= span.withdrawn > 0;
                    self.span = Some((span, 0));
                }
                Next::Marker(bytes) => return Some(bytes),
            }
        }
    }

    /// Whether the next [`Self::take_told`] has something to say.
    #[must_use]
    pub fn has_told(&self) -> bool {
        self.told != Told::default()
    }

    /// What the chunks since the last call told of; the answer to a route refresh with markers does not count.
    pub fn take_told(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }

    fn next_span(&mut self) -> Option<Next> {
        for family in Family::ALL {
            let Some(cursor) = self.cursors.get_mut(family) else { continue };
            let refreshed = self.refresh.contains(family)
                && self.told_all.contains(family)
                && cursor.table().phase() == Phase::Complete;
            if refreshed {
                self.refresh.remove(family);
                cursor.rewind();
                let span = cursor.next_span();
                if self.enhanced {
                    self.span = span.map(|span| (span, 0));
                    self.trailer = Some(marker(family, RefreshKind::End));
                    return Some(Next::Marker(marker(family, RefreshKind::Begin)));
                }
                if let Some(span) = span {
                    return Some(Next::Span(span));
                }
            } else if let Some(span) = cursor.next_span() {
                if span.end_of_rib {
                    self.told_all.insert(family);
                }
                return Some(Next::Span(span));
            }
        }
        None
    }
}

enum Next {
    Span(Arc<Span>),
    Marker(Bytes),
}

fn marker(family: Family, kind: RefreshKind) -> Bytes {
    RouteRefresh { family: family.afi_safi(), kind }.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a stop waits to the end of its time for a table that never comes.
    #[test]
    fn a_refresh_of_a_family_that_is_not_sent_leaves_nothing_to_wait_for() {
        let mut feed = Feed::new(true);
        assert!(feed.refresh(Family::Ipv4Unicast));
        assert!(!feed.refresh(Family::Ipv4Unicast), "no news");
        assert_eq!(feed.next_chunk(), None);
        assert!(feed.is_synced());
    }
}
