//! Whether this node's kube-proxy has set up what this process has heard of (`readiness: kube-proxy`): both watch the
//! same API server, and a route that is announced first leads packets to a node that does not know them yet. The same goes for
//! an address on a segment (L2).
//!
//! kube-proxy says when it last queued a synchronisation and when it last ended one, a family each, and whether changes
//! wait. It does not say which Services they concern, so that everything that is queued is waited for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bgp_proto::types::Timestamp;
use serde::{Deserialize, Serialize};

/// kube-proxy hears of a change by a watch of its own: not before this time after us is it asked whether it is done.
pub const GRACE: Duration = Duration::from_millis(100);

/// Nothing is held back longer than this, whatever kube-proxy says.
pub const LIMIT: Duration = Duration::from_secs(5);

/// What `explain` says of what waits.
#[must_use]
pub fn waits() -> String {
    let limit = LIMIT.as_secs();
    format!("kube-proxy has not said yet that it has set this up; announced after {limit} s all the same")
}

/// Seconds by which the beginning of a synchronisation may be later than it looks.
const TOLERANCE: f64 = 0.02;

/// Until when kube-proxy has set things up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Programmed {
    /// Everything up to this question is settled.
    pub ticket: u64,
    /// It is settled because it took too long, for this reason.
    pub trouble: Option<String>,
}

/// What kube-proxy's metrics say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Changes wait to be taken up.
    pending: bool,
    /// By their labels, which name a family or, before Kubernetes 1.33, nothing.
    families: BTreeMap<String, Family>,
}

/// The synchronisations of one family. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Family {
    /// When one was last queued.
    queued: f64,
    /// When one last ended.
    ended: f64,
    /// How many there were, and how many seconds they took together.
    count: f64,
    sum: f64,
}

impl Sample {
    /// Reads the text of `/metrics`.
    ///
    /// # Errors
    /// It is not kube-proxy's.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut sample = Self::default();
        for line in text.lines() {
            let Some((name, value)) =
                line.strip_prefix("kubeproxy_sync_proxy_rules_").and_then(|rest| rest.rsplit_once(' '))
            else {
                continue;
            };
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let Ok(value) = value.parse::<f64>() else { continue };
            let field: fn(&mut Family) -> &mut f64 = match name {
                "last_queued_timestamp_seconds" => |family| &mut family.queued,
                "last_timestamp_seconds" => |family| &mut family.ended,
                "duration_seconds_sum" => |family| &mut family.sum,
                "duration_seconds_count" => |family| &mut family.count,
                "endpoint_changes_pending" | "service_changes_pending" => {
                    sample.pending |= value > 0.0;
                    continue;
                }
                _ => continue,
            };
            *field(sample.families.entry(labels.to_owned()).or_default()) = value;
        }
        if sample.families.values().all(|family| family.queued <= 0.0) {
            return Err("no kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds in it".to_owned());
        }
        Ok(sample)
    }
}

/// What was seen of a family since a question.
#[derive(Debug, Clone, Copy)]
struct Seen {
    last: Family,
    /// The last synchronisation began before something was queued, which is therefore in the next one only.
    early: bool,
    /// Synchronisations that ended since the question was old enough.
    rounds: u8,
}

impl Seen {
    /// Takes what the metrics say; whether what is queued is set up.
    fn see(&mut self, now: Family, old_enough: bool) -> bool {
        let told = now.count > 0.0;
        let ended = if told { now.count > self.last.count } else { now.ended > self.last.ended };
        if ended {
            // The duration is taken a little after the end, so that the true beginning is a little later than this.
            let took = now.sum - self.last.sum;
            self.early = told && now.queued > now.ended - took + TOLERANCE.max(took / 10.0);
            self.rounds = self.rounds.saturating_add(u8::from(old_enough));
            self.last = now;
        }
        // Between its end and its duration nothing is known of when it began.
        let between = now.ended > self.last.ended;
        now.ended >= now.queued && !self.early && !between
    }
}

