//! `egress-agent render`.

use serde_json::{Value, json};

use super::{objects, text};
use crate::controller::{Input, Settings, plan, render::render, select::Index};

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
