//! When the status of this node's CiliumBGPNodeConfig is written, and what.
//!
//! A change is written when the next look at it comes, but for a peer that flaps: then one write in
//! [`EVERY`]. The steps of a session that does not come up are worth one in [`MINOR_EVERY`]. What stands there
//! already is not written again.

use std::collections::BTreeMap;
use std::time::Duration;

use bgp_proto::types::Timestamp;
use serde_json::{Value as Json, json};
use speaker_config::objects::{BgpNodeConfig, UnixSeconds};

use super::agent::Outcome;
use super::status::{Session, Status, node_status};
use crate::operator::{condition_json, dated};

/// How many writes may follow one another, and how fast that fills up again.
pub const AT_ONCE: u32 = 5;
/// One write in this time, when [`AT_ONCE`] are used up.
pub const EVERY: Duration = Duration::from_secs(10);
/// A session that tries to come up goes through its states for as long as the peer is away: such a change alone
/// is written no more often than this.
pub const MINOR_EVERY: Duration = Duration::from_secs(60);
/// The back-off after a write that failed: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Since when a session is up is told in seconds by two clocks: a difference of so many is none.
const SLACK: u64 = 2;

/// Decides on writes of the status.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// What was written last, and to which object by its uid.
    written: Option<(String, Status)>,
    /// What is being written.
    trying: Option<(String, Status)>,
    /// When that was.
    at: Timestamp,
    tokens: u32,
    filled: Timestamp,
    not_before: Timestamp,
    failures: u32,
    /// Since when sessions are up, by their names.
    since: BTreeMap<String, UnixSeconds>,
}

impl Default for Reporter {
    fn default() -> Self {
        Self {
            written: None,
            trying: None,
            at: Timestamp::ZERO,
            tokens: AT_ONCE,
            filled: Timestamp::ZERO,
            not_before: Timestamp::ZERO,
            failures: 0,
            since: BTreeMap::new(),
        }
    }
}

impl Reporter {
    /// The status to write now, with what identifies the object: `metadata`, `status`. Its end must be told
    /// ([`Reporter::ended`]). `None`: there is nothing to say, or it has to wait.
    pub fn step(
        &mut self,
        object: &BgpNodeConfig,
        outcome: &Outcome,
        mut sessions: BTreeMap<String, Session>,
        now: Timestamp,
        wall: UnixSeconds,
    ) -> Option<Json> {
        self.steady(&mut sessions);
        self.fill(now);
        if object.deleting || now < self.not_before || self.tokens == 0 {
            return None;
        }
        let status = node_status(outcome, &sessions, object.generation);
        if let Some((_, known)) = self.written.as_ref().filter(|(uid, _)| *uid == object.uid)
            && (*known == status || (now.since(self.at) < MINOR_EVERY && alike(known) == alike(&status)))
        {
            return None;
        }
        self.tokens -= 1;
        let known = |kind: &str| object.conditions.iter().find(|one| one.kind == kind);
        let conditions =
            status.conditions.iter().map(|one| condition_json(&dated(one, known(&one.kind), wall)));
        // Strings, numbers and lists of them: nothing that JSON could refuse.
        let mut body = serde_json::to_value(&status.status).unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("conditions".to_owned(), conditions.collect());
        }
        self.trying = Some((object.uid.clone(), status));
        Some(json!({"metadata": {"name": object.name, "uid": object.uid}, "status": body}))
    }

    /// The write has ended: it is stored, or not.
    pub fn ended(&mut self, stored: bool, now: Timestamp) {
        let tried = self.trying.take();
        if stored {
            self.written = tried;
            self.at = now;
            self.failures = 0;
        } else {
            let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LAST_RETRY);
            self.failures += 1;
            self.not_before = now + wait;
        }
    }

    fn fill(&mut self, now: Timestamp) {
        while self.tokens < AT_ONCE && now.since(self.filled) >= EVERY {
            self.tokens += 1;
            self.filled = self.filled + EVERY;
        }
        if self.tokens == AT_ONCE {
            self.filled = now;
        }
    }

    /// The time of a session that has stayed up stays.
    fn steady(&mut self, sessions: &mut BTreeMap<String, Session>) {
        for (name, session) in sessions.iter_mut() {
            if let (Some(new), Some(old)) = (session.established, self.since.get(name))
                && new.abs_diff(*old) <= SLACK
            {
                session.established = Some(*old);
            }
        }
        let up = sessions.iter().filter_map(|(name, session)| Some((name.clone(), session.established?)));
        self.since = up.collect();
    }
}

