//! CiliumLoadBalancerIPPool. Read from JSON by hand: a fault must not cost the pool, since addresses of its
//! sound blocks may be in use, and each fault is to be named.

use std::net::IpAddr;

use bgp_proto::types::{Family, Prefix};
use serde_json::Value as Json;

use super::fields::{brief, conditions, metadata, selector};
use super::{FieldError, created, name, prune};
use crate::objects::{Block, Pool};

/// A pool, from the whole object. `created` is 0 where the object has no `creationTimestamp`. Faults of its
/// `spec` are kept in [`Pool::faults`].
///
/// # Errors
/// `metadata` cannot be read, so that the pool has no name.
pub fn pool(object: &Json) -> Result<Pool, FieldError> {
    let meta = metadata(object)?;
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

fn read_spec(spec: &serde_json::Map<String, Json>, pool: &mut Pool) {
    let faults = &mut pool.faults;
    let given = |key: &str| spec.get(key).filter(|value| !value.is_null());
    if let Some(written) = given("serviceSelector") {
        match selector(written, "spec.serviceSelector") {
            Ok(selector) => pool.selector = Some(selector),
            Err(found) => faults.extend(found),
        }
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

#[cfg(test)]
mod tests;
