//! What the API server would refuse by the definition's schema and rules, `render` refuses.

use serde_json::{Value, json};

use super::{objects, text};
use crate::{
    controller::{Settings, render::render},
    k8s::crd::{VEG_SPEC, tests::broken_specs},
};

/// What is wrong with a gateway of this spec.
fn wrong(spec: &Value) -> Option<String> {
    let gateway =
        json!({"apiVersion": "kubeovn.io/v1", "kind": "VpcEgressGateway", "metadata": {"name": "g"}, "spec": spec});
    let pool = json!({"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": "pool"}, "spec": {
        "subnet": "ovn-default", "ips": ["10.16.1.0/24"],
    }});
    let objects = objects(&[&text("base.yaml"), &pool.to_string(), &gateway.to_string()]);
    render(&objects, &Settings::default()).err().map(|errors| errors.to_string())
}

fn right() -> Value {
    json!({"externalSubnet": "macvlan", "policies": [{"ipBlocks": ["10.18.0.0/16"]}]})
}

/// A value of the schema's type, not of its bounds.
fn sample(schema: &Value) -> Value {
    let required = schema["required"].as_array().into_iter().flatten();
    match schema["type"].as_str() {
        Some("object") => required
            .map(|name| (name.as_str().unwrap().to_owned(), sample(&schema["properties"][name.as_str().unwrap()])))
            .collect(),
        Some("array") => json!([]),
        Some("boolean") => json!(false),
        Some("string") => json!("a"),
        _ => json!(1),
    }
}

/// For each bound below a place: the field that must be named, and a spec that is beyond it.
fn beyond(schema: &Value, value: &Value, field: &str, put: &dyn Fn(Value) -> Value, all: &mut Vec<(String, Value)>) {
    let number = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
    let long = |bound: i64| json!("1".repeat(usize::try_from(bound + 1).unwrap()));
    let list = |entries: i64| Value::from(vec![sample(&schema["items"]); usize::try_from(entries).unwrap()]);
    let values = [
        number("minimum").map(|bound| json!(bound - 1)),
        number("maximum").map(|bound| json!(bound + 1)),
        number("minLength").map(|_| json!("")),
        number("maxLength").map(long),
        number("maxItems").map(|bound| list(bound + 1)),
        schema.get("enum").map(|_| json!("?")),
        schema.get("pattern").map(|_| json!("?")),
    ];
    all.extend(values.into_iter().flatten().map(|value| (field.to_owned(), put(value))));
    if schema["x-kubernetes-list-type"] == "set" {
        all.push((format!("{field}[1]"), put(list(2))));
    }
    for name in schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()) {
        let mut without = value.clone();
        without.as_object_mut().unwrap().remove(name);
        all.push((format!("{field}.{name}"), put(without)));
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let put = |inner: Value| {
            let mut value = value.clone();
            value[name] = inner;
            put(value)
        };
        beyond(below, &sample(below), &format!("{field}.{name}"), &put, all);
    }
    if let Some(below) = schema.get("items") {
        beyond(below, &sample(below), &format!("{field}[0]"), &|inner| put(json!([inner])), all);
    }
    if let Some(below) = schema.get("additionalProperties") {
        beyond(below, &sample(below), &format!("{field}.a"), &|inner| put(json!({"a": inner})), all);
    }
}

#[test]
fn every_bound_is_kept() {
    assert_eq!(wrong(&right()), None);
    let mut cases = Vec::new();
    beyond(&VEG_SPEC, &right(), "spec", &|spec| spec, &mut cases);
    assert!(cases.len() > 100, "{}", cases.len());
    for (field, spec) in cases {
        let told = wrong(&spec).unwrap_or_else(|| panic!("{field}: {spec} is taken"));
        assert!(told.contains(&format!("VpcEgressGateway default/g, {field}: ")), "{field}: {told}");
    }
}

/// A bound of another sort would not be looked at.
#[test]
fn the_schema_has_no_other_bounds() {
    fn look(schema: &Value) {
        for name in schema.as_object().unwrap().keys() {
            let bounds = ["enum", "maxItems", "maxLength", "maximum", "minLength", "minimum", "pattern", "required"];
            let others = [
                "additionalProperties",
                "anyOf",
                "default",
                "description",
                "format",
                "items",
                "properties",
                "type",
                "x-kubernetes-int-or-string",
                "x-kubernetes-list-type",
                "x-kubernetes-map-type",
                "x-kubernetes-preserve-unknown-fields",
                "x-kubernetes-validations",
            ];
            assert!(bounds.contains(&name.as_str()) || others.contains(&name.as_str()), "{name} in {schema}");
        }
        schema.get("properties").and_then(Value::as_object).into_iter().flatten().for_each(|(_, below)| look(below));
        ["items", "additionalProperties"].iter().filter_map(|name| schema.get(*name)).for_each(look);
    }
    look(&VEG_SPEC);
}

#[test]
fn every_rule_is_kept() {
    for (spec, rule) in broken_specs() {
        let told = wrong(&spec).unwrap_or_else(|| panic!("{rule}: {spec} is taken"));
        assert!(told.contains("VpcEgressGateway default/g, spec"), "{rule}: {told}");
    }
}

#[test]
fn words_say_what_is_right() {
    for (field, value, want) in [
        ("replicas", json!(11), "spec.replicas: 11 must be 0 or more and 10 or less"),
        ("bfd", json!({"multiplier": 256}), "spec.bfd.multiplier: 256 must be 1 or more and 255 or less"),
        ("prefix", json!("A-"), r#"spec.prefix: "A-g" cannot be the name of a Deployment"#),
        (
            "policies",
            json!([{"subnets": ["subnet1", "subnet1"]}]),
            r#"spec.policies[0].subnets[1]: "subnet1" is listed twice"#,
        ),
        ("evpnConf", json!("e"), "spec: evpnConf needs a bgpConf: EVPN is announced by BGP"),
        (
            "selectors",
            json!([{"podSelector": {}}]),
            "spec.selectors[0].podSelector: Each pod selector MUST have at least one",
        ),
    ] {
        let mut spec = right();
        spec[field] = value;
        let told = wrong(&spec).unwrap();
        assert!(told.contains(want), "{told}");
        // Once: the plan's words stand alone where there are some.
        let field = format!(", {}:", want.split(':').next().unwrap());
        assert_eq!(told.matches(&field).count(), 1, "{told}");
    }
}