/// One question, and what was seen since.
#[derive(Debug, Clone)]
struct Question {
    ticket: u64,
    since: Timestamp,
    seen: BTreeMap<String, Seen>,
}

impl Question {
    /// Whether everything is set up that was known when the question came up.
    fn is_done(&mut self, sample: &Sample, old_enough: bool) -> bool {
        let (mut all, mut any_twice, mut all_twice) = (true, false, true);
        for (name, family) in &sample.families {
            let fresh = Seen { last: *family, early: false, rounds: 0 };
            let seen = self.seen.entry(name.clone()).or_insert(fresh);
            let settled = seen.see(*family, old_enough);
            // Two ends: the second one's beginning was after the question, however busy kube-proxy is.
            let twice = seen.rounds >= 2;
            all &= settled;
            any_twice |= twice;
            all_twice &= twice || settled;
        }
        old_enough && (all && !sample.pending || any_twice && all_twice)
    }
}

/// The questions that are open.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    open: VecDeque<Question>,
}

impl Progress {
    /// Has kube-proxy set up everything that is known now? Tickets grow.
    pub fn ask(&mut self, ticket: u64, now: Timestamp) {
        self.open.push_back(Question { ticket, since: now, seen: BTreeMap::new() });
    }

    /// Whether there is nothing to find out.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes what kube-proxy says, or why it cannot be asked; gives back what is settled by it.
    pub fn see(&mut self, sample: &Result<Sample, String>, now: Timestamp) -> Option<Programmed> {
        let mut settled = None;
        for question in &mut self.open {
            let age = now.since(question.since);
            let done = sample.as_ref().is_ok_and(|sample| question.is_done(sample, age >= GRACE));
            let trouble = match sample {
                _ if done => None,
                _ if age < LIMIT => continue,
                Ok(_) => Some(format!("kube-proxy has been busy for {} s", LIMIT.as_secs())),
                Err(why) => Some(format!("kube-proxy's metrics cannot be read: {why}")),
            };
            settled = Some(Programmed { ticket: question.ticket, trouble });
        }
        let ticket = settled.as_ref()?.ticket;
        self.open.retain(|question| question.ticket > ticket);
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn sample(pending: bool, families: &[(&str, f64, f64)]) -> Result<Sample, String> {
        let family = |queued, ended| Family { queued, ended, ..Family::default() };
        let families =
            families.iter().map(|(name, queued, ended)| ((*name).to_owned(), family(*queued, *ended)));
        Ok(Sample { pending, families: families.collect() })
    }

    const fn done(ticket: u64) -> Option<Programmed> {
        Some(Programmed { ticket, trouble: None })
    }

    #[test]
    fn metrics_are_read_with_and_without_a_family() {
        let text = "# TYPE kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge\n\
             kubeproxy_sync_proxy_rules_endpoint_changes_pending 0\n\
             kubeproxy_sync_proxy_rules_service_changes_pending 2\n\
             kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 1.7637651234567e+09\n\
             kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 1.7637651239e+09\n\
             kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"} 7\n\
             kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.001\"} 1\n\
             kubeproxy_sync_proxy_rules_duration_seconds_sum{ip_family=\"IPv4\"} 0.5\n\
             kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 3\n\
             kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\"} 0\n\
             process_start_time_seconds 1\n";
        let read = Sample::parse(text).unwrap();
        let wanted = [
            ("ip_family=\"IPv4\"}", 1_763_765_123.456_7, 1_763_765_123.9),
            ("ip_family=\"IPv6\"}", 0.0, 7.0),
        ];
        let mut wanted = sample(true, &wanted).unwrap();
        let four = wanted.families.get_mut("ip_family=\"IPv4\"}").unwrap();
        (four.sum, four.count) = (0.5, 3.0);
        assert_eq!(read, wanted);
        let old = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds 2\n\
             kubeproxy_sync_proxy_rules_last_timestamp_seconds 3\n";
        assert_eq!(Sample::parse(old), sample(false, &[("", 2.0, 3.0)]));
        Sample::parse("up 1\n").unwrap_err();
    }

