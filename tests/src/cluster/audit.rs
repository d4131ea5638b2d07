//! What was asked of the API server, from its audit log.

use std::fs;

use serde_json::Value;

use super::Cluster;

/// A request that was answered (a watch: that has begun).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// `system:serviceaccount:NAMESPACE:NAME`, or a user's name.
    pub user: String,
    /// Where it came from.
    pub source: String,
    /// RBAC's verb.
    pub verb: String,
    /// API group, empty for the core.
    pub group: String,
    /// Plural resource name, with `/status` or another subresource; the path where it is no resource.
    pub resource: String,
    /// Namespace of the object; empty for cluster-wide ones and lists of all namespaces.
    pub namespace: String,
    /// Name of the object; empty for a list and a create.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u64,
    /// RBAC (or another authorizer) let it pass.
    pub allowed: bool,
}

impl Cluster {
    /// All requests so far, in order.
    #[must_use]
    pub fn audit(&self) -> Vec<Request> {
        let text = fs::read_to_string(self.dir.join("audit.log")).unwrap_or_default();
        text.lines().filter_map(|line| request(&serde_json::from_str(line).ok()?)).collect()
    }
}

/// One line of the log; nothing for the end of a watch, whose beginning stands already.
fn request(event: &Value) -> Option<Request> {
    let verb = event["verb"].as_str()?;
    if verb == "watch" && event["stage"] == "ResponseComplete" && event["responseStatus"]["code"] == 200 {
        return None;
    }
    let object = &event["objectRef"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = match (object["resource"].as_str(), object["subresource"].as_str()) {
        (Some(resource), Some(sub)) => format!("{resource}/{sub}"),
        (Some(resource), None) => resource.to_owned(),
        _ => word(&event["requestURI"]),
    };
    Some(Request {
        user: word(&event["user"]["username"]),
        source: word(&event["sourceIPs"][0]),
        verb: verb.to_owned(),
        group: word(&object["apiGroup"]),
        resource,
        namespace: word(&object["namespace"]),
        name: word(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        allowed: event["annotations"]["authorization.k8s.io/decision"] != "forbid",
    })
}
