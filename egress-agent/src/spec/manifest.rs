//! Reads objects from the text of manifests: multi-document YAML, JSON, and Lists of both.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    mem,
};

use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    documents::documents,
    mistyped::mistyped,
    objects::{Located, Objects, key},
    report::{At, Origin, Report, SpecErrors},
};
use crate::k8s::{
    api::{GROUP, schema::unknown_fields},
    bounds,
    crd::VEG_SPEC,
};

/// A file's name and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As messages name it.
    pub name: String,
    /// YAML or JSON.
    pub text: String,
}

/// API version and kind of everything that is read.
const KNOWN: [(&str, &str); 10] = [
    ("kubeovn.io/v1", "VpcEgressGateway"),
    ("kubeovn.io/v1", "Subnet"),
    ("kubeovn.io/v1", "Vpc"),
    ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition"),
    ("v1", "Namespace"),
    ("v1", "Pod"),
    ("egress-ebpf.dev/v1alpha1", "EgressGatewayProfile"),
    ("kubeovn.io/v1", "IPPool"),
    ("kubeovn.io/v1", "BgpConf"),
    ("kubeovn.io/v1", "EvpnConf"),
];

/// The objects of all sources. Unknown kinds are passed over with a warning.
pub fn parse(sources: &[Source]) -> Result<Objects, SpecErrors> {
    read(sources).finish()
}

/// The same; where something cannot be read, what an API server refuses of the rest is told, too.
pub fn parse_for_api(sources: &[Source]) -> Result<Objects, SpecErrors> {
    let mut reader = read(sources);
    if !reader.report.errors.is_empty() {
        reader.report.errors.extend(mem::take(&mut reader.report.refused));
    }
    reader.finish()
}

fn read(sources: &[Source]) -> Reader {
    let mut reader = Reader::default();
    for source in sources {
        for document in documents(&source.text) {
            let origin = Origin { source: source.name.clone(), document: Some(document.number), item: None };
            match document.value() {
                Ok(Some(value)) => reader.document(value, &origin),
                Ok(None) => {}
                Err(reason) => reader.report.error(&At::origin(&origin), "", reason),
            }
        }
    }
    reader
}

/// The YAML documents of a text, as they are.
#[cfg(test)]
pub(crate) fn values(text: &str) -> Result<Vec<Value>, String> {
    documents(text).iter().filter_map(|document| document.value().transpose()).collect()
}

#[derive(Default)]
struct Reader {
    objects: Objects,
    report: Report,
}

impl Reader {
    fn finish(mut self) -> Result<Objects, SpecErrors> {
        let refused = mem::take(&mut self.report.refused);
        let (mut objects, warnings) = self.report.finish(Some(self.objects))?;
        (objects.warnings, objects.refused) = (warnings, refused);
        Ok(objects)
    }

    fn document(&mut self, value: Value, origin: &Origin) {
        let Some((mut object, api_version, kind)) = self.typed(value, origin, None) else { return };
        let Some(item_kind) = kind.strip_suffix("List").filter(|_| object.contains_key("items")) else {
            return self.object(object, &api_version, &kind, origin);
        };
        let Some(Value::Array(items)) = object.remove("items") else {
            return self.report.error(&At::origin(origin), "items", "must be a list of objects");
        };
        // The API server's own lists (PodList) name the items' kind once only.
        let implied = (!item_kind.is_empty()).then_some((api_version.as_str(), item_kind));
        for (item, index) in items.into_iter().zip(0..) {
            let origin = Origin { item: Some(index), ..origin.clone() };
            if let Some((object, api_version, kind)) = self.typed(item, &origin, implied) {
                self.object(object, &api_version, &kind, &origin);
            }
        }
    }

    /// An object with its `apiVersion` and `kind`.
    fn typed(
        &mut self,
        value: Value,
        origin: &Origin,
        implied: Option<(&str, &str)>,
    ) -> Option<(Map<String, Value>, String, String)> {
        let at = At::origin(origin);
        let Value::Object(object) = value else {
            self.report.error(&at, "", "is no object; a manifest is a mapping with apiVersion, kind and metadata");
            return None;
        };
        let mut word = |field: &str, implied: Option<&str>| match (object.get(field), implied) {
            (Some(Value::String(text)), _) if !text.is_empty() => Some(text.clone()),
            (None, Some(implied)) => Some(implied.to_owned()),
            _ => {
                let example = if field == "kind" { "kind: VpcEgressGateway" } else { "apiVersion: kubeovn.io/v1" };
                self.report.error(&at, field, format!("is missing or no text; write it as in `{example}`"));
                None
            }
        };
        let api_version = word("apiVersion", implied.map(|(api_version, _)| api_version));
        let kind = word("kind", implied.map(|(_, kind)| kind));
        Some((object, api_version?, kind?))
    }

