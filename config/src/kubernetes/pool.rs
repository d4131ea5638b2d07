//! CiliumLoadBalancerIPPool. Read from JSON by hand: a fault must not cost the pool, since addresses of its
//! sound blocks may be in use, and each fault is to be named.

use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::Value as Json;

use super::{FieldError, created, name, prune};
use crate::objects::{Block, Condition, Pool, Selector, UnixSeconds};
use crate::selector::{Written, WrittenRequirement, check};

/// A pool, from the whole object. `created` is 0 where the object has no `creationTimestamp`. Faults of its
/// `spec` are kept in [`Pool::faults`].
///
/// # Errors
/// `metadata` cannot be read, so that the pool has no name.
pub fn pool(object: &Json) -> Result<Pool, FieldError> {
    let written = object.get("metadata").unwrap_or(&Json::Null);
    let meta: ObjectMeta = serde_path_to_error::deserialize(written).map_err(|error| {
        FieldError::new(format!("metadata.{}", error.path()), error.into_inner().to_string())
    })?;
    let mut pool = Pool {
        name: name(&meta)?,
        created: created(&meta),
        generation: meta.generation.unwrap_or_default(),
        labels: meta.labels.unwrap_or_default(),
        annotations: prune(meta.annotations),
        selector: None,
        blocks: Vec::new(),
        reserve_first_last: false,
        disabled: false,
        faults: Vec::new(),
        conditions: conditions(object),
    };
    match object.get("spec") {
        Some(Json::Object(spec)) => read_spec(spec, &mut pool),
        None | Some(Json::Null) => pool.faults.push("spec: absent; write spec.blocks".to_owned()),
        Some(other) => {
            pool.faults.push(format!("spec: {} is not a mapping; write spec.blocks", brief(other)));
        }
    }
    Ok(pool)
}

/// The conditions that can be read; what others wrote into the status is no fault of the pool.
fn conditions(object: &Json) -> Vec<Condition> {
    let written = object.pointer("/status/conditions").and_then(Json::as_array).into_iter().flatten();
    written
        .filter_map(|condition| {
            let text = |key: &str| condition.get(key).and_then(Json::as_str).map(str::to_owned);
            Some(Condition {
                kind: text("type")?,
                status: text("status")?,
                reason: text("reason").unwrap_or_default(),
                message: text("message").unwrap_or_default(),
                observed_generation: condition
                    .get("observedGeneration")
                    .and_then(Json::as_i64)
                    .unwrap_or_default(),
                since: text("lastTransitionTime").and_then(|time| seconds(&time)).unwrap_or_default(),
            })
        })
        .collect()
}

/// A point in time as the API server writes it.
fn seconds(text: &str) -> Option<UnixSeconds> {
    let time: Time = serde_json::from_value(Json::from(text)).ok()?;
    Some(time.0.as_second())
}

fn read_spec(spec: &serde_json::Map<String, Json>, pool: &mut Pool) {
    let faults = &mut pool.faults;
    let given = |key: &str| spec.get(key).filter(|value| !value.is_null());
    if let Some(written) = given("serviceSelector") {
        pool.selector = read_selector(written, "spec.serviceSelector", faults);
    }
    match given("allowFirstLastIPs") {
        None => {}
        Some(Json::String(text)) if text == "Yes" => {}
        Some(Json::String(text)) if text == "No" => pool.reserve_first_last = true,
        Some(other) => faults.push(format!(
            "spec.allowFirstLastIPs: {} is neither \"Yes\" nor \"No\"; write one of them, in quotes",
            brief(other)
        )),
    }
    match given("disabled") {
        None => {}
        Some(Json::Bool(disabled)) => pool.disabled = *disabled,
        Some(other) => {
            faults.push(format!("spec.disabled: {} is not true or false; write one of them", brief(other)));
        }
    }
    if given("cidrs").is_some() {
        faults.push(
            "spec.cidrs: Cilium 1.16 removed this field; write spec.blocks, with the same entries".to_owned(),
        );
    }
    match given("blocks") {
        None => {}
        Some(Json::Array(written)) => {
            for (index, block) in written.iter().enumerate() {
                match read_block(block, &format!("spec.blocks[{index}]")) {
                    Ok(block) => pool.blocks.push(block),
                    Err(fault) => faults.push(fault.to_string()),
                }
            }
        }
        Some(other) => faults.push(format!("spec.blocks: {} is not a list; write one", brief(other))),
    }
}

