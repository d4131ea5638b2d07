//! `topology.clab.yml`: the part of containerlab's format that the topologies use, each key of which is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

/// A topology that holds together: see [`Topology::parse`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    name: String,
    topology: Body,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    nodes: BTreeMap<String, Definition>,
    links: Vec<Link>,
}

/// A node: a container of kind `linux`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    kind: String,
    image: String,
    /// The command that the container runs instead of the image's own.
    pub cmd: Option<String>,
    #[serde(default)]
    binds: Vec<String>,
    /// Commands that run in the container once it is up.
    #[serde(default)]
    pub exec: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    endpoints: [String; 2],
}

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The interface in it.
    pub device: &'a str,
}

/// What runs in a node, by the variable that names its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// `FRR_IMAGE`.
    Frr,
    /// `BIRD_IMAGE`.
    Bird,
    /// `SPEAKER_IMAGE`.
    Speaker,
}

impl Topology {
    /// Reads a topology whose binds are relative to `folder`.
    ///
    /// # Errors
    /// Every fault: keys that are unknown or missing, and what containerlab, or this suite, would stumble over.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<String>> {
        let topology: Self = serde_yaml::from_str(text).map_err(|e| vec![e.to_string()])?;
        let mut faults = Vec::new();
        if topology.name.is_empty() || !topology.name.chars().all(|c| c.is_ascii_alphanumeric()) {
            faults.push(format!("name {:?}: letters and digits only, it is part of names", topology.name));
        }
        for (name, node) in &topology.topology.nodes {
            node.check(folder, &mut |fault| faults.push(format!("node {name}: {fault}")));
        }
        topology.check_links(&mut faults);
        if faults.is_empty() { Ok(topology) } else { Err(faults) }
    }

    fn check_links(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for text in self.topology.links.iter().flat_map(|l| &l.endpoints) {
            let Some(end) = Endpoint::parse(text) else {
                faults.push(format!("endpoint {text:?}: NODE:INTERFACE"));
                continue;
            };
            if !self.topology.nodes.contains_key(end.node) {
                faults.push(format!("endpoint {text:?}: no such node"));
            }
            // eth0 is containerlab's management network; 15 octets are the kernel's limit.
            if end.device == "eth0" || end.device.is_empty() || end.device.len() > 15 {
                faults.push(format!("endpoint {text:?}: not a name for an interface of a link"));
            }
            if !seen.insert(end) {
                faults.push(format!("endpoint {text:?} stands twice"));
            }
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its nodes by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Definition)> {
        self.topology.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// Both ends of each link.
    pub fn links(&self) -> impl Iterator<Item = [Endpoint<'_>; 2]> {
        let end = |text| Endpoint::parse(text).expect("checked");
        self.topology.links.iter().map(move |link| link.endpoints.each_ref().map(|e| end(e.as_str())))
    }
}

impl<'a> Endpoint<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        text.split_once(':').map(|(node, device)| Self { node, device })
    }
}

impl Definition {
    fn check(&self, folder: &Path, fault: &mut dyn FnMut(String)) {
        if self.kind != "linux" {
            fault(format!("kind {:?}: only linux is realised here", self.kind));
        }
        match self.image() {
            Some((_, default)) if default.contains(':') => {}
            Some((_, default)) => fault(format!("image default {default:?} has no tag")),
            None => fault(format!(
                "image {:?}: ${{VARIABLE:=default}} with FRR_IMAGE, BIRD_IMAGE or SPEAKER_IMAGE",
                self.image
            )),
        }
        for bind in &self.binds {
            match split(bind) {
                Some((source, target)) => {
                    if !folder.join(source).exists() {
                        fault(format!("bind {bind:?}: there is no {source}"));
                    }
                    if !target.starts_with("/etc/") {
                        fault(format!("bind {bind:?}: only what lies in /etc is realised here"));
                    }
                }
                None => fault(format!("bind {bind:?}: SOURCE:TARGET")),
            }
        }
        if self.exec.iter().any(|line| line.trim().is_empty()) {
            fault("exec: an empty line".to_owned());
        }
    }

    /// What runs in it.
    ///
    /// # Panics
    /// Never on a node of a [`Topology`]: it is checked.
    #[must_use]
    pub fn what(&self) -> What {
        self.image().expect("checked").0
    }

    /// What its variable says that it is, and the image that stands for it otherwise. containerlab expands
    /// variables as a shell does.
    fn image(&self) -> Option<(What, &str)> {
        let (variable, default) = self.image.strip_prefix("${")?.strip_suffix('}')?.split_once(":=")?;
        let what = match variable {
            "FRR_IMAGE" => What::Frr,
            "BIRD_IMAGE" => What::Bird,
            "SPEAKER_IMAGE" => What::Speaker,
            _ => return None,
        };
        Some((what, default))
    }

    /// Source (relative to the topology's folder) and target of each bind.
    pub fn binds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.binds.iter().filter_map(|bind| split(bind))
    }
}

fn split(bind: &str) -> Option<(&str, &str)> {
    let (source, target) = bind.split_once(':')?;
    Some((source, target.strip_suffix(":ro").unwrap_or(target)))
}
