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

/// Kind, plural, short names, columns, versions, whether it has a status (cilium.md §0).
#[test]
fn every_kind_has_ciliums_names() {
    let both: &[&str] = &["v2", "v2alpha1"];
    let bgp: &[&str] = &["cilium", "ciliumbgp"];
    let wanted = [
        ("CiliumBGPClusterConfig", "cbgpcluster", both, bgp, true),
        ("CiliumBGPPeerConfig", "cbgppeer", both, bgp, true),
        ("CiliumBGPAdvertisement", "cbgpadvert", both, bgp, false),
        ("CiliumBGPNodeConfig", "cbgpnode", both, bgp, true),
        ("CiliumBGPNodeConfigOverride", "cbgpnodeoverride", both, bgp, false),
        ("CiliumL2AnnouncementPolicy", "l2announcement", &["v2alpha1"], &["cilium"], true),
    ];
    let all = crds();
    assert_eq!(all.len(), 1 + wanted.len());
    for (kind, short, versions, categories, status) in wanted {
        let crd = all.iter().find(|crd| crd.spec.names.kind == kind).unwrap_or_else(|| panic!("no {kind}"));
        let plural = format!("{}s", kind.to_lowercase()).replace("policys", "policies");
        assert_eq!(crd.metadata.name, Some(format!("{plural}.cilium.io")));
        assert_eq!(crd.spec.scope, "Cluster");
        let names = serde_json::to_value(&crd.spec.names).unwrap();
        let singular = kind.to_lowercase();
        assert_eq!(
            names,
            json!({"categories": categories, "kind": kind, "plural": plural, "shortNames": [short], "singular": singular})
        );
        let found: Vec<&str> = crd.spec.versions.iter().map(|version| version.name.as_str()).collect();
        assert_eq!(found, versions, "{kind}");
        for version in &crd.spec.versions {
            let only = versions.len() == 1;
            assert!(version.served);
            assert_eq!(version.storage, only || version.name == "v2", "{kind}");
            assert_eq!(version.deprecated.unwrap_or_default(), !version.storage, "{kind}");
            let columns = version.additional_printer_columns.as_ref().unwrap();
            let columns: Vec<_> = columns.iter().map(|c| (c.name.as_str(), c.type_.as_str())).collect();
            assert_eq!(columns, [("Age", "date")], "{kind}");
            let has_status = version.subresources.as_ref().is_some_and(|s| s.status.is_some());
            assert_eq!(has_status, status, "{kind}");
        }
    }
}

/// The schema of a version of a kind, at a JSON pointer.
fn schema(kind: &str, version: &str, pointer: &str) -> Value {
    let all = crds();
    let crd = all.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let version = crd.spec.versions.iter().find(|one| one.name == version).unwrap();
    let schema = serde_json::to_value(version.schema.as_ref().unwrap()).unwrap();
    let pointer = format!("/openAPIV3Schema/properties{pointer}");
    schema.pointer(&pointer).unwrap_or_else(|| panic!("{kind} has no {pointer} in {schema:#}")).clone()
}

