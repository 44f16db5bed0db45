//! The CustomResourceDefinitions, made from the types of [`super::api`].

use std::{fs, io, path::Path, sync::LazyLock};

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::api::{BgpConf, EgressGatewayProfile, EvpnConf, IPPool, Subnet, Vpc, VpcEgressGateway};

/// File name and CustomResourceDefinition of every kind that we define, or that we read and Kube-OVN defines.
#[must_use]
pub fn all() -> Vec<(String, Value)> {
    let all = [
        VpcEgressGateway::crd(),
        Vpc::crd(),
        Subnet::crd(),
        IPPool::crd(),
        BgpConf::crd(),
        EvpnConf::crd(),
        EgressGatewayProfile::crd(),
    ];
    all.iter().filter_map(|crd| serde_json::to_value(crd).ok()).map(plain).collect()
}

/// The schema of a kind, by its plural.
#[must_use]
pub fn schema(plural: &str) -> Option<Value> {
    let (_, crd) = all().into_iter().find(|(_, crd)| crd["spec"]["names"]["plural"] == plural)?;
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned()
}

/// Schema of a VpcEgressGateway's `spec`.
pub(crate) static VEG_SPEC: LazyLock<Value> = LazyLock::new(|| {
    let schema = schema("vpc-egress-gateways").unwrap_or_default();
    schema.pointer("/properties/spec").cloned().unwrap_or_default()
});

/// Takes away what the way from Rust to a schema leaves, and names the file.
fn plain(mut crd: Value) -> (String, Value) {
    if let Some(schema) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        no_nullable(schema);
        if let Some(schema) = schema.as_object_mut() {
            // Titled after the Rust type.
            schema.remove("title");
        }
    }
    if crd.pointer("/spec/group") == Some(&json!("kubeovn.io")) {
        for part in ["spec", "status"] {
            let at = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}");
            if let Some(schema) = crd.pointer_mut(&at) {
                open(schema);
            }
        }
    }
    if let Some(names) = crd.pointer_mut("/spec/names").and_then(Value::as_object_mut) {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default();
        names.insert("listKind".to_owned(), json!(format!("{kind}List")));
    }
    let name = crd.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let (plural, group) = name.split_once('.').unwrap_or((name, ""));
    (format!("{group}/{plural}.yaml"), crd)
}

/// An `Option` is a field that may be missing; a null would be kept by the API server where it is allowed.
fn no_nullable(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(no_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(no_nullable),
        _ => {}
    }
}

/// Fields that another release of Kube-OVN has are stored as they come: what of a VpcEgressGateway is not known is told in a
/// condition, and is there when somebody does know it.
fn open(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if fields.contains_key("properties") {
        fields.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
    }
    for below in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(below) {
            open(schema);
        }
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(open);
    }
}

/// The text of a definition's file.
pub fn yaml(crd: &Value) -> io::Result<String> {
    let text = serde_saphyr::to_string(crd).map_err(io::Error::other)?;
    Ok(format!("# Made by `cargo xtask crd` from egress-agent/src/k8s/api; do not edit.\n{text}"))
}

/// Writes every definition into its file of the folder.
pub fn write(folder: &Path) -> io::Result<()> {
    for (name, crd) in all() {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(file, yaml(&crd)?)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
