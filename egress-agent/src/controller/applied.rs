//! Whether what there is is what is wanted.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use serde_json::{Map, Value, json};

use super::{deployment, quantity};

/// Whether we applied this last, whatever others made of it.
pub(super) fn is_last_applied(live: &Deployment, wanted: &Value) -> bool {
    let hash = live.metadata.annotations.as_ref().and_then(|annotations| annotations.get(deployment::APPLIED));
    hash.map(String::as_str) == wanted["metadata"]["annotations"][deployment::APPLIED].as_str()
}

/// Whether a Deployment is the one that is wanted. The hash notices a field that is gone, the comparison a hand's edit.
pub(super) fn is_applied(live: &Deployment, wanted: &Value) -> bool {
    let last = is_last_applied(live, wanted);
    let (mut live, mut wanted) = (json!(live), wanted.clone());
    // The API server writes quantities in its own way.
    resources(&mut live, true);
    // One that only the API server can read is not compared: it would be applied again and again.
    resources(&mut wanted, false);
    last && covers(&live, &wanted)
}

/// A merge patch that removes the keys of a ConfigMap which are not wanted: a gateway reads every file that it finds.
pub(super) fn foreign(live: &ConfigMap, wanted: &Value) -> Option<Value> {
    let live_keys = json!(live);
    let mut patch = Map::new();
    for field in ["data", "binaryData"] {
        let keys = live_keys[field].as_object().into_iter().flat_map(Map::keys);
        let gone: Map<String, Value> =
            keys.filter(|key| wanted[field].get(key).is_none()).map(|key| (key.clone(), Value::Null)).collect();
        if !gone.is_empty() {
            patch.insert(field.to_owned(), gone.into());
        }
    }
    if patch.is_empty() {
        return None;
    }
    // Not of another ConfigMap that has come to this name.
    patch.insert("metadata".to_owned(), json!({"uid": live.metadata.uid}));
    Some(patch.into())
}

/// Puts amounts in the place of what the containers ask for and are limited to; what is no quantity stays if `odd`.
fn resources(deployment: &mut Value, odd: bool) {
    let containers = deployment.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    let all = containers.into_iter().flatten().filter_map(|container| container.get_mut("resources")?.as_object_mut());
    for quantities in all.flat_map(|resources| resources.values_mut()).filter_map(Value::as_object_mut) {
        quantities.retain(|_, quantity| {
            let Some(nanos) = quantity::nanos(quantity) else { return odd };
            // JSON has no number of this size.
            *quantity = Value::String(nanos.to_string());
            true
        });
    }
}

/// Whether every field of `wanted` is in `live`; more may be, the API server's defaults for one.
pub(super) fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| match live.get(name) {
            Some(live) => covers(live, wanted),
            None => is_empty(wanted),
        }),
        (Value::Array(live), Value::Array(wanted)) => match merged_by(wanted) {
            // Others may have entries of their own between ours: a sidecar, a variable, a mount.
            Some(key) => wanted.iter().all(|wanted| {
                live.iter().find(|live| live[key] == wanted[key]).is_some_and(|live| covers(live, wanted))
            }),
            None => live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted)),
        },
        _ => live == wanted,
    }
}

/// What the entries of a list are told apart by, where the API server merges lists of several managers entry by entry:
/// containers, variables and volumes by `name`, mounts by `mountPath`, owners by `uid`.
fn merged_by(wanted: &[Value]) -> Option<&'static str> {
    // The path first: a mount has the name of its volume.
    ["mountPath", "uid", "name"]
        .into_iter()
        .find(|key| !wanted.is_empty() && wanted.iter().all(|it| it[key].is_string()))
}

/// What the API server does not store.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}