/// cidr wins over start and stop; start alone is one address.
fn read_block(written: &Json, path: &str) -> Result<Block, FieldError> {
    let Json::Object(fields) = written else {
        let message = format!("{} is not a mapping; write cidr, or start and stop", brief(written));
        return Err(FieldError::new(path, message));
    };
    let text = |key: &str| match fields.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => {
            let message = format!("{} is not text; write an address in quotes", brief(other));
            Err(FieldError::new(format!("{path}.{key}"), message))
        }
    };
    if let Some(cidr) = text("cidr")? {
        let at = format!("{path}.cidr");
        let prefix: Prefix = cidr.parse().map_err(|_| {
            let help = "write it as 203.0.113.0/24 or 2001:db8::/64; one address is start without stop";
            FieldError::new(&*at, format!("{cidr:?} is not a CIDR; {help}"))
        })?;
        return not_mapped(prefix.addr(), &at).map(|_| Block::Cidr(prefix));
    }
    let (start, stop) = (text("start")?, text("stop")?);
    let Some(start) = start else {
        let message = match stop {
            Some(_) => "stop without start; write the first address as start",
            None => "neither cidr nor start; write one of them",
        };
        return Err(FieldError::new(path, message));
    };
    let first = read_address(start, &format!("{path}.start"))?;
    let last = match stop {
        Some(stop) => read_address(stop, &format!("{path}.stop"))?,
        None => first,
    };
    if Family::of(first) != Family::of(last) {
        let message = format!("start {first} and stop {last} are of two families; write two blocks");
        return Err(FieldError::new(path, message));
    }
    if first > last {
        return Err(FieldError::new(path, format!("start {first} is above stop {last}; exchange them")));
    }
    Ok(Block::Range { first, last })
}

fn read_address(text: &str, path: &str) -> Result<IpAddr, FieldError> {
    let address = super::address(text, || path.to_owned())?;
    not_mapped(address, path)
}

fn not_mapped(address: IpAddr, path: &str) -> Result<IpAddr, FieldError> {
    match address {
        IpAddr::V6(v6) if let Some(v4) = v6.to_ipv4_mapped() => {
            Err(FieldError::new(path, format!("{address} is an IPv4-mapped address; write {v4}")))
        }
        _ => Ok(address),
    }
}

fn read_selector(written: &Json, path: &str, faults: &mut Vec<String>) -> Option<Selector> {
    match serde_path_to_error::deserialize::<_, SelectorFields>(written) {
        Err(error) => {
            faults.push(format!("{path}.{}: {}", error.path(), error.inner()));
            None
        }
        Ok(fields) => check(&fields.into())
            .map_err(|found| {
                faults.extend(
                    found.into_iter().map(|f| format!("{path}.{}: {}; {}", f.path, f.message, f.help)),
                );
            })
            .ok(),
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelectorFields {
    match_labels: Option<std::collections::BTreeMap<String, String>>,
    match_expressions: Option<Vec<RequirementFields>>,
}

#[derive(serde::Deserialize)]
struct RequirementFields {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

impl From<SelectorFields> for Written {
    fn from(fields: SelectorFields) -> Self {
        let expressions = fields.match_expressions.unwrap_or_default().into_iter();
        Self {
            labels: fields.match_labels.unwrap_or_default().into_iter().collect(),
            expressions: expressions
                .map(|written| WrittenRequirement {
                    key: written.key,
                    operator: written.operator,
                    values: written.values.unwrap_or_default(),
                })
                .collect(),
        }
    }
}

/// A value in a message: as JSON, cut short.
fn brief(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
