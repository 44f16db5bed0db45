//! Parts of the API's schemas that Rust's types do not say.

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Fields that this build does not know, kept as they were read: a newer Kube-OVN has more.
pub type Unknown = BTreeMap<String, Value>;

/// A whole number or a text, as Kubernetes' quantities are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number or a string")]
pub enum IntOrText {
    /// `100`
    Int(i64),
    /// `100m`
    Text(String),
}

impl std::fmt::Display for IntOrText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A selector says something. This rule and the next two are also checked without an API server: [`crate::k8s::bounds`].
pub(crate) const LABEL_SELECTOR: &str = "has(self.matchLabels) || has(self.matchExpressions)";

/// Kube-OVN passes over an evpnConf without a bgpConf.
pub(crate) const ROUTED_BY_BGP: &str =
    "!has(self.evpnConf) || self.evpnConf == '' || (has(self.bgpConf) && self.bgpConf != '')";

/// The first port comes first.
pub(crate) const PORT_SPAN: &str = "self.start <= self.end";

/// `x-kubernetes-validations`: CEL rules with what is said where they do not hold.
pub(super) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// A quantity of Kubernetes.
pub(super) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": QUANTITY,
    })
}

/// Quantities by name, such as `cpu`.
pub(super) fn quantities(generator: &mut SchemaGenerator) -> Schema {
    let quantity = quantity(generator);
    json_schema!({"type": "object", "additionalProperties": quantity})
}

/// Anything that is a mapping.
pub(super) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list of mappings.
pub(super) fn objects(generator: &mut SchemaGenerator) -> Schema {
    let item = object(generator);
    json_schema!({"type": "array", "items": item})
}

/// As Kubernetes' own CRDs write it.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Paths of the fields below `path` that the schema does not name, such as `spec.policies[0].colour`.
pub(crate) fn unknown_fields(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return Vec::new() };
            let items = items.iter().enumerate();
            items.flat_map(|(i, item)| unknown_fields(schema, item, &format!("{path}[{i}]"))).collect()
        }
        Value::Object(fields) => {
            let Some(known) = schema.get("properties") else { return Vec::new() };
            let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let unknown = |(name, value): (&String, &Value)| match known.get(name) {
                Some(schema) => unknown_fields(schema, value, &below(name)),
                None => vec![below(name)],
            };
            fields.iter().flat_map(unknown).collect()
        }
        _ => Vec::new(),
    }
}
