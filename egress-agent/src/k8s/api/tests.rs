//! What a real Kube-OVN stored is read, and nothing of it is lost.

use std::{fs, path::Path};

use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::*;
use crate::{k8s::crd, spec::manifest::values};

/// The recorded objects, by file.
pub(crate) fn recorded() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kube-ovn");
    let mut files = vec![root.join("base.yaml"), root.join("objects.yaml")];
    for entry in fs::read_dir(&root).unwrap() {
        let folder = entry.unwrap().path();
        files.extend(["input.yaml", "stored.yaml"].map(|name| folder.join(name)).into_iter().filter(|f| f.is_file()));
    }
    let mut all = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        for value in values(&fs::read_to_string(&file).unwrap()).unwrap() {
            match value.get("items").and_then(Value::as_array) {
                Some(items) => all.extend(items.iter().map(|item| (name.clone(), item.clone()))),
                None => all.push((name.clone(), value)),
            }
        }
    }
    assert!(all.len() > 100, "{}", all.len());
    all
}

fn there_and_back(object: &Value) -> Option<Value> {
    fn by<T: Resource + Serialize + DeserializeOwned>(object: &Value) -> Value {
        let read: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
        serde_json::to_value(&read).unwrap()
    }
    Some(match object["kind"].as_str()? {
        "VpcEgressGateway" => by::<VpcEgressGateway>(object),
        "Vpc" => by::<Vpc>(object),
        "Subnet" => by::<Subnet>(object),
        "IPPool" => by::<IPPool>(object),
        "BgpConf" => by::<BgpConf>(object),
        "EvpnConf" => by::<EvpnConf>(object),
        _ => return None,
    })
}

/// Without what says as much as nothing: Kube-OVN's Go drops it as well (`omitempty`).
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), plain(value)));
            Value::Object(fields.filter(|(_, value)| !nothing(value)).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        other => other.clone(),
    }
}

fn nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) => false,
    }
}

#[test]
fn recorded_objects_come_back_as_they_were() {
    let mut gateways = 0;
    for (file, object) in recorded() {
        let Some(back) = there_and_back(&object) else { continue };
        assert_eq!(plain(&back), plain(&object), "{file}");
        gateways += usize::from(object["kind"] == "VpcEgressGateway");
    }
    assert!(gateways > 80, "{gateways}");
}

/// Pointers to every mapping below `spec` and `status` whose fields Kube-OVN defines.
fn places(schema: &Value, value: &Value, pointer: &str, places: &mut Vec<String>) {
    const KUBERNETES: [&str; 6] =
        ["namespaceSelector", "podSelector", "matchExpressions", "matchFields", "tolerations", "claims"];
    match value {
        Value::Object(fields) if schema.get("properties").is_some() => {
            places.push(pointer.to_owned());
            for (name, value) in fields.iter().filter(|(name, _)| !KUBERNETES.contains(&name.as_str())) {
                let below = &schema["properties"][name];
                self::places(below, value, &format!("{pointer}/{name}"), places);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                self::places(&schema["items"], item, &format!("{pointer}/{i}"), places);
            }
        }
        _ => {}
    }
}

#[test]
fn fields_of_another_release_survive() {
    let mut tried = 0;
    let schemas = crd::all();
    for (file, object) in recorded() {
        if there_and_back(&object).is_none() {
            continue;
        }
        let kind = &object["kind"];
        let (_, crd) = schemas.iter().find(|(_, crd)| crd["spec"]["names"]["kind"] == *kind).unwrap();
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties").unwrap();
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            places(&schema[part], &object[part], &format!("/{part}"), &mut found);
        }
        for place in found {
            let mut future = object.clone();
            let fields = future.pointer_mut(&place).and_then(Value::as_object_mut).unwrap();
            fields.insert("ofAnotherRelease".to_owned(), json!({"a": [1, "b"]}));
            assert_eq!(plain(&there_and_back(&future).unwrap()), plain(&future), "{file} {place}");
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn quantities_may_be_numbers() {
    let spec = json!({"externalSubnet": "e", "resources": {"limits": {"cpu": 2, "memory": "1Gi"}}, "bandwidth": {"ingress": 10}});
    let read: VpcEgressGatewaySpec = serde_json::from_value(spec).unwrap();
    assert_eq!(read.resources.unwrap().limits["cpu"], IntOrText::Int(2));
    let wrong = json!({"resources": {"limits": {"cpu": 0.5}}});
    let error = serde_json::from_value::<VpcEgressGatewaySpec>(wrong).unwrap_err().to_string();
    assert!(error.contains("expected a whole number or a string"), "{error}");
}