#[test]
fn numbers_have_ciliums_bounds_and_defaults() {
    let instance = "/spec/properties/bgpInstances/items/properties";
    let of = |kind, pointer: &str| {
        let found = schema(kind, "v2", pointer);
        json!([found["format"], found["minimum"], found["maximum"], found["default"]])
    };
    let cluster = "CiliumBGPClusterConfig";
    let asn_max = json!(4_294_967_295.0);
    // The API server refuses this maximum under int32.
    assert_eq!(of(cluster, &format!("{instance}/localASN")), json!(["int64", 1.0, asn_max, null]));
    assert_eq!(
        of(cluster, &format!("{instance}/peers/items/properties/peerASN")),
        json!(["int64", 0.0, asn_max, 0])
    );
    assert_eq!(of(cluster, &format!("{instance}/localPort")), json!(["int32", 1.0, 65535.0, null]));
    let instances = schema(cluster, "v2", "/spec/properties/bgpInstances");
    assert_eq!((&instances["minItems"], &instances["maxItems"]), (&json!(1), &json!(16)));
    assert_eq!(instances["x-kubernetes-list-map-keys"], json!(["name"]));
    let peer = "CiliumBGPPeerConfig";
    for (pointer, expected) in [
        ("transport/properties/peerPort", json!(["int32", 1.0, 65535.0, 179])),
        ("timers/properties/connectRetryTimeSeconds", json!(["int32", 1.0, 2_147_483_647.0, 120])),
        ("timers/properties/holdTimeSeconds", json!(["int32", 3.0, 65535.0, 90])),
        ("timers/properties/keepAliveTimeSeconds", json!(["int32", 1.0, 65535.0, 30])),
        ("gracefulRestart/properties/restartTimeSeconds", json!(["int32", 1.0, 4095.0, 120])),
        ("ebgpMultihop", json!(["int32", 1.0, 255.0, 1])),
    ] {
        assert_eq!(of(peer, &format!("/spec/properties/{pointer}")), expected, "{pointer}");
    }
    let service = "/spec/properties/advertisements/items/properties/service/properties";
    let advertisement = "CiliumBGPAdvertisement";
    assert_eq!(
        of(advertisement, &format!("{service}/aggregationLengthIPv4")),
        json!(["int32", 0.0, 31.0, null])
    );
    assert_eq!(
        of(advertisement, &format!("{service}/aggregationLengthIPv6")),
        json!(["int32", 0.0, 127.0, null])
    );
    assert_eq!(schema(advertisement, "v2", &format!("{service}/addresses"))["minItems"], 1);
}

#[test]
fn rules_and_references_are_ciliums() {
    let rules = |kind, pointer: &str| {
        let found = schema(kind, "v2", pointer);
        let rules =
            found["x-kubernetes-validations"].as_array().unwrap_or_else(|| panic!("{found:#}")).clone();
        rules.iter().map(|rule| rule["rule"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        rules("CiliumBGPPeerConfig", "/spec/properties/timers"),
        ["self.keepAliveTimeSeconds <= self.holdTimeSeconds"]
    );
    assert_eq!(rules("CiliumBGPAdvertisement", "/spec/properties/advertisements/items").len(), 5);
    for kind in ["CiliumBGPClusterConfig", "CiliumBGPNodeConfig"] {
        let reference = "/spec/properties/bgpInstances/items/properties/peers/items/properties/peerConfigRef";
        let v2 = schema(kind, "v2", reference);
        assert_eq!(v2["properties"].as_object().unwrap().keys().collect::<Vec<_>>(), ["name"]);
        let v2alpha1 = schema(kind, "v2alpha1", reference);
        assert_eq!(v2alpha1["properties"]["group"]["default"], "cilium.io");
        assert_eq!(v2alpha1["properties"]["kind"]["default"], "CiliumBGPPeerConfig");
        assert_eq!((&v2["required"], &v2alpha1["required"]), (&json!(["name"]), &json!(["name"])));
    }
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == "CiliumL2AnnouncementPolicy").unwrap();
    let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    assert_eq!(schema.required, None, "a policy without a spec is legal and announces nothing");
}

/// Cilium's schemas take no null: a key that is there has a value.
#[test]
fn no_field_takes_null() {
    for crd in crds() {
        for version in &crd.spec.versions {
            let schema = serde_json::to_value(version.schema.as_ref().unwrap()).unwrap();
            let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
            assert_eq!(spec.to_string().matches("nullable").count(), 0, "{} {spec:#}", crd.spec.names.kind);
        }
    }
}

#[test]
fn what_the_types_write_the_reader_reads() {
    let spec = v2::CiliumLoadBalancerIPPoolSpec {
        blocks: vec![speaker_config::crd::pool::PoolBlock {
            cidr: Some("203.0.113.0/24".into()),
            ..Default::default()
        }],
        allow_first_last_ips: Some(speaker_config::crd::pool::AllowFirstLastIps::No),
        ..Default::default()
    };
    let object = v2::CiliumLoadBalancerIPPool::new("blue", spec);
    let pool = speaker_config::kubernetes::pool(&serde_json::to_value(object).unwrap()).unwrap();
    assert_eq!(pool.faults, [] as [String; 0]);
    assert_eq!(pool.blocks.len(), 1);
    assert!(pool.reserve_first_last);
}
