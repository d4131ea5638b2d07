//! What the kernel's shell tells, and what an announcement makes of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_proto::types::Prefix;
use serde::{Deserialize, Serialize};
use speaker_config::model::Datapath;

use super::wanted::{Change, GuardKind, Wanted};
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
    /// Of wanted guards: those that are not in place.
    pub guards: BTreeMap<Prefix, Outcome>,
    /// Of addresses to be delivered: those that are not.
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
    /// What came to be wanted with which serial, as long as no report has answered it.
    unanswered: BTreeMap<Item, u64>,
    /// What the kernel's shell has not been told yet.
    untold: Change,
    /// The [`Wanted::version`] that it was told.
    told: Option<(u64, bool)>,
}

/// Something that the kernel is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Guard(Prefix),
    Local(IpAddr),
}

impl Carriage {
    /// Takes what came to be wanted, and what no longer is.
    pub fn want(&mut self, change: Change) {
        let guards = change.guards.iter().map(|(prefix, guard)| (Item::Guard(*prefix), guard.is_some()));
        let locals = change.locals.iter().map(|(addr, wanted)| (Item::Local(*addr), *wanted));
        for (item, wanted) in guards.chain(locals) {
            if wanted {
                self.unanswered.insert(item, change.serial);
            } else {
                self.unanswered.remove(&item);
            }
        }
        self.wanted.follow(&change);
        self.untold.merge(change);
    }

    /// What the kernel's shell is to be told.
    pub fn tell(&mut self) -> Option<Change> {
        let version = self.wanted.version();
        let news = self.told.replace(version) != Some(version);
        let change = std::mem::take(&mut self.untold);
        news.then_some(Change { serial: version.0, complete: version.1, ..change })
    }

    /// Takes what the kernel's shell tells.
    pub fn hear(&mut self, report: KernelReport) {
        self.unanswered.retain(|_, serial| *serial > report.serial);
        self.kernel = Kernel::Reported(report);
    }

    /// What a report says of something that is wanted.
    fn outcome<'a>(&self, item: Item, report: &'a KernelReport) -> &'a Outcome {
        if self.unanswered.contains_key(&item) {
            return &Outcome::Pending;
        }
        let said = match item {
            Item::Guard(prefix) => report.guards.get(&prefix),
            Item::Local(addr) => report.locals.get(&addr),
        };
        said.unwrap_or(&Outcome::InPlace)
    }

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
            match self.outcome(Item::Guard(over), report) {
                Outcome::InPlace => {
                    return Ok(Some(format!("the {kind} route to {over} is in table {TABLE}")));
                }
                Outcome::Spared(why) => return Ok(Some(format!("{over} has no loop guard: {why}"))),
                Outcome::Failed(why) => {
                    held.get_or_insert(format!("the {kind} route to {over} cannot be set: {why}"));
                }
                Outcome::Pending => {
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
        match self.outcome(Item::Local(addr), report) {
            Outcome::InPlace => Ok(Some(format!("{addr} is delivered on this host"))),
            Outcome::Spared(why) => Ok(Some(format!("{addr} is not delivered on this host: {why}"))),
            Outcome::Failed(why) => Err(format!("{addr} cannot be delivered on this host: {why}")),
            Outcome::Pending => Err(format!("the local route to {addr} is not yet in table {LOCAL_TABLE}")),
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
