//! `speaker check` beyond the configuration file: what its manifests come to, and what this host has.

use std::path::{Path, PathBuf};

use speaker_config::diagnostic::Severity::{self, Error, Warning};
use speaker_config::manifest::{self, Content};
use speaker_config::model::SpeakerConfig;
use speaker_config::objects::{Object, Service};
use speaker_core::world::{Start, World};

use crate::{hub, load};

/// A finding.
type Finding = (Severity, String);

/// Reads the manifests, lets the daemon's own code decide on them in memory, and says what came of it.
#[must_use]
pub fn manifests(config: &SpeakerConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let node = load::node_name(config).unwrap_or_default();
    let mut world = World::new(config, &Start { node, ..Start::default() });
    let mut services: Vec<Service> = Vec::new();
    for path in &config.sources.manifests {
        for file in files(path).unwrap_or_else(|error| {
            findings.push((Error, format!("{}: cannot be read: {error}", path.display())));
            Vec::new()
        }) {
            read(&file, &mut world, &mut services, &mut findings);
        }
    }
    // Twice: what the first turn gives out is announced once it is recorded.
    let now = hub::unix_now();
    for status in world.settle(now).ipam.services {
        if let Some(service) = services.iter_mut().find(|service| service.key == status.key) {
            service.ingress = status.ingress;
            service.conditions = status.conditions;
            world.upsert(Object::Service(Box::new(service.clone())));
        }
    }
    world.settle(now);
    for pool in world.inputs().pools.iter() {
        let name = &pool.pool.name;
        findings.extend(pool.pool.faults.iter().map(|fault| (Error, format!("pool {name}: {fault}"))));
        findings.extend(pool.conflict.iter().map(|conflict| (Error, format!("pool {name}: {conflict}"))));
    }
    for service in world.inputs().services.values() {
        let unsatisfied = service.conditions.iter().filter(|c| c.status == "False");
        findings.extend(unsatisfied.map(|c| (Warning, format!("Service {}: {}", service.key, c.message))));
    }
    let surprises = world.announcer().findings(world.inputs());
    findings.extend(surprises.iter().map(|finding| (Warning, finding.to_string())));
    findings
}

fn read(file: &Path, world: &mut World, services: &mut Vec<Service>, findings: &mut Vec<Finding>) {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            findings.push((Error, format!("{}: cannot be read: {error}", file.display())));
            return;
        }
    };
    for document in manifest::parse(&text) {
        match document.content {
            Content::Object(object) => {
                if let Object::Service(service) = &object {
                    services.push((**service).clone());
                }
                world.upsert(object);
            }
            Content::Skipped { kind, api_version, .. } => {
                let line = document.line;
                let text = format!(
                    "{}:{line}: {kind} {api_version} is none of the kinds that are read",
                    file.display()
                );
                findings.push((Warning, text));
            }
            Content::Broken(error) => findings.push((Error, format!("{}:{error}", file.display()))),
        }
    }
}

/// What this host has against the configuration. Nothing is changed.
#[must_use]
pub fn node(config: &SpeakerConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = load::node_name(config) {
        findings.push((Error, error));
    }
    for address in &config.router.listen {
        // A taken port is a warning: the daemon itself may run.
        if let Err(error) = std::net::TcpListener::bind(address) {
            findings.push((Warning, format!("router.listen {address}: {error}")));
        }
    }
    for peer in &config.peers {
        if let Some(Err(error)) = peer.settings.password.as_ref().map(load::password) {
            findings.push((Error, format!("peer {}: {error}", peer.name)));
        }
    }
    if config.api.socket.exists() {
        findings.push((
            Warning,
            format!("api.socket {} exists: a daemon runs, or has left it", config.api.socket.display()),
        ));
    }
    let folders: [(&str, Option<&PathBuf>); 1] =
        [("ipam.stateDir", config.ipam.enabled.then_some(&config.ipam.state_dir))];
    for (key, folder) in folders {
        let Some(folder) = folder else { continue };
        let missing = !folder.exists();
        let parent = folder.ancestors().find(|ancestor| ancestor.exists());
        let writable =
            parent.is_some_and(|parent| std::fs::metadata(parent).is_ok_and(|m| !m.permissions().readonly()));
        if missing && !writable {
            findings.push((Error, format!("{key} {} is missing and cannot be made", folder.display())));
        }
    }
    findings
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let manifest = file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if manifest && !hidden {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
