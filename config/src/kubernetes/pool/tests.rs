use serde_json::json;

use super::*;
use crate::objects::{Condition, Selector};
use crate::objects::{Labels, Operator, Requirement};

fn read(spec: &Json) -> Pool {
    pool(&json!({"metadata": {"name": "blue"}, "spec": spec})).unwrap()
}

fn block(written: &Json) -> Result<String, String> {
    let pool = read(&json!({"blocks": [written]}));
    match (pool.blocks.as_slice(), pool.faults.as_slice()) {
        ([block], []) => Ok(match block {
            Block::Cidr(prefix) => prefix.to_string(),
            Block::Range { first, last } => format!("{first}-{last}"),
        }),
        ([], [fault]) => Err(fault.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn blocks_are_read_by_ciliums_rules() {
    for (written, want) in [
        (json!({"cidr": "203.0.113.0/24"}), "203.0.113.0/24"),
        (json!({"cidr": "203.0.113.77/24"}), "203.0.113.0/24"),
        (json!({"cidr": "2001:db8::1/64", "start": "not looked at"}), "2001:db8::/64"),
        (json!({"start": "203.0.113.1", "stop": "203.0.113.9"}), "203.0.113.1-203.0.113.9"),
        (json!({"cidr": "", "start": "203.0.113.1", "stop": ""}), "203.0.113.1-203.0.113.1"),
        (json!({"start": "2001:db8::1", "stop": null, "unknown": 1}), "2001:db8::1-2001:db8::1"),
    ] {
        assert_eq!(block(&written).as_deref(), Ok(want), "{written}");
    }
}

#[test]
fn a_bad_block_is_a_fault_with_its_path() {
    for (written, path, part) in [
        (json!({"cidr": "203.0.113.0"}), "spec.blocks[0].cidr: ", "203.0.113.0/24"),
        (json!({"cidr": "203.0.113.0/33"}), "spec.blocks[0].cidr: ", "not a CIDR"),
        (json!({"cidr": 7}), "spec.blocks[0].cidr: ", "not text"),
        (json!({"cidr": "::ffff:10.0.0.0/104"}), "spec.blocks[0].cidr: ", "IPv4-mapped"),
        (json!({"start": "x"}), "spec.blocks[0].start: ", "not an IP address"),
        (json!({"start": "10.0.0.1", "stop": "x"}), "spec.blocks[0].stop: ", "not an IP address"),
        (json!({"start": "10.0.0.2", "stop": "10.0.0.1"}), "spec.blocks[0]: ", "exchange"),
        (json!({"start": "10.0.0.2", "stop": "::1"}), "spec.blocks[0]: ", "two families"),
        (json!({"stop": "10.0.0.1"}), "spec.blocks[0]: ", "stop without start"),
        (json!({}), "spec.blocks[0]: ", "neither cidr nor start"),
        (json!("10.0.0.0/8"), "spec.blocks[0]: ", "not a mapping"),
    ] {
        let fault = block(&written).unwrap_err();
        assert!(fault.starts_with(path) && fault.contains(part), "{written}: {fault}");
    }
}

#[test]
fn a_fault_does_not_cost_the_sound_parts() {
    let pool = read(&json!({
        "blocks": [{"cidr": "x"}, {"cidr": "203.0.113.0/24"}],
        "allowFirstLastIPs": "no", "disabled": "yes", "cidrs": [{"cidr": "10.0.0.0/8"}], "future": true
    }));
    assert_eq!(pool.blocks, [Block::Cidr("203.0.113.0/24".parse().unwrap())]);
    assert_eq!((pool.reserve_first_last, pool.disabled), (false, false));
    let starts =
        ["spec.allowFirstLastIPs: \"no\"", "spec.disabled: \"yes\"", "spec.cidrs: ", "spec.blocks[0].cidr: "];
    assert_eq!(pool.faults.len(), starts.len(), "{:?}", pool.faults);
    for (fault, start) in pool.faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}");
    }
    assert!(pool.faults[2].contains("spec.blocks"));
}

#[test]
fn switches_are_read_verbatim() {
    assert!(read(&json!({"allowFirstLastIPs": "No"})).reserve_first_last);
    assert!(!read(&json!({"allowFirstLastIPs": "Yes"})).reserve_first_last);
    assert!(!read(&json!({})).reserve_first_last);
    assert!(read(&json!({"disabled": true})).disabled);
    let unquoted = read(&json!({"allowFirstLastIPs": false}));
    assert!(unquoted.faults[0].contains("in quotes"), "{:?}", unquoted.faults);
}

#[test]
fn selectors_are_read_and_their_faults_kept() {
    let pool = read(&json!({"serviceSelector": {
        "matchLabels": {"tier": "public"},
        "matchExpressions": [{"key": "rack", "operator": "In", "values": ["r1", "r2"]}]
    }}));
    let want = Selector {
        match_labels: Labels::from([("tier".to_owned(), "public".to_owned())]),
        match_expressions: vec![Requirement {
            key: "rack".to_owned(),
            operator: Operator::In,
            values: ["r1".to_owned(), "r2".to_owned()].into(),
        }],
    };
    assert_eq!((pool.selector, pool.faults), (Some(want), vec![]));
    assert_eq!(read(&json!({"serviceSelector": {}})).selector, Some(Selector::default()));
    assert_eq!(read(&json!({"serviceSelector": null})).selector, None);
    for (selector, path) in [
        (
            json!({"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}),
            "matchExpressions[0].operator",
        ),
        (json!({"matchExpressions": [{"key": "a", "operator": "In"}]}), "matchExpressions[0].values"),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
            "matchExpressions[0].values",
        ),
        (json!({"matchExpressions": [{"operator": "Exists"}]}), "matchExpressions[0]"),
        (json!({"matchLabels": {"a": 1}}), "matchLabels"),
        (json!({"matchLabels": {"a": "b c"}}), "matchLabels.a"),
    ] {
        let pool = read(&json!({"serviceSelector": selector}));
        assert_eq!(pool.faults.len(), 1, "{:?}", pool.faults);
        assert!(pool.faults[0].starts_with(&format!("spec.serviceSelector.{path}")), "{:?}", pool.faults);
    }
}

#[test]
fn a_pool_without_a_spec_is_kept() {
    for object in [json!({"metadata": {"name": "blue"}}), json!({"metadata": {"name": "blue"}, "spec": []})] {
        assert_eq!(pool(&object).unwrap().faults.len(), 1);
    }
    for object in [json!({}), json!({"metadata": {}}), json!({"metadata": {"name": 1}}), json!([])] {
        assert!(pool(&object).unwrap_err().path.starts_with("metadata"), "{object}");
    }
}

#[test]
fn recorded_conditions_are_read_and_strange_ones_left_out() {
    let pool = pool(&json!({
        "metadata": {"name": "blue"}, "spec": {},
        "status": {"conditions": [
            {"type": "cilium.io/IPsTotal", "status": "Unknown", "reason": "noreason", "message": "254",
             "observedGeneration": 2, "lastTransitionTime": "2026-01-02T03:04:05Z"},
            {"status": "True"}, 7
        ]}
    }))
    .unwrap();
    let want = Condition {
        kind: "cilium.io/IPsTotal".to_owned(),
        status: "Unknown".to_owned(),
        reason: "noreason".to_owned(),
        message: "254".to_owned(),
        observed_generation: 2,
        since: 1_767_323_045,
    };
    assert_eq!((pool.conditions, pool.faults), (vec![want], vec![]));
}
