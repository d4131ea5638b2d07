//! What works otherwise than its user may think: for `speaker check`, and the warnings of `speaker explain`.

use std::collections::{BTreeMap, BTreeSet};

use bgp_proto::types::Prefix;
use speaker_config::model::ExportRule;

use super::World;
use crate::announce;
use crate::export::{Conflict, conflicts};
use crate::rib::{Route, SourceKind};

/// What the user should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it is about an entry of an advertisement's `prefixes`, which is not announced: the advertisement's name and
    /// the entry.
    pub entry: Option<(String, Prefix)>,
    /// One sentence; of an entry, why it is not announced.
    pub text: String,
}

impl World {
    /// Everything that the user should hear of.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let announced = self.announcer.findings(&self.inputs).into_iter().map(|finding| {
            let text = finding.to_string();
            match finding {
                announce::Finding::Refused { source, advertisement, prefix, reason }
                    if source.kind == SourceKind::Prefix =>
                {
                    Finding { entry: Some((advertisement, prefix)), text: reason.to_string() }
                }
                _ => Finding { entry: None, text },
            }
        });
        let left_out = self.left_out(self.announcer.rib().routes.iter());
        announced.chain(left_out.into_iter().map(|text| Finding { entry: None, text })).collect()
    }

    /// What merging leaves out of these routes: `blackhole` and `no-advertise`, where not every advertisement of a
    /// prefix has them. One sentence for each such community, advertisement and set of peers, whatever the number of
    /// prefixes.
    pub(super) fn left_out<'a>(
        &'a self,
        routes: impl Iterator<Item = (&'a Prefix, &'a Route)>,
    ) -> Vec<String> {
        let mut found: BTreeMap<(Conflict, BTreeSet<&str>), Vec<Prefix>> = BTreeMap::new();
        // One reason alone is in conflict with nothing.
        for (prefix, route) in routes.filter(|(_, route)| route.contributions.len() > 1) {
            let mut by_conflict: BTreeMap<Conflict, BTreeSet<&str>> = BTreeMap::new();
            for (name, export) in self.audience() {
                for conflict in conflicts(name, export, *prefix, route) {
                    by_conflict.entry(conflict).or_default().insert(name);
                }
            }
            for key in by_conflict {
                found.entry(key).or_default().push(*prefix);
            }
        }
        found.iter().map(|((conflict, peers), prefixes)| sentence(conflict, peers, prefixes)).collect()
    }

    /// Everybody who may be told something, by the name that advertisements select, with `export`.
    fn audience(&self) -> impl Iterator<Item = (&str, Option<&[ExportRule]>)> {
        let peers = self.peers.all().iter().map(|one| (&one.peer.name, &one.peer.settings));
        let dynamic = self.config.dynamic_peers.iter().map(|entry| (&entry.name, &entry.settings));
        peers.chain(dynamic).map(|(name, settings)| (name.as_str(), settings.export.as_deref()))
    }
}

fn sentence(conflict: &Conflict, peers: &BTreeSet<&str>, prefixes: &[Prefix]) -> String {
    let routes = match prefixes {
        [] => String::new(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    let peers = peers.iter().copied().collect::<Vec<_>>().join(", ");
    format!(
        "{conflict} of {routes} towards {peers}: another advertisement of the prefix lacks it, and a community that \
         takes a route out of service is never merged in; give it to both, or name other peers in one"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use speaker_config::manifest::{self, Content};

    use super::*;
    use crate::world::Start;

    const POOL: &str = "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {name: blue}\n\
                        spec: {blocks: [{start: 192.0.2.1, stop: 192.0.2.6}]}\n";

    fn world(advertisements: &str) -> World {
        let text = format!(
            "router: {{asn: 64501, listen: [\"0.0.0.0:179\"]}}\npeers:\n\
             - {{name: a, address: 10.0.0.1, asn: 64500}}\n\
             - {{name: b, address: 10.0.0.2, asn: 64500}}\n\
             - {{name: shut, address: 10.0.0.3, asn: 64500, export: [{{prefix: 198.51.100.0/24}}]}}\n\
             dynamicPeers: [{{name: rack, prefix: 10.1.0.0/16, asn: external}}]\nadvertisements:\n{advertisements}"
        );
        let (config, _) = speaker_config::speaker::parse(&text, "speaker.yaml", Path::new(".")).unwrap();
        let mut world = World::new(&config, &Start { node: "n1".to_owned(), ..Start::default() });
        for document in manifest::parse(POOL) {
            let Content::Object(object) = document.content else { panic!("{document:?}") };
            world.upsert(object);
        }
        world.settle(1000);
        world
    }

    #[test]
    fn a_community_that_is_not_merged_in_is_told_once_for_all_prefixes() {
        let world = world(
            "- {name: drop, poolPrefix: {when: always}, peers: [b, rack, shut], attributes: {communities: [blackhole]}}\n\
             - {name: keep, poolPrefix: {when: always}}\n",
        );
        let [told] = world.findings().try_into().unwrap_or_else(|all| panic!("{all:?}"));
        assert!(
            told.text.starts_with(
                "blackhole of advertisement 'drop' is left out of 192.0.2.1/32 and 3 more towards b, rack: "
            ),
            "{told:?}"
        );
        let explained = world.explain("192.0.2.2/31").unwrap().warnings;
        assert!(
            explained.iter().any(|text| text.contains("left out of 192.0.2.2/31 towards b, rack")),
            "{explained:?}"
        );
    }

    #[test]
    fn advertisements_for_different_peers_or_of_one_mind_are_in_no_conflict() {
        for advertisements in [
            "- {name: drop, poolPrefix: {when: always}, peers: [a], attributes: {communities: [blackhole]}}\n\
             - {name: keep, poolPrefix: {when: always}, peers: [b]}\n",
            "- {name: drop, poolPrefix: {when: always}, attributes: {communities: [no-advertise]}}\n\
             - {name: too, poolPrefix: {when: always}, attributes: {communities: [no-advertise, \"1:1\"]}}\n",
        ] {
            assert_eq!(world(advertisements).findings(), [], "{advertisements}");
        }
    }
}
