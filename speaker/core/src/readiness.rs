//! What must be healthy before this node announces (`readiness`): the node's own proxy, which has nothing programmed
//! after a reboot.
//!
//! The gate opens once a boot. What a proxy has programmed stays in the kernel when the proxy ends, so that a later loss
//! says nothing about packets, and a proxy that fails everywhere at once would take every route of the cluster with it.

use serde::{Deserialize, Serialize};
use speaker_config::model::Readiness;

/// What was found when the proxy was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// It says that it is healthy.
    pub healthy: bool,
    /// In words: what it answered, or why it did not.
    pub detail: String,
}

/// The gate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    wanted: Readiness,
    open: bool,
    last: Option<Health>,
}

/// How people call what is waited for.
#[must_use]
pub const fn word(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::KubeProxy => "kube-proxy",
        Readiness::Cilium => "Cilium's agent",
        Readiness::None => "nothing",
    }
}

impl Gate {
    /// A gate that was opened by an earlier process on the same boot, or was not.
    #[must_use]
    pub const fn new(opened_before: bool) -> Self {
        Self { wanted: Readiness::None, open: opened_before, last: None }
    }

    /// `readiness` of a configuration. Where nothing was asked for, routes are out already: they stay.
    pub fn configure(&mut self, readiness: Readiness) {
        self.open |= readiness == Readiness::None;
        if self.wanted != readiness {
            self.wanted = readiness;
            self.last = None;
        }
    }

    /// What was found.
    pub fn hear(&mut self, health: Health) {
        self.open |= health.healthy;
        self.last = Some(health);
    }

    /// Whether this node may announce.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// What the gate says, where there is one: whether it lets routes through, and why.
    #[must_use]
    pub fn verdict(&self) -> Option<(bool, String)> {
        if self.wanted == Readiness::None {
            return None;
        }
        let who = word(self.wanted);
        let detail = match (&self.last, self.open) {
            (None, false) => format!("{who} has not been asked yet"),
            (None, true) => format!("{who} was healthy since this node was started"),
            (Some(Health { healthy: true, .. }), _) => format!("{who} is healthy"),
            (Some(last), false) => {
                format!("{who} has not been healthy since this node was started: {}", last.detail)
            }
            (Some(last), true) => format!(
                "{who} is not healthy now ({}); it was since this node was started, and what it has set up stays in the kernel",
                last.detail
            ),
        };
        Some((self.open, detail))
    }

    /// What an operator should know of it.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let healthy = self.last.as_ref().is_some_and(|last| last.healthy);
        let quiet = healthy || self.open && self.last.is_none();
        self.verdict()
            .filter(|_| !quiet)
            .map(|(open, detail)| if open { detail } else { format!("nothing is announced: {detail}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(healthy: bool) -> Health {
        Health { healthy, detail: if healthy { "200" } else { "503" }.to_owned() }
    }

    #[test]
    fn it_opens_once_a_boot_and_says_why() {
        let mut gate = Gate::new(false);
        gate.configure(Readiness::KubeProxy);
        assert_eq!(gate.verdict().unwrap(), (false, "kube-proxy has not been asked yet".to_owned()));
        gate.hear(found(false));
        assert!(!gate.is_open());
        let problem = gate.problem().unwrap();
        assert_eq!(
            problem,
            "nothing is announced: kube-proxy has not been healthy since this node was started: 503"
        );
        gate.hear(found(true));
        assert_eq!((gate.verdict().unwrap().0, gate.problem()), (true, None));
        gate.hear(found(false));
        assert!(gate.is_open(), "what it has set up stays");
        assert!(gate.problem().unwrap().starts_with("kube-proxy is not healthy now (503)"));
    }

    #[test]
    fn what_was_open_stays_so() {
        let mut gate = Gate::new(true);
        gate.configure(Readiness::Cilium);
        assert_eq!((gate.is_open(), gate.problem()), (true, None), "the process before saw it healthy");
        let mut gate = Gate::new(false);
        gate.configure(Readiness::None);
        assert_eq!((gate.is_open(), gate.verdict()), (true, None));
        gate.configure(Readiness::KubeProxy);
        assert!(gate.is_open(), "a reload withdraws nothing");
    }
}