/// A status in which all sessions that are not up are alike.
fn alike(status: &Status) -> Status {
    let mut status = status.clone();
    let peers = status.status.bgp_instances.iter_mut().flat_map(|instance| &mut instance.peers);
    for state in peers.filter_map(|peer| peer.peering_state.as_mut()).filter(|state| *state != "established")
    {
        state.clear();
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cilium::agent::{Sight, outcome};
    use crate::cilium::testing::inputs;
    use crate::inputs::Inputs;
    use crate::world::Host;
    use speaker_config::model::CiliumBgp;

    const OBJECT: &str = "
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfig
metadata: {name: n1, uid: u1, generation: 2}
spec: {bgpInstances: [{name: main, localASN: 64501, peers: [{name: tor, peerAddress: 10.0.0.254}]}]}
status: {conditions: [{type: example.com/Other, status: 'True', reason: x, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}]}
";

    struct Node {
        inputs: Inputs,
        reporter: Reporter,
        now: Timestamp,
    }

    impl Node {
        fn new() -> Self {
            let now = Timestamp::ZERO + Duration::from_secs(1000);
            Self { inputs: inputs(OBJECT), reporter: Reporter::default(), now }
        }

        fn step(&mut self, established: Option<UnixSeconds>, received: u64) -> Option<Json> {
            let state = if established.is_some() { "Established" } else { "Active" };
            self.step_in(state, established, received)
        }

        fn step_in(&mut self, state: &str, established: Option<UnixSeconds>, received: u64) -> Option<Json> {
            let (host, settings) = (Host::default(), CiliumBgp::default());
            let sight = Sight {
                node: "n1",
                inputs: &self.inputs,
                host: &host,
                secrets: "kube-system",
                settings: &settings,
            };
            let session = Session {
                state: state.into(),
                established,
                routes: bgp_proto::types::FamilyMap::from_fn(|_| established.map(|_| (received, 1))),
                ..Session::default()
            };
            let sessions = BTreeMap::from([("main/tor".to_owned(), session)]);
            let object = &self.inputs.bgp.node_configs["n1"];
            self.reporter.step(object, &outcome(sight), sessions, self.now, 1_700_000_000)
        }

        fn wait(&mut self, time: Duration) {
            self.now = self.now + time;
        }
    }

    #[test]
    fn a_status_is_written_once_and_names_the_object_that_it_is_of() {
        let mut node = Node::new();
        let body = node.step(Some(1_699_999_000), 3).unwrap();
        assert_eq!(body["metadata"], json!({"name": "n1", "uid": "u1"}));
        let peer = &body["status"]["bgpInstances"][0]["peers"][0];
        assert_eq!(
            (peer["peeringState"].as_str(), &peer["routeCount"][0]["received"]),
            (Some("established"), &json!(3))
        );
        // Conditions of others are not ours to send.
        assert_eq!(
            body["status"]["conditions"],
            json!([{
                "type": "cilium.io/BGPReconcileError", "status": "False", "reason": "BGPReconcileError",
                "message": "", "observedGeneration": 2, "lastTransitionTime": "2023-11-14T22:13:20Z",
            }])
        );
        node.reporter.ended(true, node.now);
        // Clocks that are read a moment apart change nothing.
        for second in [1_699_999_001, 1_699_998_999, 1_699_999_000] {
            node.wait(Duration::from_secs(1));
            assert_eq!(node.step(Some(second), 3), None);
        }
        assert!(node.step(Some(1_699_999_000), 4).is_some(), "another count is another status");
        node.reporter.ended(true, node.now);
        // Another object under the name.
        node.inputs.bgp.node_configs.get_mut("n1").unwrap().uid = "u2".into();
        assert_eq!(node.step(Some(1_699_999_000), 4).unwrap()["metadata"]["uid"], "u2");
        node.reporter.ended(true, node.now);
        node.inputs.bgp.node_configs.get_mut("n1").unwrap().deleting = true;
        assert_eq!(node.step(None, 0), None);
    }

    #[test]
    fn a_peer_that_flaps_is_written_of_now_and_then_and_the_last_word_comes_through() {
        let mut node = Node::new();
        let mut writes = 0;
        for second in 0..600 {
            if node.step((second % 2 == 0).then_some(1_700_000_000 + second), 0).is_some() {
                writes += 1;
                node.reporter.ended(true, node.now);
            }
            node.wait(Duration::from_secs(1));
        }
        let most = 600 / i32::try_from(EVERY.as_secs()).unwrap() + i32::try_from(AT_ONCE).unwrap();
        assert!(writes <= most && writes >= most - 3, "{writes} of at most {most}");
        node.wait(EVERY);
        let last = node.step(Some(1_700_009_000), 9);
        assert!(last.is_some_and(
            |body| body["status"]["bgpInstances"][0]["peers"][0]["routeCount"][0]["received"] == 9
        ));
    }

    #[test]
    fn a_peer_that_stays_away_is_written_of_once_a_minute() {
        let mut node = Node::new();
        let mut written = Vec::new();
        for second in 0..300 {
            let state = if second % 3 == 0 { "Connect" } else { "Active" };
            if node.step_in(state, None, 0).is_some() {
                written.push(second);
                node.reporter.ended(true, node.now);
            }
            node.wait(Duration::from_secs(1));
        }
        assert!((4..=5).contains(&written.len()), "{written:?}");
        assert!(node.step(Some(1_700_000_000), 0).is_some(), "that it is up is told at once");
    }

    #[test]
    fn what_is_not_stored_is_tried_again_with_patience() {
        let mut node = Node::new();
        let mut tried = Vec::new();
        for second in 0..200 {
            if node.step(None, 0).is_some() {
                tried.push(second);
                node.reporter.ended(false, node.now);
            }
            node.wait(Duration::from_secs(1));
        }
        assert_eq!(tried[..5], [0, 1, 3, 7, 15]);
        assert!(tried.windows(2).skip(6).all(|pair| pair[1] - pair[0] == 60), "{tried:?}");
    }
}
