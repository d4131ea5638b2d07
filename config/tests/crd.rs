//! The CRDs in `deploy/crds/` are what `config/src/crd.rs` says, and what Cilium's own say (facts taken from
//! Cilium's CRD of 1.18 to 1.21).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;

use serde_json::{Value, json};
use speaker_config::crd::{crds, to_yaml, v2};

const HEADER: &str =
    "# Generated from config/src/crd.rs: BLESS=1 cargo test -p speaker-config --test crd\n---\n";

#[test]
fn the_files_in_deploy_are_the_generated_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    for crd in crds() {
        let file = folder.join(format!("{}.yaml", crd.spec.names.plural));
        let want = format!("{HEADER}{}", to_yaml(&crd).unwrap());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &want).unwrap();
        }
        let got = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(got, want, "{} is not the generated text; BLESS=1 writes it anew", file.display());
    }
}

/// kubectl reads YAML 1.1, where a bare `Yes` is a boolean and no string.
#[test]
fn yes_and_no_are_quoted() {
    let text = to_yaml(&crds()[0]).unwrap();
    assert_eq!(text.matches("- \"Yes\"\n").count(), 2, "{text}");
    assert_eq!(text.matches("- \"No\"\n").count(), 2, "{text}");
}

#[test]
fn names_versions_and_columns_are_ciliums() {
    let crd = serde_json::to_value(&crds()[0]).unwrap();
    assert_eq!(crd["metadata"]["name"], "ciliumloadbalancerippools.cilium.io");
    assert_eq!(crd["spec"]["scope"], "Cluster");
    assert_eq!(
        crd["spec"]["names"],
        json!({
            "categories": ["cilium"],
            "kind": "CiliumLoadBalancerIPPool",
            "plural": "ciliumloadbalancerippools",
            "shortNames": ["ippools", "ippool", "lbippool", "lbippools"],
            "singular": "ciliumloadbalancerippool",
        })
    );
    let versions = crd["spec"]["versions"].as_array().unwrap();
    let facts: Vec<Value> = versions
        .iter()
        .map(|v| {
            json!([v["name"], v["served"], v["storage"], v.get("deprecated").is_some_and(|d| d == true)])
        })
        .collect();
    assert_eq!(facts, [json!(["v2", true, true, false]), json!(["v2alpha1", true, false, true])]);
    for version in versions {
        let columns: Vec<&str> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].as_str().unwrap())
            .collect();
        assert_eq!(columns, ["Disabled", "Conflicting", "IPs Available", "Age"]);
        assert_eq!(version["subresources"], json!({"status": {}}));
    }
}

#[test]
fn the_schema_is_ciliums() {
    let crd = serde_json::to_value(&crds()[0]).unwrap();
    let versions = crd["spec"]["versions"].as_array().unwrap();
    assert_eq!(versions[0]["schema"], versions[1]["schema"]);
    let schema = &versions[0]["schema"]["openAPIV3Schema"];
    assert_eq!(schema["required"], json!(["spec"]));
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec.get("required"), None);
    let keys: Vec<&String> = spec["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["allowFirstLastIPs", "blocks", "disabled", "serviceSelector"]);
    let at = |pointer: &str| spec.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {spec:#}"));
    assert_eq!(at("/properties/allowFirstLastIPs/enum"), &json!(["Yes", "No"]));
    assert_eq!(at("/properties/disabled/default"), &json!(false));
    assert_eq!(at("/properties/blocks/items/properties/cidr/format"), &json!("cidr"));
    assert_eq!(spec.pointer("/properties/blocks/items/required"), None);
    assert_eq!(spec.pointer("/properties/blocks/default"), None);
    assert_eq!(
        at("/properties/serviceSelector/properties/matchLabels/additionalProperties/maxLength"),
        &json!(63)
    );
    let requirement = "/properties/serviceSelector/properties/matchExpressions/items";
    assert_eq!(at(&format!("{requirement}/required")), &json!(["key", "operator"]));
    assert_eq!(
        at(&format!("{requirement}/properties/operator/enum")),
        &json!(["In", "NotIn", "Exists", "DoesNotExist"])
    );
    let conditions = schema.pointer("/properties/status/properties/conditions").unwrap();
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    // Cilium's schema takes no null, except that kube makes the whole status optional so.
    assert_eq!(spec.to_string().matches("nullable").count(), 0, "{spec:#}");
}

#[test]
fn what_the_types_write_the_reader_reads() {
    let spec = v2::CiliumLoadBalancerIPPoolSpec {
        blocks: vec![speaker_config::crd::PoolBlock {
            cidr: Some("203.0.113.0/24".into()),
            ..Default::default()
        }],
        allow_first_last_ips: Some(speaker_config::crd::AllowFirstLastIps::No),
        ..Default::default()
    };
    let object = v2::CiliumLoadBalancerIPPool::new("blue", spec);
    let pool = speaker_config::kubernetes::pool(&serde_json::to_value(object).unwrap()).unwrap();
    assert_eq!(pool.faults, [] as [String; 0]);
    assert_eq!(pool.blocks.len(), 1);
    assert!(pool.reserve_first_last);
}
