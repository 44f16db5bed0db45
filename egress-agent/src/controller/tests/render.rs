//! `egress-agent render`.

use serde_json::{Value, json};

use super::{objects, text};
use crate::{
    controller::{Input, Settings, plan, render::render, select::Index},
    spec::Problem,
};

fn gateway(edit: impl Fn(&mut Value)) -> Value {
    let mut gateway = crate::spec::manifest::values(&text("01-seed000-single/input.yaml")).unwrap().remove(0);
    edit(&mut gateway);
    gateway
}

#[test]
fn fields_that_do_nothing_are_named() {
    let gateway = gateway(|gateway| {
        gateway["spec"]["trafficPolicy"] = json!("Local");
        gateway["spec"]["colour"] = json!("red");
    });
    let (_, warnings) = render(&objects(&[&text("base.yaml"), &gateway.to_string()]), &Settings::default()).unwrap();
    let told = |field: &str| {
        let found: Vec<_> = warnings.iter().filter(|warning| warning.field.as_deref() == Some(field)).collect();
        assert_eq!(found.len(), 1, "{field}: {warnings:?}");
        found[0].reason.clone()
    };
    assert_eq!(told("spec.trafficPolicy"), "is not served: OVN decides which gateway a Pod uses");
    assert!(told("spec.colour").starts_with("is no known field"));
}

#[test]
fn images_are_pulled_as_asked() {
    let settings = Settings { pull_policy: "Always".to_owned(), ..Settings::default() };
    let (list, _) = render(&objects(&[&text("base.yaml"), &gateway(|_| {}).to_string()]), &settings).unwrap();
    for kind in ["initContainers", "containers"] {
        assert_eq!(list["items"][1]["spec"]["template"]["spec"][kind][0]["imagePullPolicy"], "Always");
    }
}