    #[test]
    fn what_is_queued_is_waited_for_in_both_families() {
        let mut progress = Progress::default();
        progress.ask(1, at(0));
        let idle = sample(false, &[("4", 10.0, 11.0), ("6", 10.0, 11.0)]);
        assert_eq!(progress.see(&idle, at(50)), None, "kube-proxy may not have heard of it yet");
        assert_eq!(progress.see(&sample(false, &[("4", 12.0, 11.0), ("6", 10.0, 11.0)]), at(100)), None);
        progress.ask(2, at(120));
        assert_eq!(progress.see(&sample(true, &[("4", 12.0, 13.0), ("6", 12.0, 13.0)]), at(150)), None);
        let now = sample(false, &[("4", 12.0, 13.0), ("6", 12.0, 13.0)]);
        assert_eq!(progress.see(&now, at(200)), done(1), "the second question is too young");
        assert!(!progress.is_idle());
        assert_eq!(progress.see(&now, at(220)), done(2));
        assert!(progress.is_idle());
    }

    #[test]
    fn what_is_queued_during_a_synchronisation_is_in_the_next_one() {
        let see = |progress: &mut Progress, millis, queued, ended, sum, count| {
            let families = [("4".to_owned(), Family { queued, ended, count, sum })].into();
            progress.see(&Ok(Sample { pending: false, families }), at(millis))
        };
        let mut progress = Progress::default();
        progress.ask(1, at(0));
        // One that began at 10.0 runs; the change is queued at 10.1.
        assert_eq!(see(&mut progress, 10, 10.1, 9.0, 5.0, 7.0), None);
        assert_eq!(see(&mut progress, 200, 10.1, 10.3, 5.0, 7.0), None, "it has ended; when did it begin?");
        assert_eq!(see(&mut progress, 210, 10.1, 10.3, 5.3, 8.0), None, "before the change");
        assert_eq!(see(&mut progress, 1_000, 10.1, 10.3, 5.3, 8.0), None);
        assert_eq!(see(&mut progress, 1_400, 10.1, 11.2, 5.5, 9.0), done(1));
        // One that is queued and begins at once.
        progress.ask(2, at(2_000));
        assert_eq!(see(&mut progress, 2_010, 12.0, 11.2, 5.5, 9.0), None);
        assert_eq!(see(&mut progress, 2_200, 12.0, 12.11, 5.611, 10.0), done(2));
    }

    #[test]
    fn a_proxy_that_is_never_idle_is_done_after_its_second_round() {
        let mut progress = Progress::default();
        progress.ask(1, at(0));
        let busy = |ended| sample(true, &[("4", 99.0, ended)]);
        for (millis, ended) in [(90, 1.0), (110, 2.0), (200, 2.0)] {
            assert_eq!(progress.see(&busy(ended), at(millis)), None, "{millis}");
        }
        assert_eq!(progress.see(&busy(3.0), at(1_200)), done(1));
    }

    #[test]
    fn nothing_is_held_for_ever() {
        let mut progress = Progress::default();
        progress.ask(1, at(0));
        let refused = Err("connection refused".to_owned());
        assert_eq!(progress.see(&refused, at(4_999)), None);
        let settled = progress.see(&refused, at(5_000)).unwrap();
        assert_eq!(settled.trouble.unwrap(), "kube-proxy's metrics cannot be read: connection refused");
        progress.ask(2, at(6_000));
        let settled = progress.see(&sample(true, &[("", 2.0, 1.0)]), at(11_000)).unwrap();
        assert_eq!(
            (settled.ticket, settled.trouble.unwrap().as_str()),
            (2, "kube-proxy has been busy for 5 s")
        );
    }
}
