//! What the speaker of the suite is told.

use std::fmt::Write as _;

/// A pool with both families.
pub const POOL: &str = "\
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: public, labels: {tier: public}}
spec:
  blocks:
    - cidr: 203.0.113.0/24
    - cidr: 2001:db8:1::/112
";

/// The pool's prefixes, in the order of [`POOL`].
pub const POOL_PREFIXES: [&str; 2] = ["203.0.113.0/24", "2001:db8:1::/112"];

/// The pool's prefixes while an address is allocated, with few attributes; each Service with a ready
/// endpoint, with all of them.
pub const ADVERTISEMENTS: &str = "  \
  - name: pools
    poolPrefix: {when: allocated}
    attributes: {communities: [\"64501:100\"], med: 10}
  - name: services
    serviceRoutes: {which: all, when: ready}
    attributes:
      communities: [\"64501:200\", no-export]
      largeCommunities: [\"64501:1:2\", \"4200000000:4294967295:0\"]
      extendedCommunities: [\"rt:64501:7\"]
      med: 50
      localPreference: 250
      prepend: 2
";

/// The addresses that [`service`] asks for.
pub const SERVICE_ADDRESSES: [&str; 2] = ["203.0.113.80", "2001:db8:1::80"];

/// Their host routes.
pub const SERVICE_ROUTES: [&str; 2] = ["203.0.113.80/32", "2001:db8:1::80/128"];

/// A dual-stack Service and its EndpointSlices, whose one endpoint is ready or not.
#[must_use]
pub fn service(name: &str, ready: bool) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: shop
  annotations: {{lbipam.cilium.io/ips: \"{}\"}}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  selector: {{app: {name}}}
  ports: [{{port: 80}}]
",
        SERVICE_ADDRESSES.join(",")
    );
    for (family, endpoint) in [("IPv4", "10.244.0.7"), ("IPv6", "fd00:244::7")] {
        let _w = write!(
            text,
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{}
  namespace: shop
  labels: {{kubernetes.io/service-name: {name}}}
addressType: {family}
ports: [{{port: 8080}}]
endpoints:
  - addresses: [\"{endpoint}\"]
    nodeName: n1
    conditions: {{ready: {ready}}}
",
            family.to_ascii_lowercase()
        );
    }
    text
}
