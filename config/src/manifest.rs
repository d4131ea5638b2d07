//! Ordinary Kubernetes YAML or JSON to objects.

use std::cell::OnceCell;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::kubernetes::{self, FieldError};
use crate::objects::{Object, ObjectRef};
use crate::{tree, yaml};

/// One object of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The line where the object begins, counted from 1.
    pub line: usize,
    /// What it is.
    pub content: Content,
}

/// What a document holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An object of a kind that the speaker reads. Its `created` is 0 where the file gives none.
    Object(Object),
    /// An object of another kind or version.
    Skipped {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
        /// `metadata.name`, where there is one.
        name: Option<String>,
    },
    /// Nothing that can be used.
    Broken(ManifestError),
}

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The line of the field, or of the nearest thing above it that is there.
    pub line: usize,
    /// Its column; both counted from 1.
    pub column: usize,
    /// What object it is, where that could be read.
    pub object: Option<ObjectRef>,
    /// The field (`spec.ports[0].port`); empty for the document as a whole.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// `12:9: Service default/web: spec.ports[0].port: what is wrong`; the caller puts the file's name before.
impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ManifestError {}

/// Reads every object of a file: documents split by `---`, a JSON stream, and the items of lists
/// (`kind: List`, `kind: ServiceList`). A document that is broken stands in the result beside its
/// neighbours; empty ones do not.
#[must_use]
pub fn parse(text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for (first_line, chunk) in split(text) {
        let place = Place { text: &chunk, first_line, tree: OnceCell::new() };
        match yaml::to_json(&chunk) {
            Ok(Json::Null) => {}
            Ok(json) => read(&json, "", None, &place, &mut documents),
            Err(error) => {
                let (line, column) = error.at.unwrap_or((1, 1));
                let line = first_line + line - 1;
                documents.push(place.broken(line, column, None, String::new(), error.message));
            }
        }
    }
    documents
}

/// The documents of a text with the line where each begins. `---` at the start of a line is always a
/// separator in YAML, so that a document whose inside is broken does not hold back the next.
fn split(text: &str) -> Vec<(usize, String)> {
    if text.trim_start().starts_with('{')
        && let Some(stream) = split_json(text)
    {
        return stream;
    }
    let mut documents = Vec::new();
    let mut current = (1, String::new());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker = ["---", "..."].into_iter().find_map(|marker| line.strip_prefix(marker));
        match marker.filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            Some(rest) => {
                documents.push(std::mem::replace(&mut current, (index + 1, format!("   {rest}"))));
            }
            // Directives (`%YAML 1.2`) stand before the separator, alone in what we cut off.
            None if line.starts_with('%') => current.1.push('\n'),
            None => current.1.push_str(line),
        }
    }
    documents.push(current);
    let says_something = |line: &str| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    };
    documents.retain_mut(|(first_line, text)| {
        let Some(blank) = text.lines().position(says_something) else { return false };
        // From the first line that says something, for that is where the reader looks.
        *text = text.split_inclusive('\n').skip(blank).collect();
        *first_line += blank;
        true
    });
    documents
}

/// JSON objects one behind the other, as `kubectl get -o json` in a loop leaves them.
fn split_json(text: &str) -> Option<Vec<(usize, String)>> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut documents = Vec::new();
    let (mut begin, mut line) = (0, 1);
    while let Some(value) = values.next() {
        value.ok()?;
        let chunk = text.get(begin..values.byte_offset())?;
        let blank = chunk.chars().take_while(|c| c.is_whitespace()).filter(|c| *c == '\n').count();
        documents.push((line + blank, chunk.trim_start().to_owned()));
        line += chunk.matches('\n').count();
        begin = values.byte_offset();
    }
    Some(documents)
}

/// Finds lines in one document; its tree is only made when a line is asked for.
struct Place<'a> {
    text: &'a str,
    first_line: usize,
    tree: OnceCell<Option<tree::Node>>,
}

