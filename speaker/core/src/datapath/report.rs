//! What the kernel's shell tells, and what an announcement makes of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_proto::types::Prefix;
use serde::{Deserialize, Serialize};
use speaker_config::model::Datapath;

use super::wanted::{GuardKind, Wanted};
use super::{LOCAL_TABLE, TABLE};

/// How one guard or one local address stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is in the kernel.
    InPlace,
    /// It is being put there.
    Pending,
    /// It is left out on purpose, for this reason.
    Spared(String),
    /// It cannot be put there, for this reason; it is tried again.
    Failed(String),
}

/// Whether this process looks after the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Access {
    /// It does.
    Full,
    /// It may not, for this reason.
    Refused(String),
}

/// What the kernel's shell tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelReport {
    /// Whether it could do anything at all.
    pub access: Access,
    /// The [`Wanted::serial`] that it answers.
    pub serial: u64,
    /// Of every wanted guard.
    pub guards: BTreeMap<Prefix, Outcome>,
    /// Of every address to be delivered.
    pub locals: BTreeMap<IpAddr, Outcome>,
    /// What else an operator should know.
    pub notes: Vec<String>,
}

/// What is known of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Kernel {
    /// Nobody looks after it: in `check`, in the demo.
    #[default]
    Absent,
    /// Its shell has not told anything yet.
    Waiting,
    /// Its shell's last word.
    Reported(KernelReport),
}

/// What is wanted of the kernel and what it said: the last gate of a route (design §5, "an address works before
/// it is announced").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carriage {
    /// `datapath`.
    pub settings: Datapath,
    /// What is wanted.
    pub wanted: Wanted,
    /// What is known.
    pub kernel: Kernel,
}

impl Carriage {
    /// Nothing is ever wanted of the kernel, or nobody looks after it: there is no gate.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let off = GuardKind::of(self.settings.loops).is_none() && !self.settings.local_announced;
        off || self.kernel == Kernel::Absent
    }

    /// Whether the kernel has answered what is wanted of it, however it did.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match &self.kernel {
            _ if self.is_off() => true,
            Kernel::Absent => true,
            Kernel::Waiting => false,
            Kernel::Reported(report) => report.access != Access::Full || report.serial == self.wanted.serial,
        }
    }

    /// Whether a route may be announced as far as the kernel is concerned.
    #[must_use]
    pub fn carries(&self, prefix: Prefix) -> bool {
        self.is_off() || self.judge(prefix).is_ok()
    }

    /// What lets a route through, or what holds it back.
    ///
    /// # Errors
    /// What holds it back.
    pub fn judge(&self, prefix: Prefix) -> Result<String, String> {
        let report = match &self.kernel {
            Kernel::Absent => return Ok("nobody looks after the kernel".to_owned()),
            Kernel::Waiting => return Err("the kernel has not been read yet".to_owned()),
            Kernel::Reported(report) => report,
        };
        if let Access::Refused(why) = &report.access {
            return Ok(format!("the kernel is not looked after: {why}"));
        }
        let guard = self.judge_guard(prefix, report)?;
        let local = self.judge_local(prefix, report)?;
        let both: Vec<String> = guard.into_iter().chain(local).collect();
        Ok(if both.is_empty() { "nothing is wanted of the kernel".to_owned() } else { both.join("; ") })
    }

    fn judge_guard(&self, prefix: Prefix, report: &KernelReport) -> Result<Option<String>, String> {
        let mut held = None;
        for (over, guard) in self.wanted.guards_over(prefix) {
            let kind = guard.kind.word();
            match report.guards.get(&over) {
                Some(Outcome::InPlace) => {
                    return Ok(Some(format!("the {kind} route to {over} is in table {TABLE}")));
                }
                Some(Outcome::Spared(why)) => return Ok(Some(format!("{over} has no loop guard: {why}"))),
                Some(Outcome::Failed(why)) => {
                    held.get_or_insert(format!("the {kind} route to {over} cannot be set: {why}"));
                }
                Some(Outcome::Pending) | None => {
                    held.get_or_insert(format!("the {kind} route to {over} is not yet in table {TABLE}"));
                }
            }
        }
        held.map_or(Ok(None), Err)
    }

    fn judge_local(&self, prefix: Prefix, report: &KernelReport) -> Result<Option<String>, String> {
        let addr = prefix.addr();
        if !prefix.is_host() || !self.wanted.locals.contains(&addr) {
            return Ok(None);
        }
        match report.locals.get(&addr) {
            Some(Outcome::InPlace) => Ok(Some(format!("{addr} is delivered on this host"))),
            Some(Outcome::Spared(why)) => Ok(Some(format!("{addr} is not delivered on this host: {why}"))),
            Some(Outcome::Failed(why)) => Err(format!("{addr} cannot be delivered on this host: {why}")),
            Some(Outcome::Pending) | None => {
                Err(format!("the local route to {addr} is not yet in table {LOCAL_TABLE}"))
            }
        }
    }

    /// What an operator should know of the kernel, in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let Kernel::Reported(report) = &self.kernel else { return Vec::new() };
        let mut all = Vec::new();
        if let (Access::Refused(why), false) = (&report.access, self.is_off()) {
            all.push(format!("the kernel is not looked after: {why}"));
        }
        for (prefix, outcome) in &report.guards {
            match outcome {
                Outcome::Spared(why) => all.push(format!("{prefix} has no loop guard: {why}")),
                Outcome::Failed(why) => all.push(format!("{prefix} cannot be guarded: {why}")),
                Outcome::InPlace | Outcome::Pending => {}
            }
        }
        for (addr, outcome) in &report.locals {
            if let Outcome::Failed(why) = outcome {
                all.push(format!("{addr} cannot be delivered on this host: {why}"));
            }
        }
        all.extend(report.notes.iter().cloned());
        all
    }
}
