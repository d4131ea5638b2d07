//! From files and the host to a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use bgp_proto::types::RouterId;
use speaker_config::diagnostic::{Diagnostic, Severity};
use speaker_config::model::{Authentication, DynamicPeer, PasswordSource, PeerSettings, SpeakerConfig};
use speaker_config::objects::{ObjectKey, Secret};
use speaker_core::fnv::fnv1a_32;
use thiserror::Error;

use crate::io::keys::{Keys, Password};
use crate::io::tcp_ao::AoKey;

/// A configuration that is in force or could be.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The file's text, for the recorder.
    pub text: String,
    /// What it says.
    pub config: SpeakerConfig,
    /// What is legal and will surprise.
    pub warnings: Vec<Diagnostic>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {file}: {error}")]
    Read {
        /// The file.
        file: String,
        /// The operating system's words.
        error: io::Error,
    },
    /// The file says something wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Diagnostic>),
}

impl LoadError {
    /// Every error, one text each; warnings are left out.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        match self {
            Self::Read { .. } => vec![self.to_string()],
            Self::Invalid(diagnostics) => {
                let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
                errors.map(ToString::to_string).collect()
            }
        }
    }
}

/// Reads `speaker.yaml`. Relative paths in it start at its folder.
///
/// # Errors
/// It cannot be read, or it is wrong: then every error and warning is given.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let file = path.display().to_string();
    let text =
        std::fs::read(path).and_then(utf8).map_err(|error| LoadError::Read { file: file.clone(), error })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    parse(text, &file, folder)
}

/// A file's text; of one that is none, the line where it ends to be one.
fn utf8(octets: Vec<u8>) -> std::io::Result<String> {
    String::from_utf8(octets).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|octet| **octet == b'\n').count();
        let text = format!("line {line} is not UTF-8 text; save the file as UTF-8");
        std::io::Error::new(std::io::ErrorKind::InvalidData, text)
    })
}

/// The same from a text.
///
/// # Errors
/// The text is wrong.
pub fn parse(text: String, file: &str, folder: &Path) -> Result<Loaded, LoadError> {
    match speaker_config::speaker::parse(&text, file, folder) {
        Ok((config, warnings)) => Ok(Loaded { text, config, warnings }),
        Err(diagnostics) => Err(LoadError::Invalid(diagnostics)),
    }
}

/// `node.name`, else `$NODE_NAME`, else the host name.
///
/// # Errors
/// There is none of them.
pub fn node_name(config: &SpeakerConfig) -> Result<String, String> {
    if let Some(name) = &config.node_name {
        return Ok(name.clone());
    }
    if let Ok(name) = std::env::var("NODE_NAME")
        && !name.is_empty()
    {
        return Ok(name);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    match host {
        Ok(name) if !name.is_empty() => Ok(name),
        _ => Err("this host has no name; set node.name or $NODE_NAME".to_owned()),
    }
}

/// A router ID for a node that has no IPv4 address to name it by: a hash of its name (FNV-1a), which is
/// the same after each restart and never 0 (RFC 6286 §2.1).
#[must_use]
pub fn router_id_of(name: &str) -> RouterId {
    // 1.0.0.0 where the hash happens to be 0.
    RouterId::new(Ipv4Addr::from_bits(fnv1a_32(name.bytes())))
        .or_else(|| RouterId::new(Ipv4Addr::new(1, 0, 0, 0)))
        .unwrap_or_else(|| unreachable!("1.0.0.0 is not 0.0.0.0"))
}

/// The Secrets of the one namespace that this process may read, as far as the API server has given them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    namespace: Option<String>,
    known: BTreeMap<String, Secret>,
}

impl Secrets {
    /// Without any yet. `namespace` is absent where there is no API server.
    #[must_use]
    pub fn of(namespace: Option<String>) -> Self {
        Self { namespace, known: BTreeMap::new() }
    }

    /// Takes over those that there are now.
    pub fn refresh(&mut self, all: &BTreeMap<ObjectKey, Secret>) {
        let Some(namespace) = &self.namespace else { return };
        let own = all.iter().filter(|(key, _)| key.namespace == *namespace);
        self.known = own.map(|(key, secret)| (key.name.clone(), secret.clone())).collect();
    }