impl Place<'_> {
    /// Line in the file and column of the value at `path`. A text that the tree's reader does not take
    /// (aliases) gives the place of the document.
    fn locate(&self, path: &str) -> (usize, usize) {
        let tree = self.tree.get_or_init(|| tree::parse(self.text).ok().flatten());
        let at = tree.as_ref().map(|root| tree::locate(root, path));
        at.map_or((self.first_line, 1), |at| (self.first_line + at.line - 1, at.column))
    }

    fn broken(
        &self,
        line: usize,
        column: usize,
        object: Option<ObjectRef>,
        path: String,
        message: String,
    ) -> Document {
        let error = ManifestError { line, column, object, path, message };
        Document { line: self.first_line, content: Content::Broken(error) }
    }
}

/// Reads the object at `path` of a document. Items of a typed list inherit its version and kind.
fn read(
    json: &Json,
    path: &str,
    inherited: Option<(&str, &str)>,
    place: &Place<'_>,
    out: &mut Vec<Document>,
) {
    let line = if path.is_empty() { place.first_line } else { place.locate(path).0 };
    let text = |key: &str| json.get(key).and_then(Json::as_str);
    let (version, kind) = match (text("apiVersion"), text("kind"), inherited) {
        (Some(version), Some(kind), _) => (version, kind),
        (None, None, Some(inherited)) => inherited,
        (version, _, _) => {
            let missing = if version.is_none() { "apiVersion" } else { "kind" };
            let (line, column) = place.locate(path);
            let message =
                format!("not a Kubernetes object: it has no {missing}; write apiVersion, kind and metadata");
            out.push(place.broken(line, column, None, path.to_owned(), message));
            return;
        }
    };
    if let Some(item) = kind.strip_suffix("List")
        && let Some(items) = json.get("items").and_then(Json::as_array)
    {
        let inherited = Some((version, item)).filter(|(_, kind)| !kind.is_empty());
        let path = if path.is_empty() { "items".to_owned() } else { format!("{path}.items") };
        for (index, item) in items.iter().enumerate() {
            read(item, &format!("{path}[{index}]"), inherited, place, out);
        }
        return;
    }
    let content = match convert(version, kind, json) {
        None => Content::Skipped {
            api_version: version.to_owned(),
            kind: kind.to_owned(),
            name: json.pointer("/metadata/name").and_then(Json::as_str).map(str::to_owned),
        },
        Some(Ok(object)) => Content::Object(object),
        Some(Err(error)) => {
            let whole = if path.is_empty() { error.path.clone() } else { format!("{path}.{}", error.path) };
            let (line, column) = place.locate(&whole);
            let object = reference(kind, json);
            Content::Broken(ManifestError { line, column, object, path: error.path, message: error.message })
        }
    };
    out.push(Document { line, content });
}

/// One object as the API server serves it. Items of a list need not say their version and kind. `None` for a
/// kind or version that the speaker does not read.
///
/// # Errors
/// A field holds what cannot be used.
pub fn object(version: &str, kind: &str, json: &Json) -> Option<Result<Object, FieldError>> {
    convert(version, kind, json)
}

fn convert(version: &str, kind: &str, json: &Json) -> Option<Result<Object, FieldError>> {
    Some(match (version, kind) {
        ("cilium.io/v2" | "cilium.io/v2alpha1", _) => return cilium(version, kind, json),
        ("v1", "Service") => {
            typed(json).and_then(kubernetes::service).map(|service| Object::Service(Box::new(service)))
        }
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            typed(json).and_then(kubernetes::endpoint_slice).map(Object::EndpointSlice)
        }
        ("v1", "Node") => typed(json).and_then(kubernetes::node).map(Object::Node),
        // Built in since Kubernetes 1.33; before that a beta of the same fields.
        ("networking.k8s.io/v1" | "networking.k8s.io/v1beta1", "ServiceCIDR") => {
            typed(json).and_then(kubernetes::service_cidr).map(Object::ServiceCidr)
        }
        ("v1", "Secret") => typed(json).and_then(kubernetes::secret).map(Object::Secret),
        _ => return None,
    })
}

