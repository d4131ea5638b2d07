//! From files and the host to a configuration.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use bgp_proto::types::RouterId;
use speaker_config::diagnostic::{Diagnostic, Severity};
use speaker_config::model::{PasswordSource, SpeakerConfig};
use thiserror::Error;

use crate::io::peer::Password;

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
        std::fs::read_to_string(path).map_err(|error| LoadError::Read { file: file.clone(), error })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    parse(text, &file, folder)
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
    let mut hash: u32 = 0x811c_9dc5;
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    // 1.0.0.0 where the hash happens to be 0.
    RouterId::new(Ipv4Addr::from_bits(hash))
        .or_else(|| RouterId::new(Ipv4Addr::new(1, 0, 0, 0)))
        .unwrap_or_else(|| unreachable!("1.0.0.0 is not 0.0.0.0"))
}

/// The TCP MD5 key of a peer.
///
/// # Errors
/// It cannot be read or is no key: the session must not come up without it.
pub fn password(source: &PasswordSource) -> Result<Password, String> {
    match source {
        PasswordSource::File(path) => {
            let key = std::fs::read(path)
                .map_err(|error| format!("cannot read passwordFile {}: {error}", path.display()))?;
            // One trailing newline is what an editor adds (design §4).
            let key = key.strip_suffix(b"\n").unwrap_or(&key);
            Password::new(key).map_err(|error| format!("passwordFile {}: {error}", path.display()))
        }
        PasswordSource::Secret { name, key } => Err(format!(
            "passwordSecretRef {name}/{key} needs sources.kubernetes, which this host does not have"
        )),
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(password(&PasswordSource::File(file.clone())).unwrap().octets(), b"secret\n");
        std::fs::write(&file, "\n").unwrap();
        assert!(password(&PasswordSource::File(file)).unwrap_err().contains("tor.key"));
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
        let error = password(&source).unwrap_err();
        assert!(error.contains("bgp/tor") && error.contains("sources.kubernetes"), "{error}");
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
