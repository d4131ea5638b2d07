//! Who is told of each change of an Adj-RIB-In: monitoring stations (RFC 7854).
//!
//! A follower has a set of destinations that have changed since it was last told, and reads what they are now: however slow
//! it is, it costs no more than the destinations that it was told and those that are kept.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use bgp_proto::types::{Family, FamilySet};
use bgp_proto::wire::{Nlri, Update};

use super::{AdjRibIn, Details};
use crate::dump;

/// Names a follower; when it is dropped, the follower is forgotten.
#[derive(Debug, Clone, Default)]
pub struct Follow(Arc<()>);

#[derive(Debug)]
struct Follower {
    name: Weak<()>,
    /// Destinations that it knows as announced.
    told: BTreeSet<Nlri>,
    /// Destinations of which it does not know the last.
    due: BTreeSet<Nlri>,
    /// Families whose End-of-RIB it knows.
    ended: FamilySet,
}

/// All followers of one Adj-RIB-In.
#[derive(Debug, Default)]
pub(super) struct Followers(Vec<Follower>);

/// What has changed for a follower since it last asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    /// Routes that came or changed.
    pub announced: Vec<dump::Route>,
    /// Destinations that went.
    pub withdrawn: Vec<Nlri>,
    /// Families whose End-of-RIB (RFC 4724 §2) has come, once everything before it was told.
    pub end_of_rib: FamilySet,
    /// There is more.
    pub more: bool,
}

impl Followers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A destination changed; `kept` says whether there is a route now.
    fn changed(&mut self, nlri: Nlri, kept: bool) {
        for follower in &mut self.0 {
            if kept || follower.told.contains(&nlri) {
                follower.due.insert(nlri);
            } else {
                follower.due.remove(&nlri);
            }
        }
    }

    /// Every route of a family is gone.
    pub(super) fn forget(&mut self, family: Family) {
        for follower in &mut self.0 {
            let told = follower.told.iter().filter(|nlri| nlri.prefix.family() == family);
            let told: Vec<Nlri> = told.copied().collect();
            follower.due.retain(|nlri| nlri.prefix.family() != family);
            follower.due.extend(told);
        }
    }
}