/// Cilium's kinds, of both versions but for the policy, which has one.
fn cilium(version: &str, kind: &str, json: &Json) -> Option<Result<Object, FieldError>> {
    Some(match kind {
        "CiliumLoadBalancerIPPool" => kubernetes::pool(json).map(Object::Pool),
        "CiliumBGPClusterConfig" => kubernetes::bgp_cluster_config(json).map(Object::BgpClusterConfig),
        "CiliumBGPPeerConfig" => {
            kubernetes::bgp_peer_config(json).map(|config| Object::BgpPeerConfig(Box::new(config)))
        }
        "CiliumBGPAdvertisement" => kubernetes::bgp_advertisement(json).map(Object::BgpAdvertisement),
        "CiliumBGPNodeConfig" => kubernetes::bgp_node_config(json).map(Object::BgpNodeConfig),
        "CiliumBGPNodeConfigOverride" => {
            kubernetes::bgp_node_config_override(json).map(Object::BgpNodeConfigOverride)
        }
        "CiliumNode" if version == "cilium.io/v2" => kubernetes::cilium_node(json).map(Object::CiliumNode),
        "CiliumPodIPPool" => kubernetes::pod_ip_pool(json).map(Object::PodIpPool),
        "CiliumL2AnnouncementPolicy" if version == "cilium.io/v2alpha1" => {
            kubernetes::l2_announcement_policy(json).map(Object::L2AnnouncementPolicy)
        }
        _ => return None,
    })
}

/// A k8s-openapi type. Those types want their own version and kind in the object, which items of a typed
/// list need not have.
fn typed<T>(json: &Json) -> Result<T, FieldError>
where
    T: DeserializeOwned + k8s_openapi::Resource,
{
    let mut json = json.clone();
    if let Some(fields) = json.as_object_mut() {
        fields.insert("apiVersion".to_owned(), T::API_VERSION.into());
        fields.insert("kind".to_owned(), T::KIND.into());
    }
    serde_path_to_error::deserialize(json).map_err(|error| FieldError {
        path: error.path().to_string(),
        message: error.into_inner().to_string(),
    })
}

fn reference(kind: &str, json: &Json) -> Option<ObjectRef> {
    let text = |pointer: &str| json.pointer(pointer).and_then(Json::as_str);
    let name = text("/metadata/name")?.to_owned();
    let key = |name| crate::objects::ObjectKey::new(text("/metadata/namespace").unwrap_or("default"), name);
    Some(match kind {
        "Service" => ObjectRef::Service(key(name)),
        "EndpointSlice" => ObjectRef::EndpointSlice(key(name)),
        "Secret" => ObjectRef::Secret(key(name)),
        "Node" => ObjectRef::Node(name),
        "ServiceCIDR" => ObjectRef::ServiceCidr(name),
        "CiliumNode" => ObjectRef::CiliumNode(name),
        "CiliumPodIPPool" => ObjectRef::PodIpPool(name),
        "CiliumBGPClusterConfig" => ObjectRef::BgpClusterConfig(name),
        "CiliumBGPPeerConfig" => ObjectRef::BgpPeerConfig(name),
        "CiliumBGPAdvertisement" => ObjectRef::BgpAdvertisement(name),
        "CiliumBGPNodeConfig" => ObjectRef::BgpNodeConfig(name),
        "CiliumBGPNodeConfigOverride" => ObjectRef::BgpNodeConfigOverride(name),
        "CiliumL2AnnouncementPolicy" => ObjectRef::L2AnnouncementPolicy(name),
        _ => ObjectRef::Pool(name),
    })
}

#[cfg(test)]
mod tests;
