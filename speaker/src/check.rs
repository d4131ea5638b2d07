//! `speaker check` beyond the configuration file: what its manifests come to, and what this host has.

mod host;

use std::collections::BTreeMap;
use std::path::Path;

use speaker_config::diagnostic::Diagnostic;
use speaker_config::diagnostic::Severity::{self, Error, Warning};
use speaker_config::manifest::{self, Content};
use speaker_config::model::{Authentication, PasswordSource, SpeakerConfig};
use speaker_config::objects::{Object, ObjectRef, Service};
use speaker_core::world::{Host, Start, World};

use crate::hub;
use crate::io::kube;
use crate::io::manifests::{ABSENT, files};
use crate::load::{self, Loaded};
pub use host::kernel;

/// A finding.
type Finding = (Severity, String);

/// What a configuration comes to with its manifests.
#[derive(Debug)]
pub struct Found {
    /// What a line of `speaker.yaml` says.
    pub placed: Vec<Diagnostic>,
    /// What the manifests say.
    pub findings: Vec<Finding>,
}

/// Reads the manifests, lets the daemon's own code decide on them in memory, and says what came of it.
#[must_use]
pub fn manifests(loaded: &Loaded, file: &Path) -> Found {
    let config = &loaded.config;
    let mut findings = Vec::new();
    let node = load::node_name(config).unwrap_or_default();
    let allocated_elsewhere = config.sources.kubernetes;
    if allocated_elsewhere && !config.sources.manifests.is_empty() {
        let text = "sources: Services in manifests are given no addresses where there is a cluster: the operator \
                    serves those of the API server";
        findings.push((Warning, text.to_owned()));
    }
    let host = Host { unknown: true, ..Host::default() };
    let mut world = World::new(config, &Start { node, host, allocated_elsewhere, ..Start::default() });
    let mut read = Read::default();
    for path in &config.sources.manifests {
        for file in files(path).unwrap_or_else(|error| {
            findings.push(unlisted(path, &error));
            Vec::new()
        }) {
            read.file(&file, &mut world, &mut findings);
        }
    }
    // Twice: what the first turn gives out is announced once it is recorded.
    let now = hub::unix_now();
    for status in world.settle(now).ipam.services {
        if let Some(service) = read.services.iter_mut().find(|service| service.key == status.key) {
            service.ingress = status.ingress;
            service.conditions = status.conditions;
            world.upsert(Object::Service(Box::new(service.clone())));
        }
    }
    world.settle(now);
    for pool in world.inputs().pools.iter() {
        let name = &pool.pool.name;
        let place = read.place(&ObjectRef::Pool(name.clone()));
        findings.extend(pool.pool.faults.iter().map(|fault| (Error, format!("{place}pool {name}: {fault}"))));
        findings
            .extend(pool.conflict.iter().map(|conflict| (Error, format!("{place}pool {name}: {conflict}"))));
    }
    for service in world.inputs().services.values() {
        let place = read.place(&ObjectRef::Service(service.key.clone()));
        let unsatisfied = service.conditions.iter().filter(|c| c.status == "False");
        findings
            .extend(unsatisfied.map(|c| (Warning, format!("{place}Service {}: {}", service.key, c.message))));
    }
    let (errors, notes) = world.cilium_findings();
    findings.extend(errors.into_iter().map(|text| (Error, text)));
    findings.extend(notes.into_iter().map(|text| (Warning, text)));
    let mut found = Found { placed: Vec::new(), findings };
    for finding in world.findings() {
        match unannounced(loaded, file, &finding) {
            Some(placed) => found.placed.push(placed),
            None => found.findings.push((Warning, finding.text)),
        }
    }
    found
}

/// An entry of an advertisement's `prefixes` that the daemon does not announce.
fn unannounced(loaded: &Loaded, file: &Path, finding: &speaker_core::world::Finding) -> Option<Diagnostic> {
    let (name, prefix) = finding.entry.as_ref()?;
    let all = &loaded.config.advertisements;
    let index = all.iter().position(|one| one.name == *name)?;
    let entry = all.get(index)?.prefixes.iter().position(|one| one == prefix)?;
    let path = format!("advertisements[{index}].prefixes[{entry}]");
    Some(Diagnostic {
        severity: Warning,
        file: file.display().to_string(),
        at: speaker_config::speaker::locate(&loaded.text, &path),
        path,
        message: format!("advertisement '{name}' does not announce {prefix}: {}", finding.text),
        help: "add it to `allow` if it is meant".to_owned(),
    })
}