impl AdjRibIn {
    /// Whether somebody follows.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        !self.followers.is_empty()
    }

    /// What has changed since this follower last asked; at first everything. Not more than `most` destinations at a time.
    pub fn news(&mut self, name: &Follow, most: usize) -> News {
        self.followers.0.retain(|follower| follower.name.strong_count() > 0);
        let weak = Arc::downgrade(&name.0);
        let place = self.followers.0.iter().position(|follower| follower.name.ptr_eq(&weak));
        let mut follower = place.map_or_else(
            || {
                let kept = self
                    .families
                    .iter()
                    .flat_map(|(_, received)| received.routes.iter().map(|(nlri, _)| nlri));
                Follower { name: weak, told: BTreeSet::new(), due: kept.collect(), ended: FamilySet::EMPTY }
            },
            |place| self.followers.0.swap_remove(place),
        );
        let mut news = News::default();
        for _ in 0..most {
            let Some(nlri) = follower.due.pop_first() else { break };
            let kept = self.families.get(nlri.prefix.family()).routes.details(&nlri).cloned();
            // Without details there is nothing to tell: `receive: count`.
            match kept {
                Some(Details { attributes, next_hop, since }) => {
                    follower.told.insert(nlri);
                    news.announced.push(dump::Route { nlri, next_hop, attributes, since });
                }
                None if follower.told.remove(&nlri) => news.withdrawn.push(nlri),
                None => {}
            }
        }
        news.more = !follower.due.is_empty();
        if !news.more {
            for (family, received) in self.families.iter() {
                if received.end_of_rib && !follower.ended.contains(family) {
                    follower.ended.insert(family);
                    news.end_of_rib.insert(family);
                }
            }
        }
        self.followers.0.push(follower);
        news
    }

    /// Notes for every follower what an UPDATE, which was just applied, has changed.
    pub(super) fn tell_followers(&mut self, update: &Update) {
        let announced = update.announced.iter().map(|announcement| &announcement.nlri);
        for nlri in update.withdrawn.iter().chain(announced).flatten() {
            let kept = self.families.get(nlri.prefix.family()).routes.contains(&nlri);
            self.followers.changed(nlri, kept);
        }
    }

    /// What a follower is owed at present, for tests of its bounds.
    #[cfg(test)]
    fn owed(&self) -> usize {
        self.followers.0.iter().map(|follower| follower.due.len() + follower.told.len()).sum()
    }

    /// What is kept, in the form in which it is told.
    #[cfg(test)]
    fn kept(&self) -> std::collections::BTreeMap<Nlri, dump::Route> {
        let all = |_: bgp_proto::types::Prefix| true;
        self.routes(all).into_iter().map(|route| (route.nlri, route)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bgp_proto::types::FamilyMap;
    use bgp_proto::wire::{Announcement, NextHop, NlriBlock, PathAttributes};
    use proptest::prelude::*;
    use speaker_config::model::Receive;

    use super::*;

    fn nlri(n: u8) -> Nlri {
        Nlri { path_id: None, prefix: format!("10.0.{n}.0/24").parse().unwrap() }
    }

    fn update(withdrawn: &[u8], announced: &[u8], med: u32) -> Update {
        let block = |list: &[u8]| NlriBlock::new(Family::Ipv4Unicast, list.iter().map(|n| nlri(*n)));
        let next_hop = NextHop::V4([10, 0, 0, 1].into());
        Update {
            withdrawn: vec![block(withdrawn)],
            announced: vec![Announcement { next_hop, nlri: block(announced) }],
            attributes: PathAttributes { med: Some(med), ..PathAttributes::default() },
            ..Update::default()
        }
    }

    fn rib(limit: u32) -> AdjRibIn {
        AdjRibIn::new(Receive::All, FamilyMap { ipv4: Some(limit), ipv6: None })
    }

    /// What a station makes of what it is told.
    #[derive(Default)]
    struct Station {
        name: Follow,
        table: BTreeMap<Nlri, dump::Route>,
        ended: usize,
    }

    impl Station {
        fn ask(&mut self, rib: &mut AdjRibIn, most: usize) -> bool {
            let news = rib.news(&self.name, most);
            assert!(news.announced.len() + news.withdrawn.len() <= most);
            for nlri in news.withdrawn {
                assert!(self.table.remove(&nlri).is_some(), "{nlri:?} was never announced");
            }
            for route in news.announced {
                self.table.insert(route.nlri, route);
            }
            self.ended += news.end_of_rib.iter().count();
            news.more
        }
    }

    #[test]
    fn end_of_rib_comes_once_and_behind_everything() {
        let mut rib = rib(100);
        rib.apply(&update(&[], &[1, 2, 3], 0), 7);
        rib.apply(&Update { end_of_rib: Some(Family::Ipv4Unicast), ..Update::default() }, 7);
        let mut station = Station::default();
        assert!(station.ask(&mut rib, 2));
        assert_eq!((station.table.len(), station.ended), (2, 0));
        assert!(!station.ask(&mut rib, 2));
        assert!(!station.ask(&mut rib, 2));
        assert_eq!((station.table.len(), station.ended), (3, 1));
    }

    #[test]
    fn whoever_is_gone_costs_nothing() {
        let mut rib = rib(100);
        let mut station = Station::default();
        station.ask(&mut rib, 9);
        drop(station);
        let mut other = Station::default();
        other.ask(&mut rib, 9);
        rib.apply(&update(&[], &[1], 0), 7);
        assert_eq!(rib.owed(), 1, "the second one's alone");
    }

    /// A peer that announces and withdraws ever other prefixes, to a station that does not ask.
    #[test]
    fn a_station_that_does_not_ask_costs_no_more_than_the_table() {
        let mut rib = rib(8);
        let mut station = Station::default();
        rib.apply(&update(&[], &[0, 1, 2, 3], 0), 7);
        station.ask(&mut rib, 100);
        rib.apply(&update(&[0, 1, 2, 3], &[], 0), 7);
        for n in 4..=255 {
            rib.apply(&update(&[], &[n], n.into()), 7);
            rib.apply(&update(&[n], &[], 0), 7);
        }
        assert_eq!(rib.owed(), 8, "four that were told, and that they are due");
        station.ask(&mut rib, 100);
        assert_eq!((station.table.len(), rib.owed()), (0, 0));
    }

    proptest! {
        #[test]
        fn a_station_that_has_asked_for_all_has_all(
            steps in proptest::collection::vec(
                (0..12u8, proptest::collection::vec(0..12u8, 0..4), proptest::collection::vec(0..12u8, 0..4), any::<u32>()),
                0..40,
            )
        ) {
            let mut rib = rib(9);
            let mut stations = [Station::default(), Station::default()];
            for (what, withdrawn, announced, med) in steps {
                match what {
                    0 => { stations[0].ask(&mut rib, 3); }
                    1 => { stations[1].ask(&mut rib, 1); }
                    2 => stations[1] = Station::default(),
                    3 => rib.restart(Family::Ipv4Unicast),
                    4 => rib.reset(Receive::All, FamilyMap { ipv4: Some(6), ipv6: None }),
                    _ => { rib.apply(&update(&withdrawn, &announced, med), 7); }
                }
            }
            for station in &mut stations {
                while station.ask(&mut rib, 2) {}
                prop_assert_eq!(&station.table, &rib.kept());
            }
        }
    }
}
