//! Manifests, as a user writes them.

use std::fmt::Write as _;

/// A LoadBalancer Service to be written with what is asked of it.
#[derive(Debug, Clone, Default)]
pub struct ServiceSpec {
    id: String,
    metadata: String,
    spec: String,
    port: u16,
}

/// A Service `name` or `namespace/name` with port 80.
#[must_use]
pub fn service(id: &str) -> ServiceSpec {
    ServiceSpec { id: id.to_owned(), port: 80, ..ServiceSpec::default() }
}

impl ServiceSpec {
    /// With labels, in YAML's flow form (`{color: red}`).
    #[must_use]
    pub fn labels(mut self, labels: &str) -> Self {
        let _w = writeln!(self.metadata, "  labels: {labels}");
        self
    }

    /// With annotations, in YAML's flow form.
    #[must_use]
    pub fn annotations(mut self, annotations: &str) -> Self {
        let _w = writeln!(self.metadata, "  annotations: {annotations}");
        self
    }

    /// With a further line of the spec (`loadBalancerClass: io.cilium/node`).
    #[must_use]
    pub fn spec(mut self, line: &str) -> Self {
        let _w = writeln!(self.spec, "  {line}");
        self
    }

    /// With another port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The manifest, ending in a document's end.
    #[must_use]
    pub fn yaml(&self) -> String {
        let (namespace, name) = self.id.split_once('/').unwrap_or(("default", &self.id));
        let port = self.port;
        format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\n{}\
             spec:\n  type: LoadBalancer\n  selector: {{app: {name}}}\n\
             \x20 ports: [{{port: {port}, targetPort: 8080}}]\n{}---\n",
            self.metadata, self.spec
        )
    }
}

/// A pool of `cilium.io/v2` with blocks in YAML's flow form (`{cidr: 203.0.113.0/24}`).
#[must_use]
pub fn pool(name: &str, blocks: &str) -> String {
    pool_with(name, blocks, "")
}

/// As [`pool`], with further lines of the spec.
#[must_use]
pub fn pool_with(name: &str, blocks: &str, spec: &str) -> String {
    let spec = if spec.is_empty() { String::new() } else { format!("  {spec}\n") };
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {{name: {name}}}\n\
         spec:\n  blocks: [{blocks}]\n{spec}---\n"
    )
}