/// A file or folder that the daemon could not look at. One that is not there may come: the daemon waits for it
/// half a minute, then goes on without it, and takes it in when it comes.
fn unlisted(path: &Path, error: &std::io::Error) -> Finding {
    let path = path.display();
    if error.kind() == std::io::ErrorKind::NotFound {
        let wait = ABSENT.as_secs();
        return (
            Warning,
            format!(
                "sources.manifests: {path} is not there; the daemon waits {wait} s for it, then starts without it"
            ),
        );
    }
    (Error, format!("sources.manifests: {path} cannot be read: {error}"))
}

/// What was read so far.
#[derive(Default)]
struct Read {
    services: Vec<Service>,
    /// Where each object stands: file and line.
    places: BTreeMap<ObjectRef, String>,
}

impl Read {
    /// Where an object stands, to begin a sentence with.
    fn place(&self, object: &ObjectRef) -> String {
        self.places.get(object).map(|place| format!("{place}: ")).unwrap_or_default()
    }

    fn file(&mut self, file: &Path, world: &mut World, findings: &mut Vec<Finding>) {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                findings.push((Error, format!("{}: cannot be read: {error}", file.display())));
                return;
            }
        };
        for document in manifest::parse(&text) {
            let place = format!("{}:{}", file.display(), document.line);
            match document.content {
                Content::Object(object) => self.object(object, place, world, findings),
                Content::Skipped { kind, api_version, .. } => {
                    let text = format!("{place}: {kind} {api_version} is none of the kinds that are read");
                    findings.push((Warning, text));
                }
                Content::Broken(error) => findings.push((Error, format!("{}:{error}", file.display()))),
            }
        }
    }

    /// The first of several of one name counts, as in the daemon.
    fn object(&mut self, mut object: Object, place: String, world: &mut World, findings: &mut Vec<Finding>) {
        let reference = object.reference();
        if let Some(first) = self.places.get(&reference) {
            findings
                .push((Error, format!("{place}: {reference} stands in {first} too, and that one counts")));
            return;
        }
        self.places.insert(reference, place);
        // One without `creationTimestamp` counts from when it is first seen, and not as older than all others.
        match &mut object {
            Object::Service(service) if service.created == 0 => service.created = hub::unix_now(),
            Object::Pool(pool) if pool.created == 0 => pool.created = hub::unix_now(),
            _ => {}
        }
        if let Object::Service(service) = &object {
            self.services.push((**service).clone());
        }
        world.upsert(object);
    }
}

/// Whether the API server is there and gives what the agent needs. Nothing is changed.
pub async fn kubernetes(config: &SpeakerConfig) -> Vec<Finding> {
    if !config.sources.kubernetes {
        return Vec::new();
    }
    let connection = match kube::connect().await {
        Ok(connection) => connection,
        Err(error) => return vec![(Error, error.to_string())],
    };
    let node = load::node_name(config).unwrap_or_default();
    let bgp = config.sources.cilium_bgp != Some(false);
    let l2 = config.l2.enabled && config.sources.cilium_l2 != Some(false);
    let missing = kube::probe(&connection, &node, bgp, l2).await;
    missing.into_iter().map(|text| (Error, format!("sources.kubernetes: {text}"))).collect()
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
    findings.extend(keys(config));
    if config.api.socket.exists() {
        findings.push((
            Warning,
            format!("api.socket {} exists: a daemon runs, or has left it", config.api.socket.display()),
        ));
    }
    if let Some(address) = config.api.http
        && let Err(error) = std::net::TcpListener::bind(address)
    {
        findings.push((Warning, format!("api.http {address}: {error}")));
    }
    let folder = &config.ipam.state_dir;
    let exists = folder.ancestors().find(|ancestor| ancestor.as_os_str().is_empty() || ancestor.exists());
    if exists.is_some_and(Path::is_file) {
        findings.push((
            Error,
            format!("ipam.stateDir {} cannot be made: a file is in the way", folder.display()),
        ));
    }
    findings
}

/// Keys that cannot be read, and those of a kind that this kernel does not have. Whether a Secret is there is seen in the
/// cluster.
fn keys(config: &SpeakerConfig) -> Vec<Finding> {
    let peers = config.peers.iter().map(|peer| (&peer.name, &peer.settings));
    let dynamic = config.dynamic_peers.iter().map(|peer| (&peer.name, &peer.settings));
    let signed =
        peers.chain(dynamic).filter_map(|(name, settings)| Some((name, settings.authentication.as_ref()?)));
    let mut findings = Vec::new();
    for (name, authentication) in signed {
        if authentication.sources().all(|source| matches!(source, PasswordSource::File(_)))
            && let Err(error) = load::keys(authentication, &load::Secrets::default())
        {
            findings.push((Error, format!("peer {name}: {error}")));
        }
        if matches!(authentication, Authentication::TcpAo(_))
            && let Err(error) = crate::io::tcp_ao::available()
        {
            findings.push((Error, format!("peer {name}: tcpAo: {error}")));
        }
    }
    findings
}
