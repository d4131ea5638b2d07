//! Failures of the shells that bring the world's wishes about, counted for the whole process.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where it failed. One place of failure is one value, so that the label has few values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Watching or reading the Kubernetes API, or writing to it.
    Kubernetes,
    /// Routes, rules and addresses of this node's kernel.
    Kernel,
    /// ARP and NDP.
    Link,
    /// Manifests, or the state folder beside them.
    Manifests,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kubernetes, Self::Kernel, Self::Link, Self::Manifests];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Kernel => "kernel",
            Self::Link => "link",
            Self::Manifests => "manifests",
        }
    }
}

static ERRORS: [AtomicU64; Component::ALL.len()] = [const { AtomicU64::new(0) }; Component::ALL.len()];

/// Counts a failure that is tried again: `speaker_reconcile_errors_total`.
pub fn failed(component: Component) {
    if let Some(count) = ERRORS.get(component as usize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many failures there were.
#[must_use]
pub fn count(component: Component) -> u64 {
    ERRORS.get(component as usize).map_or(0, |count| count.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_has_a_count_of_its_own() {
        for (at, component) in Component::ALL.into_iter().enumerate() {
            assert_eq!(component as usize, at);
        }
        // Other tests of this process may make something fail meanwhile.
        let before = count(Component::Link);
        failed(Component::Link);
        assert!(count(Component::Link) > before);
    }
}