    fn object(&mut self, object: Map<String, Value>, api_version: &str, kind: &str, origin: &Origin) {
        let Self { objects, report } = self;
        match (api_version, kind) {
            ("kubeovn.io/v1", "VpcEgressGateway") => store(&mut objects.gateways, true, object, origin, report),
            ("kubeovn.io/v1", "Subnet") => store(&mut objects.subnets, false, object, origin, report),
            ("kubeovn.io/v1", "Vpc") => store(&mut objects.vpcs, false, object, origin, report),
            ("kubeovn.io/v1", "IPPool") => store(&mut objects.pools, false, object, origin, report),
            ("kubeovn.io/v1", "BgpConf") => store(&mut objects.bgp, false, object, origin, report),
            ("kubeovn.io/v1", "EvpnConf") => store(&mut objects.evpn, false, object, origin, report),
            ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition") => {
                store(&mut objects.attachments, true, object, origin, report);
            }
            ("v1", "Namespace") => store(&mut objects.namespaces, false, object, origin, report),
            ("v1", "Pod") => store(&mut objects.pods, true, object, origin, report),
            ("egress-ebpf.dev/v1alpha1", "EgressGatewayProfile") => {
                store(&mut objects.profiles, true, object, origin, report);
            }
            _ => unknown(&object, api_version, kind, origin, report),
        }
    }
}

/// Reads one object; every mistake in it is told with the path of the field.
fn store<T>(
    map: &mut BTreeMap<String, Located<T>>,
    namespaced: bool,
    mut object: Map<String, Value>,
    origin: &Origin,
    report: &mut Report,
) where
    T: Resource<DynamicType = ()> + DeserializeOwned,
{
    let kind = T::kind(&());
    let at = At::object(origin, &kind, name(&object));
    // A Kubernetes API reads null as a field that is not there.
    object.values_mut().for_each(drop_nulls);
    object.retain(|_, value| !value.is_null());
    for field in ["metadata", "spec"] {
        object.entry(field).or_insert_with(|| Value::Object(Map::new()));
    }
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let (unknown, refused) = if kind == "VpcEgressGateway" {
        (unknown_fields(&VEG_SPEC, spec, "spec"), bounds::refused(&VEG_SPEC, spec, "spec"))
    } else {
        (Vec::new(), Vec::new())
    };
    let (mut object, ignored) = match deserialize::<T>(Value::Object(object)) {
        Ok(read) => read,
        Err((field, reason)) => {
            for (path, reason) in refused.into_iter().filter(|(path, _)| *path != field) {
                report.refuse(&at, &path, reason);
            }
            return report.error(&at, &field, reason);
        }
    };
    if object.meta().name.as_deref().unwrap_or_default().is_empty() {
        return report.error(&at, "metadata.name", "is missing; every object has a name");
    }
    let namespace = object.meta().namespace.clone().filter(|namespace| !namespace.is_empty());
    // As kubectl does where no namespace is given.
    object.meta_mut().namespace = namespaced.then(|| namespace.unwrap_or_else(|| "default".to_owned()));
    let key = key(&object);
    let at = At::object(origin, &kind, &key);
    for field in ignored.iter().filter(|_| kind == "EgressGatewayProfile") {
        report.error(&at, field, "is no field of an EgressGatewayProfile; remove it");
    }
    for (field, reason) in refused {
        report.refuse(&at, &field, reason);
    }
    for field in unknown {
        report.warn(&at, &field, "is no known field and is ignored");
    }
    match map.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(Located { origin: origin.clone(), object });
        }
        Entry::Occupied(entry) => {
            report.error(&at, "metadata.name", format!("is also in {}; keep one of the two", entry.get().origin));
        }
    }
}

/// The object and the paths of the fields that its type does not know, or the path of a wrong field and why.
fn deserialize<T: DeserializeOwned>(object: Value) -> Result<(T, Vec<String>), (String, String)> {
    let mut track = serde_path_to_error::Track::new();
    let mut ignored = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| ignored.push(field_path(&path));
    let tracked = serde_path_to_error::Deserializer::new(object, &mut track);
    match T::deserialize(serde_ignored::Deserializer::new(tracked, &mut note)) {
        Ok(object) => {
            ignored.retain(|path| {
                !matches!(path.as_str(), "apiVersion" | "kind")
                    && !path.starts_with("metadata")
                    && !path.starts_with("status")
            });
            Ok((object, ignored))
        }
        Err(error) => {
            let path = track.path().to_string();
            Err((if path == "." { String::new() } else { path }, mistyped(&error.to_string())))
        }
    }
}

fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => {
            let parent = field_path(parent);
            if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") }
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => field_path(parent),
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A known kind of another version is a mistake where the group is known; anything else is none of our business.
fn unknown(object: &Map<String, Value>, api_version: &str, kind: &str, origin: &Origin, report: &mut Report) {
    let group = |version: &str| version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let at = At::object(origin, kind, name(object));
    if kind.ends_with("List") && object.contains_key("items") {
        return report.error(&at, "kind", format!("a {kind} inside a list is not read; write its items in its place"));
    }
    let known = KNOWN.iter().find(|(version, known)| *known == kind && group(version) == group(api_version));
    match known {
        Some((version, _)) => {
            report.error(&at, "apiVersion", format!("{api_version} of {kind} cannot be read; write {version}"));
        }
        None if group(api_version) == GROUP => {
            report.error(&at, "kind", format!("{GROUP} has no kind {kind}; write EgressGatewayProfile"));
        }
        None => report.warn(&at, "", format!("{api_version} {kind} means nothing to an egress gateway and is ignored")),
    }
}

/// The name for a message, of an object that may not be well formed.
fn name(object: &Map<String, Value>) -> &str {
    object.get("metadata").and_then(|meta| meta.get("name")).and_then(Value::as_str).unwrap_or("without a name")
}
