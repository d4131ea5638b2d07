//! `speaker operator` on a node of its own.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::NAMESPACE;
use crate::lab::Node;
use crate::process::Process;
use crate::speaker::binary;

/// A replica of the operator.
#[derive(Debug)]
pub struct Operator {
    node: Node,
    address: Ipv4Addr,
    config: PathBuf,
    kubeconfig: PathBuf,
    process: Mutex<Process>,
}

impl Operator {
    /// Starts it on a node that has `address` on the management segment, with `config` as its speaker.yaml.
    ///
    /// # Panics
    /// If its files cannot be written.
    #[must_use]
    pub fn start(node: &Node, address: Ipv4Addr, config: &str, kubeconfig: &Path) -> Self {
        let file = node.dir().join("operator.yaml");
        fs::write(&file, config).expect("operator.yaml");
        let process = Mutex::new(spawn(node, &file, kubeconfig));
        Self { node: node.clone(), address, config: file, kubeconfig: kubeconfig.to_owned(), process }
    }

    /// Its process.
    ///
    /// # Panics
    /// If another thread has panicked over it.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process.lock().expect("operator").clone()
    }

    /// Its address towards the API server.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Kills it and starts it anew with another speaker.yaml.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn restart_with(&self, config: &str) {
        self.process().kill();
        fs::write(&self.config, config).expect("operator.yaml");
        self.start_again();
    }

    /// Starts it again where it has ended.
    ///
    /// # Panics
    /// If another thread has panicked over it.
    pub fn start_again(&self) {
        let mut process = self.process.lock().expect("operator");
        if !process.running() {
            *process = spawn(&self.node, &self.config, &self.kubeconfig);
        }
    }
}

fn spawn(node: &Node, config: &Path, kubeconfig: &Path) -> Process {
    let mut command = Command::new(binary());
    command.args(["operator", "--config"]).arg(config);
    command.env("KUBECONFIG", kubeconfig).env("NO_COLOR", "1");
    // What the Deployment tells a Pod.
    command.env("POD_NAME", node.name()).env("POD_NAMESPACE", NAMESPACE);
    node.spawn("operator", &mut command)
}
