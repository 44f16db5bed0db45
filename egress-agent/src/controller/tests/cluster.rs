//! A gateway reads what the controller writes, and comes to what it would come to from the manifests themselves.

use serde_json::Value;

use super::objects;
use crate::{
    controller::{Settings, render::render},
    spec::{self, Desired, Flags, Source, tests as samples},
};

fn rendered(texts: &[&str]) -> Vec<Value> {
    let (list, _) = render(&objects(texts), &Settings::default()).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// What a gateway makes of its ConfigMap.
fn mounted(config: &Value, observed: &spec::Observed) -> Desired {
    let files = config["data"].as_object().unwrap().iter();
    let sources: Vec<Source> =
        files.map(|(name, text)| Source { name: name.clone(), text: text.as_str().unwrap().to_owned() }).collect();
    spec::plan(&spec::parse(&sources).unwrap(), None, observed, &Flags::default()).unwrap()
}

#[test]
fn the_mounted_state_is_that_of_the_manifests() {
    let samples = [
        (samples::GATEWAY1, samples::single(), "default/gateway1"),
        (samples::GATEWAY2, samples::dual(), "default/gateway2"),
    ];
    for (gateway, observed, key) in samples {
        for profile in [None, Some(samples::PROFILE)] {
            let texts: Vec<&str> = [samples::CLUSTER, gateway].into_iter().chain(profile).collect();
            let config = rendered(&texts).remove(0);
            let direct = spec::plan(&objects(&texts), Some(key), &observed, &Flags::default()).unwrap();
            let mounted = mounted(&config, &observed);
            assert!(!direct.selected.is_empty() && !direct.routes.is_empty());
            // What is not served is told in a condition.
            assert_eq!(mounted, Desired { warnings: mounted.warnings.clone(), ..direct });
        }
    }
}

/// In a Vpc of its own the gateway does not need to see the Vpc.
#[test]
fn custom_vpc() {
    let input = super::text("40-custom-vpc-bfd/input.yaml");
    let config = rendered(&[&super::text("base.yaml"), &input]).remove(0);
    let observed = samples::observed(&["eth0 192.168.0.5/24", "net1 172.17.0.9/16"]);
    let desired = mounted(&config, &observed);
    assert_eq!(desired.internal.gateway4, Some("192.168.0.1".parse().unwrap()));
    assert_eq!(desired.warnings, [""; 0]);
}