    fn password(&self, name: &str, key: &str) -> Result<Password, String> {
        let Some(namespace) = &self.namespace else {
            return Err(format!(
                "passwordSecretRef {name}/{key} needs sources.kubernetes, which this host does not have"
            ));
        };
        let Some(secret) = self.known.get(name) else {
            return Err(format!(
                "passwordSecretRef: there is no Secret {name} in namespace {namespace}, or it may not be read"
            ));
        };
        let Some(value) = secret.data.get(key) else {
            let keys: Vec<&str> = secret.data.keys().map(String::as_str).collect();
            let keys = if keys.is_empty() {
                "it is empty".to_owned()
            } else {
                format!("it has {}", keys.join(", "))
            };
            return Err(format!("passwordSecretRef: Secret {namespace}/{name} has no key {key}: {keys}"));
        };
        key_of(value.octets())
            .map_err(|error| format!("passwordSecretRef {namespace}/{name}, key {key}: {error}"))
    }
}

/// The names of the Secrets that peers refer to.
#[must_use]
pub fn secret_names<'a>(settings: impl Iterator<Item = &'a PeerSettings>) -> BTreeSet<String> {
    let sources = settings.filter_map(|settings| settings.authentication.as_ref());
    let names = sources.flat_map(Authentication::sources).filter_map(|source| match source {
        PasswordSource::Secret { name, .. } => Some(name.clone()),
        PasswordSource::File(_) => None,
    });
    names.collect()
}

/// What a peer's session is signed with.
///
/// # Errors
/// A key cannot be read or is none: the session must not come up without it.
pub fn keys(authentication: &Authentication, secrets: &Secrets) -> Result<Keys, String> {
    match authentication {
        Authentication::Md5(source) => Ok(Keys::Md5(password(source, secrets)?)),
        Authentication::TcpAo(keys) => {
            let keys = keys.iter().map(|key| {
                Ok(AoKey {
                    send_id: key.send_id,
                    receive_id: key.receive_id,
                    algorithm: key.algorithm,
                    key: password(&key.source, secrets)?,
                })
            });
            Ok(Keys::TcpAo(keys.collect::<Result<_, String>>()?))
        }
    }
}

/// The entries of `dynamicPeers` that have keys, and theirs. One whose key cannot be read lets nobody in.
pub fn dynamic_keys<'a>(
    config: &'a SpeakerConfig,
    secrets: &'a Secrets,
) -> impl Iterator<Item = (&'a DynamicPeer, Result<Keys, String>)> {
    let signed = config
        .dynamic_peers
        .iter()
        .filter_map(|entry| Some((entry, entry.settings.authentication.as_ref()?)));
    signed.map(|(entry, source)| (entry, keys(source, secrets)))
}

fn password(source: &PasswordSource, secrets: &Secrets) -> Result<Password, String> {
    match source {
        PasswordSource::File(path) => {
            let key = std::fs::read(path)
                .map_err(|error| format!("cannot read passwordFile {}: {error}", path.display()))?;
            key_of(&key).map_err(|error| format!("passwordFile {}: {error}", path.display()))
        }
        PasswordSource::Secret { name, key } => secrets.password(name, key),
    }
}

