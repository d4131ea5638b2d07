//! Taking a node out of service (design §5, "Stopping"): first peers are told that its routes are about to go
//! (RFC 8326), then the routes go. It outranks every gate.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use speaker_config::model::DrainSettings;
use speaker_config::objects::{Node, UnixSeconds};

/// The annotation of a Node by which `speaker drain` outlives restarts: an [`Order`], or `true`.
pub const ANNOTATION: &str = "speaker.drain";

/// The label by which Kubernetes takes a node out of load balancers.
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// How far a node is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Drain {
    /// In service.
    #[default]
    No,
    /// Routes carry GRACEFUL_SHUTDOWN, and local preference 0 towards internal peers: traffic moves away.
    Announcing,
    /// Nothing is announced.
    Withdrawn,
}

/// An operator's word, as it is kept: `1795262400/60s`, when it was said and how long routes are announced on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// When it was given.
    pub since: UnixSeconds,
    /// Seconds until the withdrawal.
    pub lasts: u32,
}

impl Order {
    /// Where this order has led by `now`, and when it goes on. A clock that was set back does not undo it:
    /// it waits no longer than it was to.
    #[must_use]
    pub fn state(self, now: UnixSeconds) -> (Drain, Option<UnixSeconds>) {
        let lasts = i64::from(self.lasts);
        let begun = self.since.min(now);
        let end = begun.saturating_add(lasts);
        if now >= end { (Drain::Withdrawn, None) } else { (Drain::Announcing, Some(end)) }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.since, self.lasts)
    }
}

impl FromStr for Order {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (since, lasts) = text.trim().strip_suffix('s').and_then(|text| text.split_once('/')).ok_or(())?;
        Ok(Self { since: since.parse().map_err(drop)?, lasts: lasts.parse().map_err(drop)? })
    }
}

/// The order in a Node's annotation. A value that is none of ours is somebody's `true`, which counts from
/// when it was `seen`.
#[must_use]
pub fn annotated(node: &Node, settings: &DrainSettings, seen: UnixSeconds) -> Option<Order> {
    let value = node.annotations.get(ANNOTATION)?.trim();
    if value.is_empty() || value == "false" {
        return None;
    }
    Some(value.parse().unwrap_or(Order { since: seen, lasts: seconds(settings) }))
}

/// Whether a taint or a label that the file names as such marks the node, and which.
#[must_use]
pub fn mark(node: &Node, settings: &DrainSettings) -> Option<String> {
    let taints: BTreeSet<&String> = node.taints.iter().collect();
    if let Some(taint) = settings.taint.as_ref().filter(|taint| taints.contains(taint)) {
        return Some(format!("taint {taint}"));
    }
    (settings.exclude_label && node.labels.contains_key(EXCLUDE_LABEL))
        .then(|| format!("label {EXCLUDE_LABEL}"))
}

/// `drain.for` in whole seconds.
#[must_use]
pub fn seconds(settings: &DrainSettings) -> u32 {
    u32::try_from(settings.lasts.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_order_is_kept_as_it_was_said() {
        let order = Order { since: 1_795_262_400, lasts: 60 };
        assert_eq!(order.to_string(), "1795262400/60s");
        assert_eq!("1795262400/60s".parse(), Ok(order));
        for text in ["", "true", "60s", "1/2", "1/-2s", "x/60s"] {
            assert_eq!(text.parse::<Order>(), Err(()), "{text}");
        }
    }

    #[test]
    fn routes_go_when_the_time_is_over_whatever_the_clock_does() {
        let order = Order { since: 1000, lasts: 60 };
        assert_eq!(order.state(1000), (Drain::Announcing, Some(1060)));
        assert_eq!(order.state(1059), (Drain::Announcing, Some(1060)));
        assert_eq!(order.state(1060), (Drain::Withdrawn, None));
        assert_eq!(order.state(900), (Drain::Announcing, Some(960)), "set back: no longer than a minute");
        assert_eq!(Order { lasts: 0, ..order }.state(1000), (Drain::Withdrawn, None));
        assert_eq!(Order { since: i64::MAX, lasts: 1 }.state(5), (Drain::Announcing, Some(6)));
    }

    #[test]
    fn only_what_the_file_names_marks_a_node() {
        let settings = DrainSettings { lasts: Duration::from_secs(30), taint: None, exclude_label: false };
        let mut node = Node { name: "n1".to_owned(), ..Node::default() };
        node.taints.insert("node.kubernetes.io/unschedulable".to_owned());
        node.taints.insert("example.com/out".to_owned());
        node.labels.insert(EXCLUDE_LABEL.to_owned(), String::new());
        assert_eq!(mark(&node, &settings), None, "a cordon is no drain");
        let tainted = DrainSettings { taint: Some("example.com/out".to_owned()), ..settings.clone() };
        assert_eq!(mark(&node, &tainted).unwrap(), "taint example.com/out");
        assert!(mark(&node, &DrainSettings { exclude_label: true, ..settings.clone() }).is_some());
        assert_eq!(annotated(&node, &settings, 7), None);
        for (value, expected) in [
            ("true", Some(Order { since: 7, lasts: 30 })),
            ("5/9s", Some(Order { since: 5, lasts: 9 })),
            ("false", None),
            ("", None),
        ] {
            node.annotations.insert(ANNOTATION.to_owned(), value.to_owned());
            assert_eq!(annotated(&node, &settings, 7), expected, "{value}");
        }
    }
}
