//! What a test waits for and compares.

use std::time::Duration;

use serde_json::Value;

use super::{SOON, World};
use crate::wait::eventually;

const CONDITION: &str = "cilium.io/IPAMRequestSatisfied";

impl World {
    /// The addresses in a Service's status.
    #[must_use]
    pub fn ingress(&self, id: &str) -> Vec<String> {
        let service = self.service(id);
        let entries = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
        entries.filter_map(|entry| Some(entry["ip"].as_str()?.to_owned())).collect()
    }

    /// Waits until a Service has exactly these addresses.
    #[track_caller]
    pub fn wait_ingress(&self, id: &str, addresses: &[&str]) {
        eventually(SOON, &format!("{id} has {addresses:?}"), || {
            let now = self.ingress(id);
            if now == addresses { Ok(()) } else { Err(self.service(id)["status"].to_string()) }
        });
    }

    /// Waits until a Service has an address of any kind, and returns all of them.
    #[track_caller]
    pub fn wait_any_ingress(&self, id: &str) -> Vec<String> {
        eventually(SOON, &format!("{id} has an address"), || {
            let now = self.ingress(id);
            if now.is_empty() { Err(self.service(id)["status"].to_string()) } else { Ok(now) }
        })
    }

    /// The Service's condition `cilium.io/IPAMRequestSatisfied`; null where it has none.
    #[must_use]
    pub fn condition(&self, id: &str) -> Value {
        let service = self.service(id);
        let mut all = service["status"]["conditions"].as_array().into_iter().flatten();
        all.find(|c| c["type"] == CONDITION).cloned().unwrap_or_default()
    }

    /// Waits until the condition is False for `reason`, and returns its message.
    #[track_caller]
    pub fn wait_refused(&self, id: &str, reason: &str) -> String {
        eventually(SOON, &format!("{id} is refused: {reason}"), || {
            let now = self.condition(id);
            let refused = now["status"] == "False" && now["reason"] == reason;
            if !refused {
                return Err(self.service(id)["status"].to_string());
            }
            Ok(now["message"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// The message of a pool's condition `cilium.io/TYPE`; empty where it has none.
    #[must_use]
    pub fn pool_count(&self, pool: &str, kind: &str) -> String {
        let object = self.get(&format!("/apis/cilium.io/v2/ciliumloadbalancerippools/{pool}"));
        let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
        let found = all.find(|c| c["type"] == format!("cilium.io/{kind}"));
        found.and_then(|c| c["message"].as_str()).unwrap_or_default().to_owned()
    }

    /// Waits until the router has `prefix` from exactly these nodes.
    #[track_caller]
    pub fn wait_holders(&self, prefix: &str, nodes: &[&str]) {
        self.wait_holders_for(prefix, nodes, SOON);
    }

    /// As [`Self::wait_holders`], with a deadline.
    #[track_caller]
    pub fn wait_holders_for(&self, prefix: &str, nodes: &[&str], deadline: Duration) {
        eventually(deadline, &format!("the router has {prefix} from {nodes:?}"), || {
            let now = self.holders(prefix);
            if now.iter().eq(nodes.iter()) { Ok(()) } else { Err(format!("{now:?}")) }
        });
    }
}