/// One trailing newline is what an editor adds (design §4).
fn key_of(octets: &[u8]) -> Result<Password, String> {
    Password::new(octets.strip_suffix(b"\n").unwrap_or(octets)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use speaker_config::objects::SecretValue;

    use super::*;

    #[test]
    fn a_hashed_router_id_is_stable_and_tells_names_apart() {
        assert_eq!(router_id_of("leaf1-n1"), router_id_of("leaf1-n1"));
        assert_ne!(router_id_of("leaf1-n1"), router_id_of("leaf1-n2"));
    }

    #[test]
    fn one_trailing_newline_is_not_part_of_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tor.key");
        std::fs::write(&file, "secret\n\n").unwrap();
        assert_eq!(
            password(&PasswordSource::File(file.clone()), &Secrets::default()).unwrap().octets(),
            b"secret\n"
        );
        std::fs::write(&file, "\n").unwrap();
        assert!(password(&PasswordSource::File(file), &Secrets::default()).unwrap_err().contains("tor.key"));
    }

    #[test]
    fn a_file_that_is_no_text_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("speaker.yaml");
        std::fs::write(&file, b"# one\n# two\n# caf\xe9\n").unwrap();
        let Err(LoadError::Read { error, .. }) = load(&file) else { panic!("it was read") };
        assert_eq!(error.to_string(), "line 3 is not UTF-8 text; save the file as UTF-8");
    }

    #[test]
    fn a_dynamic_entry_whose_key_is_missing_is_told_apart_from_one_without_keys() {
        let text = "router: {asn: 64501, listen: [\"127.0.0.1:1179\"]}\ndynamicPeers:\n\
                    - {name: open, prefix: 10.0.0.0/24, asn: external}\n\
                    - {name: signed, prefix: 10.0.1.0/24, asn: external, passwordFile: missing.key}\n";
        let loaded = parse(text.to_owned(), "f", Path::new("/nowhere")).unwrap();
        let secrets = Secrets::default();
        let keys: Vec<_> = dynamic_keys(&loaded.config, &secrets).collect();
        let [(entry, Err(error))] = keys.as_slice() else { panic!("{} entries", keys.len()) };
        assert_eq!(entry.name, "signed");
        assert!(error.contains("/nowhere/missing.key"), "{error}");
    }

    #[test]
    fn a_hashed_router_id_is_never_zero() {
        // RFC 6286 §2.1.
        for number in 0..1000 {
            assert_ne!(router_id_of(&format!("node-{number}")).to_string(), "0.0.0.0");
        }
    }

    #[test]
    fn a_secret_of_the_cluster_is_no_key_on_a_host() {
        let source = PasswordSource::Secret { name: "bgp".to_owned(), key: "tor".to_owned() };
        let error = password(&source, &Secrets::of(None)).unwrap_err();
        assert!(error.contains("bgp/tor") && error.contains("sources.kubernetes"), "{error}");
    }

    #[test]
    fn a_secret_is_read_in_one_namespace_and_what_is_missing_is_named() {
        let secret = |namespace: &str, key: &str, value: &str| {
            let data = BTreeMap::from([(key.to_owned(), SecretValue::new(value))]);
            (ObjectKey::new(namespace, "bgp"), Secret { key: ObjectKey::new(namespace, "bgp"), data })
        };
        let source = PasswordSource::Secret { name: "bgp".to_owned(), key: "tor".to_owned() };
        let mut secrets = Secrets::of(Some("kube-system".to_owned()));
        let missing = |secrets: &Secrets| password(&source, secrets).unwrap_err();
        assert!(missing(&secrets).contains("no Secret bgp in namespace kube-system"));
        secrets.refresh(&BTreeMap::from([secret("default", "tor", "stolen")]));
        assert!(missing(&secrets).contains("no Secret bgp in namespace kube-system"));
        secrets.refresh(&BTreeMap::from([secret("kube-system", "other", "hunter2")]));
        let error = missing(&secrets);
        assert!(error.contains("no key tor: it has other") && !error.contains("hunter2"), "{error}");
        secrets.refresh(&BTreeMap::from([secret("kube-system", "tor", "hunter2\n")]));
        assert_eq!(password(&source, &secrets).unwrap().octets(), b"hunter2");
        secrets.refresh(&BTreeMap::from([secret("kube-system", "tor", "")]));
        assert!(missing(&secrets).contains("kube-system/bgp, key tor"));
    }

    #[test]
    fn the_secrets_of_all_peers_are_asked_for() {
        let text = "router: {asn: 64501, listen: [\"127.0.0.1:179\"]}\n\
                    sources: {kubernetes: {enabled: true}}\n\
                    peers: [{name: a, address: 10.0.0.2, asn: 1, passwordSecretRef: {name: one, key: k}}]\n\
                    dynamicPeers: [{name: r, prefix: 10.0.0.0/8, asn: 1, passwordSecretRef: {name: two, key: k}}]\n";
        let loaded = parse(text.to_owned(), "speaker.yaml", Path::new(".")).unwrap();
        let peers = loaded.config.peers.iter().map(|peer| &peer.settings);
        let settings = peers.chain(loaded.config.dynamic_peers.iter().map(|entry| &entry.settings));
        assert_eq!(secret_names(settings), BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    }

    #[test]
    fn the_configured_name_of_the_node_comes_first() {
        let named = parse("node: {name: leaf1-n1}\n".to_owned(), "speaker.yaml", Path::new(".")).unwrap();
        assert_eq!(node_name(&named.config).unwrap(), "leaf1-n1");
        let unnamed = parse("readiness: none\n".to_owned(), "speaker.yaml", Path::new(".")).unwrap();
        assert!(!node_name(&unnamed.config).unwrap().is_empty());
    }

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("speaker.yaml");
        std::fs::write(&file, "sources: {manifests: [m]}\n").unwrap();
        assert_eq!(load(&file).unwrap().config.sources.manifests, [folder.path().join("m")]);
    }

    #[test]
    fn a_refusal_lists_its_errors_alone() {
        let text = "l2: {enabled: true}\nnodes: {}\nreadiness: maybe\n".to_owned();
        let error = parse(text, "speaker.yaml", Path::new(".")).unwrap_err();
        let errors = error.errors();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("speaker.yaml:2:1: nodes: unknown key"), "{errors:?}");
        assert!(errors[1].starts_with("speaker.yaml:3:12: readiness: "), "{errors:?}");
        assert!(error.to_string().contains("warning: "), "the log has the warnings too: {error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nonexistent/speaker.yaml")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/speaker.yaml"), "{error}");
    }
}