/// The API server refuses a Deployment with a field that it does not know.
#[test]
fn unknown_fields_of_resources_are_left_out() {
    let gateway = gateway(|gateway| {
        gateway["spec"]["resources"] = json!({"limts": {"cpu": "1"}, "requests": {"cpu": "10m"}});
    });
    let (list, warnings) = render(&objects(&[&text("base.yaml"), &gateway.to_string()]), &Settings::default()).unwrap();
    let resources = &list["items"][1]["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"limits": {"memory": resources["limits"]["memory"]}, "requests": {"cpu": "10m"}}));
    let told = |it: &Problem| it.field.as_deref() == Some("spec.resources.limts");
    assert_eq!(warnings.iter().filter(|it| told(it)).count(), 1, "{warnings:?}");
}

/// A Deployment that was rendered and applied is the one that the controller wants, but for its owner.
#[test]
fn what_is_rendered_is_what_the_controller_applies() {
    let rendered =
        render(&objects(&[&text("base.yaml"), &gateway(|_| {}).to_string()]), &Settings::default()).unwrap().0;
    let owned = gateway(|gateway| gateway["metadata"]["uid"] = json!("u-1"));
    let objects = objects(&[&text("base.yaml"), &owned.to_string()]);
    let (settings, nodes) = (Settings::default(), [].into());
    let planned = plan(&Input {
        objects: &objects,
        gateway: &objects.gateways["default/gateway1"],
        selected: Index::default().selected("default/gateway1"),
        lost: [].into(),
        shared: [].into(),
        taken: None,
        deployments: &[],
        config: None,
        pods: &[],
        nodes: &nodes,
        failure: None,
        settings: &settings,
        now: "t",
    });
    for (ours, mut theirs) in
        [(&rendered["items"][0], planned.config.unwrap()), (&rendered["items"][1], planned.deployment.unwrap())]
    {
        assert!(theirs["metadata"].as_object_mut().unwrap().remove("ownerReferences").is_some());
        assert_eq!(*ours, theirs);
    }
}

/// What is rendered from these specs of `default/<name>`, or what is wrong.
fn specs(all: &[(&str, Value)]) -> Result<(Value, Vec<Problem>), String> {
    let client = "{apiVersion: v1, kind: Namespace, metadata: {name: ns2}}\n---\n\
        {apiVersion: v1, kind: Pod, metadata: {name: client, namespace: ns2, labels: {app: myapp}}, \
        status: {phase: Running, podIPs: [{ip: 10.17.0.10}]}}\n";
    let mut texts = vec![text("base.yaml"), client.to_owned()];
    for (name, fields) in all {
        let edit = |gateway: &mut Value| {
            gateway["metadata"]["name"] = json!(name);
            for (field, value) in fields.as_object().unwrap() {
                gateway["spec"][field] = value.clone();
            }
        };
        texts.push(gateway(edit).to_string());
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    render(&objects(&texts), &Settings::default()).map_err(|errors| errors.to_string())
}

#[test]
fn what_the_api_server_would_refuse_is_refused() {
    let word = "cannot be the name of a Deployment";
    for (name, spec, want) in [
        ("Foo_Bar", json!({}), format!("metadata.name: \"Foo_Bar\" {word}")),
        ("a", json!({"prefix": "A_"}), format!("spec.prefix: \"A_a\" {word}")),
        ("a", json!({"podAntiAffinity": "No"}), "spec.podAntiAffinity: \"No\" is unknown".to_owned()),
        ("a", json!({"resources": {"limits": {"memory": "64Mi"}}}), "spec.resources.limits.memory: 64Mi is".to_owned()),
    ] {
        let error = specs(&[(name, spec)]).unwrap_err();
        assert!(error.contains(&want), "{error}");
    }
}

#[test]
fn two_gateways_have_neither_one_name_nor_one_pod() {
    let error = specs(&[("a-b", json!({})), ("b", json!({"prefix": "a-"}))]).unwrap_err();
    assert!(error.contains("Deployment default/a-b is that of VpcEgressGateway default/a-b already"), "{error}");
    let pod = json!({"selectors": [{"podSelector": {"matchLabels": {"app": "myapp"}}}]});
    let (_, warnings) = specs(&[("a", pod.clone()), ("b", pod)]).unwrap();
    let told = |want: &str| {
        let told: Vec<_> = warnings.iter().filter(|it| it.reason.contains(want)).collect();
        assert!(told.len() == 1 && told[0].object.as_deref() == Some("VpcEgressGateway default/b"), "{warnings:?}");
    };
    told("leaves by VpcEgressGateway default/a");
    for (gateway, other) in [("a", "b"), ("b", "a")] {
        let want = format!("172.17.0.11 is listed by VpcEgressGateway default/{other}, too");
        let object = format!("VpcEgressGateway default/{gateway}");
        let told = warnings.iter().any(|it| it.reason.contains(&want) && it.object.as_deref() == Some(&object));
        assert!(told, "{gateway}: {warnings:?}");
    }
}

#[test]
fn a_node_selector_that_kubernetes_refuses_is_refused_by_field() {
    let term =
        |term: Value| specs(&[("a", json!({"nodeSelector": [term]}))]).map(|_| String::new()).unwrap_or_else(|it| it);
    let expression = |expression: Value| term(json!({"matchExpressions": [expression]}));
    for (got, want) in [
        (term(json!({"matchLabels": {"a b": "c"}})), "matchLabels[a b]: \"a b\" can be the key of no label"),
        (term(json!({"matchLabels": {"a": "b c"}})), "matchLabels[a]: \"b c\" can be the value of no label"),
        (
            expression(json!({"key": "a b", "operator": "Exists"})),
            "matchExpressions[0].key: \"a b\" can be the key of no",
        ),
        (
            expression(json!({"key": "a", "operator": "Is"})),
            "matchExpressions[0].operator: \"Is\" is unknown; write In, ",
        ),
        (expression(json!({"key": "a", "operator": "In"})), "matchExpressions[0].values: In needs values"),
        (
            expression(json!({"key": "a", "operator": "NotIn", "values": ["b", "no such node!"]})),
            "matchExpressions[0].values[1]: \"no such node!\" can be the value of no label",
        ),
        (
            expression(json!({"key": "a", "operator": "Gt", "values": ["many"]})),
            "matchExpressions[0].values[0]: \"many\" is no whole number",
        ),
        (
            expression(json!({"key": "a", "operator": "Gt", "values": ["1", "2"]})),
            "matchExpressions[0].values: Gt needs one",
        ),
        (
            term(json!({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["a"]}]})),
            "matchFields[0].key: \"spec.x\" is no field to choose nodes by; write metadata.name",
        ),
        (
            term(json!({"matchFields": [{"key": "metadata.name", "operator": "Exists"}]})),
            "matchFields[0]: matches a field by In or NotIn with one value",
        ),
    ] {
        assert!(got.contains(&format!("VpcEgressGateway default/a, spec.nodeSelector[0].{want}")), "{got}");
    }
    assert_eq!(expression(json!({"key": "cpus", "operator": "Gt", "values": ["8"]})), "");
    assert_eq!(term(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]})), "");
}
