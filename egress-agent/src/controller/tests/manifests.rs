//! What is in manifests/: rights that are spelled out, and samples that hold.

use std::{fs, path::Path};

use serde_json::Value;

use super::{
    objects,
    world::{NOW, World},
};
use crate::{
    controller::{IMAGE, Settings, render::render},
    spec::manifest::values,
};

/// Every document below a folder of manifests/.
fn documents(folder: &str) -> Vec<(String, Value)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                found.extend(values(&text).unwrap().into_iter().map(|value| (path.display().to_string(), value)));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn words(rule: &Value, field: &str) -> Vec<String> {
    rule[field].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn rules() -> Vec<Value> {
    let roles =
        documents("").into_iter().filter(|(_, value)| matches!(value["kind"].as_str(), Some("Role" | "ClusterRole")));
    roles.flat_map(|(_, role)| role["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn rights_are_spelled_out() {
    const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let rules = rules();
    assert!(rules.len() > 5);
    for rule in rules {
        for field in ["apiGroups", "resources", "verbs", "resourceNames"] {
            assert!(words(&rule, field).iter().all(|word| !word.contains('*')), "{rule}");
        }
        assert!(words(&rule, "verbs").iter().all(|verb| VERBS.contains(&verb.as_str())), "{rule}");
        assert!(words(&rule, "resources").iter().all(|resource| !resource.contains("secret")), "{rule}");
    }
}

#[test]
fn what_is_watched_may_be_watched() {
    let rules = rules();
    for (group, resource) in [
        ("kubeovn.io", "vpc-egress-gateways"),
        ("kubeovn.io", "vpcs"),
        ("kubeovn.io", "subnets"),
        ("kubeovn.io", "ippools"),
        ("kubeovn.io", "bgp-confs"),
        ("kubeovn.io", "evpn-confs"),
        ("egress-ebpf.dev", "egressgatewayprofiles"),
        ("k8s.cni.cncf.io", "network-attachment-definitions"),
        ("", "namespaces"),
        ("", "nodes"),
        ("", "pods"),
        ("", "configmaps"),
        ("apps", "deployments"),
    ] {
        let allows = |rule: &&Value| {
            words(rule, "apiGroups").contains(&group.to_owned())
                && words(rule, "resources").contains(&resource.to_owned())
        };
        let verbs: Vec<String> = rules.iter().filter(allows).flat_map(|rule| words(rule, "verbs")).collect();
        assert!(["list", "watch"].iter().all(|verb| verbs.iter().any(|v| v == verb)), "{group} {resource}: {verbs:?}");
    }
}

/// Beside Kube-OVN's controller it has no right to write but its Lease, and is told to observe.
#[test]
fn beside_kube_ovn_nothing_can_be_written() {
    let (_, overlay) = documents("overlays/beside-kube-ovn").remove(0);
    assert_eq!(words(&overlay, "resources"), ["../../crd/egress-ebpf.dev", "../../base"]);
    assert!(overlay["patches"][0]["patch"].as_str().unwrap().contains("value: --mode=observe"));
    let base = documents("base").into_iter().filter(|(_, value)| value["rules"].is_array());
    for rule in base.flat_map(|(_, role)| role["rules"].as_array().unwrap().clone()) {
        let writes = words(&rule, "verbs").iter().any(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
        assert!(!writes || words(&rule, "resources") == ["leases"], "{rule}");
    }
}

#[test]
fn the_controller_has_no_privileges_and_names_one_image() {
    let (_, deployment) = documents("base").into_iter().find(|(_, value)| value["kind"] == "Deployment").unwrap();
    let container = deployment.pointer("/spec/template/spec/containers/0").unwrap();
    assert_eq!(container["image"], IMAGE);
    assert_eq!(container.pointer("/env/0/value").unwrap(), IMAGE);
    assert_eq!(container.pointer("/securityContext/capabilities/drop/0").unwrap(), "ALL");
    assert_eq!(deployment.pointer("/spec/template/spec/securityContext/runAsNonRoot").unwrap(), true);
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
    }
    assert!(words(container, "command").contains(&"--health-port=8081".to_owned()));
}

/// What a field of a Pod is named by belongs to one manager as a whole: without what the API server adds to it, a second apply
/// under another name would be a conflict.
#[test]
fn fields_of_a_pod_are_written_as_they_are_stored() {
    let (_, controller) = documents("base").into_iter().find(|(_, value)| value["kind"] == "Deployment").unwrap();
    let gateway = World::new(|_| {}).plan(NOW).deployment.unwrap();
    let mut seen = 0;
    for deployment in [controller, gateway] {
        let pod = &deployment["spec"]["template"]["spec"];
        let containers =
            ["containers", "initContainers"].map(|list| pod[list].as_array()).into_iter().flatten().flatten();
        let variables = containers.filter_map(|container| container["env"].as_array()).flatten();
        for from in variables.filter_map(|variable| variable.pointer("/valueFrom/fieldRef")) {
            assert_eq!(from["apiVersion"], "v1", "{from}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2 + 5);
}

#[test]
fn samples_can_be_rendered() {
    let read = |name: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples").join(name)).unwrap()
    };
    for files in [
        &["cluster.yaml", "gateway1.yaml", "profile.yaml"][..],
        &["cluster.yaml", "gateway2-dual-stack.yaml"],
        &["cluster.yaml", "macvlan-gateway1.yaml"],
        &["cluster.yaml", "macvlan-gateway1.yaml", "vpc1-gateway2-bfd.yaml"],
        &["cluster.yaml", "bgp-evpn.yaml"],
    ] {
        let texts: Vec<String> = files.iter().map(|file| read(file)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        if let Err(errors) = render(&objects(&texts), &Settings::default()) {
            panic!("{files:?}: {errors}");
        }
    }
}

/// A sample holds the network of its document. Where the lab has one of that name and another content, `kubectl apply` changes it:
/// docs/cluster.md says so, and what to do.
#[test]
fn samples_that_change_the_labs_network_are_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let lab = values(&fs::read_to_string(root.join("tests/src/cluster/manifests/network.yaml")).unwrap()).unwrap();
    let docs = fs::read_to_string(root.join("docs/cluster.md")).unwrap();
    let mut changed = Vec::new();
    for (path, object) in documents("samples") {
        let file = Path::new(&path).file_name().unwrap().to_str().unwrap().to_owned();
        let same = |theirs: &&Value| {
            theirs["kind"] == object["kind"] && theirs["metadata"]["name"] == object["metadata"]["name"]
        };
        // That one is not to be applied.
        if file != "cluster.yaml" && lab.iter().find(same).is_some_and(|theirs| theirs["spec"] != object["spec"]) {
            changed.push((file, object["metadata"]["name"].as_str().unwrap().to_owned()));
        }
    }
    changed.sort();
    assert!(changed.contains(&("gateway1.yaml".to_owned(), "underlay-ext".to_owned())), "{changed:?}");
    for (file, name) in changed {
        let told = docs.split("\n\n").any(|part| [&file, &name].iter().all(|it| part.contains(&format!("`{it}`"))));
        assert!(told && docs.contains("kubectl create -f"), "{file} changes {name}");
    }
}
