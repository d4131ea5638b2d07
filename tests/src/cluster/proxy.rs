//! kube-proxy on a node.

use std::time::Duration;

use super::{Cluster, flag, programs, write_kubeconfig};
use crate::lab::Node;
use crate::process::Process;

/// With what kube-proxy programs the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// nftables.
    Nftables,
    /// iptables (Debian's is the one on nf_tables).
    Iptables,
}

impl Cluster {
    /// Starts kube-proxy in a node's namespace, for the Node object `name`. It serves `/healthz` at port 10256
    /// of the node.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_proxy(&self, node: &Node, name: &str, mode: ProxyMode) -> Process {
        self.start_slow_proxy(node, name, mode, Duration::from_millis(10))
    }

    /// The same, with this time at least between two synchronisations; kube-proxy's own default is a second.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_slow_proxy(&self, node: &Node, name: &str, mode: ProxyMode, pause: Duration) -> Process {
        let config = write_kubeconfig(&self.dir, "kube-proxy", "proxy-token");
        let word = match mode {
            ProxyMode::Nftables => "nftables",
            ProxyMode::Iptables => "iptables",
        };
        let mut command = programs::command("kube-proxy");
        command.arg(flag("kubeconfig", &config)).args([
            &format!("--hostname-override={name}"),
            &format!("--proxy-mode={word}"),
            "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56",
            "--healthz-bind-address=0.0.0.0:10256",
            "--metrics-bind-address=127.0.0.1:10249",
            // For nftables too.
            &format!("--iptables-min-sync-period={}ms", pause.as_millis()),
            // These sysctls are read-only in a namespace of this kind.
            "--conntrack-max-per-core=0",
            "--conntrack-min=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]);
        node.spawn("kube-proxy", &mut command)
    }
}
