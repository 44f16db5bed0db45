//! What is written, and when nothing is.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::world::{LATER, NOW, World, client, gateway_pod};
use crate::controller::Plan;

#[test]
fn from_nothing_to_completed_and_then_nothing_is_written() {
    let mut world = World::new(|_| {});
    let first = world.apply(NOW);
    assert!(first.config.is_some() && first.deployment.is_some() && first.ovn.is_empty());
    let owner = json!([{"apiVersion": "kubeovn.io/v1", "kind": "VpcEgressGateway", "name": "gateway1", "uid": "u-1"}]);
    assert_eq!(first.deployment.unwrap()["metadata"]["ownerReferences"], owner);
    assert_eq!(first.config.unwrap()["metadata"]["ownerReferences"], owner);
    assert_eq!((world.ready().0, world.ready().1), ("Processing", "Processing"));
    assert_eq!(first.events.len(), 1);
    world.apply(NOW);
    assert_eq!(world.ready().2, "Waiting for Deployment gateway1 to be ready");
    world.pods.push(gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2"));
    let told = world.apply(LATER);
    assert_eq!(told.touch.len(), 1);
    assert_eq!(told.events.iter().map(|event| event.reason.as_str()).collect::<Vec<_>>(), ["ReconcileSuccess"]);
    let status = world.gateway().status.clone().unwrap();
    assert_eq!((status.ready, status.phase.as_str(), status.replicas), (true, "Completed", Some(1)));
    assert_eq!(
        (status.internal_ips, status.external_ips),
        (vec!["10.16.0.7".to_owned()], vec!["172.17.0.11".to_owned()])
    );
    assert_eq!(status.label_selector, "app=vpc-egress-gateway,ovn.kubernetes.io/vpc-egress-gateway=gateway1");
    assert_eq!(status.workload.unwrap().nodes, ["node2"]);
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((ready.observed_generation, ready.last_transition_time.as_str()), (Some(1), LATER));
    let valid = status.conditions.iter().find(|c| c.type_ == "Validated").unwrap();
    assert_eq!(valid.last_transition_time, NOW);
    assert_eq!(world.plan("2026-11-28T00:00:00Z"), Plan::default());
}

#[test]
fn the_order_of_pods_does_not_matter() {
    let mut world = World::new(|gateway| gateway["spec"]["replicas"] = json!(2));
    world.pods = vec![
        gateway_pod("x", "10.16.0.10", "172.17.0.11", "node1"),
        gateway_pod("y", "10.16.0.9", "172.17.0.12", "node2"),
    ];
    world.settle(NOW);
    assert_eq!(world.gateway().status.as_ref().unwrap().internal_ips, ["10.16.0.9", "10.16.0.10"]);
    assert_eq!(world.gateway().status.as_ref().unwrap().external_ips, ["172.17.0.12", "172.17.0.11"]);
    world.pods.reverse();
    assert_eq!(world.plan(LATER), Plan::default());
}

#[test]
fn what_running_gateways_take_over_makes_no_new_pods() {
    let mut world = World::new(|_| {});
    world.pods.push(gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2"));
    world.settle(NOW);
    let edits: [fn(&mut Value); 6] = [
        |spec| spec["policies"][1]["ipBlocks"] = json!(["10.18.0.0/16", "10.19.0.0/16"]),
        |spec| spec["policies"][1]["snat"] = json!(true),
        |spec| spec["selectors"][0] = json!({"podSelector": {"matchLabels": {"a": "b"}}}),
        |spec| spec["policies"] = json!([{"snat": true, "subnets": ["ovn-default"]}]),
        |spec| spec["bfd"] = json!({"enabled": false, "minTX": 5}),
        |spec| spec["trafficPolicy"] = json!("Local"),
    ];
    for (i, edit) in edits.iter().enumerate() {
        let other = World::new(|gateway| edit(&mut gateway["spec"]));
        let mut edited = World { objects: other.objects, ..World::new(|_| {}) };
        edited.deployments.clone_from(&world.deployments);
        edited.config.clone_from(&world.config);
        edited.pods.clone_from(&world.pods);
        let plan = edited.plan(LATER);
        assert_eq!(plan.deployment, None, "edit {i}");
        assert!(i > 3 || i == 2 || plan.config.is_some() && plan.touch.len() == 1, "edit {i}");
    }
    // And a Pod that comes.
    world.index.pod(&client("c"));
    let plan = world.plan(LATER);
    assert!(plan.deployment.is_none() && plan.config.is_some() && plan.touch.len() == 1);
    assert!(plan.config.unwrap()["data"]["pods.json"].as_str().unwrap().contains("10.17.0.9"));
}

#[test]
fn replicas_0_stays_0() {
    let mut world = World::new(|gateway| gateway["spec"]["replicas"] = json!(0));
    let plan = world.apply(NOW);
    assert_eq!(plan.deployment.unwrap()["spec"]["replicas"], 0);
    world.settle(NOW);
    assert_eq!((world.ready().0, world.ready().1), ("Completed", "ReconcileSuccess"));
    assert_eq!(world.gateway().status.as_ref().unwrap().replicas, Some(0));
}

#[test]
fn a_mistake_names_its_field_and_leaves_what_runs() {
    let mut world = World::new(|_| {});
    world.pods.push(gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2"));
    world.settle(NOW);
    world.gateway_mut().spec.policies[1].ip_blocks = vec!["10.18.0.0/33".to_owned(), "fd00::/64".to_owned()];
    world.gateway_mut().metadata.generation = Some(2);
    let plan = world.apply(LATER);
    assert!(plan.deployment.is_none() && plan.config.is_none() && plan.remove.is_empty() && plan.touch.is_empty());
    let (status, reason, message) = world.condition("Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ReconcileWorkloadFailed"));
    assert!(message.contains("spec.policies[1].ipBlocks[0]: \"10.18.0.0/33\" is no CIDR"), "{message}");
    assert!(message.contains("spec.policies[1].ipBlocks[1]: fd00::/64 is IPv6, a family with no gateway"), "{message}");
    assert!(message.ends_with("; the last valid state is kept"), "{message}");
    assert_eq!(world.condition("Validated").1, "InvalidSpec");
    assert_eq!(plan.events.iter().filter(|event| event.warning).count(), 2);
    // What runs is still there, with its addresses.
    let status = world.gateway().status.clone().unwrap();
    assert_eq!(
        (status.internal_ips.as_slice(), status.external_ips.as_slice()),
        (&["10.16.0.7".to_owned()][..], &["172.17.0.11".to_owned()][..])
    );
    assert_eq!(status.workload.unwrap().nodes, ["node2"]);
    assert_eq!(world.plan("2026-11-28T00:00:00Z"), Plan::default());
}

#[test]
fn bfd_without_a_port_has_kube_ovns_reason_and_recovers() {
    let mut world = World::new(|gateway| gateway["spec"]["bfd"] = json!({"enabled": true}));
    world.settle(NOW);
    assert_eq!(world.condition("Validated").1, "VpcBfdPortNotEnabled");
    let vpc = &mut world.objects.vpcs.get_mut("ovn-cluster").unwrap().object;
    vpc.spec.bfd_port = Some(serde_json::from_value(json!({"enabled": true, "ip": "10.255.255.255"})).unwrap());
    world.pods.push(gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2"));
    world.settle(LATER);
    assert_eq!(world.condition("Validated").0, "True");
    assert_eq!(world.condition("FullyServed").2, "not served yet: spec.bfd: OVN's probes are not answered");
    assert_eq!(world.ready().0, "Completed");
}

#[test]
fn pods_that_failed_do_not_count_and_those_that_wait_are_named() {
    let mut world = World::new(|_| {});
    let mut failed = gateway_pod("gateway1-f", "10.16.0.6", "172.17.0.12", "node1");
    failed.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    world.pods = vec![failed, gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2")];
    world.settle(NOW);
    assert_eq!(world.ready().0, "Completed");
    world.pods[1].metadata.annotations.as_mut().unwrap().remove("k8s.v1.cni.cncf.io/network-status");
    world.settle(LATER);
    let (phase, reason, message) = world.ready();
    assert_eq!((phase, reason), ("Processing", "WorkloadNetworkNotReady"));
    assert!(message.contains("Pod gateway1-a has no address of network default/eth1"), "{message}");
}

#[test]
fn a_node_that_dies_is_named_until_its_pod_is_replaced() {
    let mut world = World::new(|_| {});
    world.pods = vec![gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2")];
    world.settle(NOW);
    let named = "Pod gateway1-a is on Node node2, which is not ready";
    // First the Node is told of, then the Pod, then the Deployment counts it.
    world.nodes.insert("node2".to_owned(), false);
    world.settle(LATER);
    assert_eq!(world.ready(), ("Processing", "WorkloadNetworkNotReady", named.to_owned()));
    world.deployments[0].status.as_mut().unwrap().available_replicas = None;
    world.settle(LATER);
    let message = format!("Waiting for Deployment gateway1 to be ready; {named}");
    assert_eq!(world.ready(), ("Processing", "Processing", message));
}

#[test]
fn a_deployment_that_is_gone_or_edited_is_made_again() {
    let mut world = World::new(|_| {});
    world.settle(NOW);
    let mut edited = world.deployments[0].clone();
    edited.spec.as_mut().unwrap().replicas = Some(3);
    world.deployments = vec![edited];
    assert!(world.plan(LATER).deployment.is_some());
    world.deployments.clear();
    assert!(world.plan(LATER).deployment.is_some());
}

/// A gateway reads every file of its ConfigMap. An apply leaves the keys of other managers.
#[test]
fn what_others_put_into_the_config_map_is_removed() {
    let mut world = World::new(|_| {});
    world.settle(NOW);
    let config = world.config.as_mut().unwrap();
    config.metadata.uid = Some("u-config".to_owned());
    let right = config.clone();
    config.data.as_mut().unwrap().insert("extra.yaml".to_owned(), "foo".to_owned());
    let binary: ConfigMap = serde_json::from_value(json!({"binaryData": {"more": "AAAA"}})).unwrap();
    config.binary_data = binary.binary_data;
    let plan = world.plan(LATER);
    let want = json!({"metadata": {"uid": "u-config"}, "data": {"extra.yaml": null}, "binaryData": {"more": null}});
    assert_eq!(plan.foreign, Some(want));
    // What is applied again and again is watched for by its hash.
    assert!(plan.config.is_some());
    world.settle(LATER);
    let config = world.config.as_ref().unwrap();
    assert_eq!((&config.data, config.binary_data.iter().flatten().count()), (&right.data, 0));
}

/// The API server stores defaults and quantities in its own form; that is no difference.
#[test]
fn what_the_api_server_leaves_out_is_no_difference() {
    let mut world = World::new(|gateway| {
        gateway["spec"]["tolerations"] =
            json!([{"key": "a", "operator": "Equal", "value": ""}, {"key": "", "operator": "Exists"}]);
    });
    world.settle(NOW);
    let mut stored = serde_json::to_value(&world.deployments[0]).unwrap();
    let tolerations = stored.pointer_mut("/spec/template/spec/tolerations").unwrap();
    *tolerations = json!([{"key": "a", "operator": "Equal"}, {"operator": "Exists"}]);
    world.deployments = vec![serde_json::from_value(stored).unwrap()];
    assert_eq!(world.plan(LATER), Plan::default());
}

#[test]
fn what_the_api_server_adds_is_no_difference() {
    let mut world = World::new(|_| {});
    world.settle(NOW);
    let mut stored = serde_json::to_value(&world.deployments[0]).unwrap();
    stored["spec"]["revisionHistoryLimit"] = json!(10);
    stored["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
    let container = stored.pointer_mut("/spec/template/spec/containers/0").unwrap();
    container["terminationMessagePath"] = json!("/dev/termination-log");
    container["livenessProbe"]["successThreshold"] = json!(1);
    container["resources"]["limits"]["memory"] = json!("0.25Gi");
    world.deployments = vec![serde_json::from_value(stored).unwrap()];
    assert_eq!(world.plan(LATER), Plan::default());
}

/// What somebody wrote into the resources is put back like anything else; what the API server made of ours is not.
#[test]
fn resources_are_compared_by_amount() {
    let mut world = World::new(|gateway| {
        gateway["spec"]["resources"] = json!({
            "limits": {"memory": "0.25Gi", "cpu": 2}, "requests": {"cpu": "1000m", "example.com/odd": "1_0"},
        });
    });
    world.settle(NOW);
    let stored = serde_json::to_value(&world.deployments[0]).unwrap();
    let mut with = |edit: &dyn Fn(&mut Value)| {
        let mut edited = stored.clone();
        edit(edited.pointer_mut("/spec/template/spec/containers/0/resources").unwrap());
        world.deployments = vec![serde_json::from_value(edited).unwrap()];
        world.plan(LATER).deployment.is_some()
    };
    assert!(!with(&|_| {}));
    assert!(!with(&|resources| *resources = json!({
        "limits": {"memory": "256Mi", "cpu": "2"}, "requests": {"cpu": "1", "memory": "256Mi", "example.com/odd": "10"},
    })));
    assert!(with(&|resources| resources["limits"]["memory"] = json!("512Mi")));
    assert!(with(&|resources| resources["limits"]["memory"] = json!("256M")));
    assert!(with(&|resources| resources["requests"]["cpu"] = json!("1001m")));
    assert!(with(&|resources| resources["requests"]["cpu"] = json!("some")));
    assert!(with(&|resources| drop(resources["limits"].as_object_mut().unwrap().remove("memory"))));
    assert!(with(&|resources| *resources = json!({})));
}

#[test]
fn another_prefix_leaves_no_second_deployment() {
    let mut world = World::new(|gateway| gateway["spec"]["prefix"] = json!("a-"));
    world.settle(NOW);
    world.gateway_mut().spec.prefix.clear();
    let plan = world.plan(LATER);
    assert_eq!(plan.deployment.unwrap()["metadata"]["name"], "gateway1");
    assert!(plan.remove.is_empty(), "the old one carries the traffic until the new one can");
    world.apply(LATER);
    let unready = world.deployments.last_mut().unwrap().status.as_mut().unwrap();
    let ready = unready.available_replicas.replace(0);
    assert!(world.plan(LATER).remove.is_empty());
    world.deployments.last_mut().unwrap().status.as_mut().unwrap().available_replicas = ready;
    assert_eq!(world.plan(LATER).remove, ["a-gateway1"]);
}

/// Once for a gateway, however many Pods there are, and in words that stay when another one comes.
#[test]
fn pods_of_a_family_without_a_gateway_are_told() {
    let mut world = World::new(|_| {});
    let dual = |name: &str, last: u8| {
        let mut pod = client(name);
        let ips = json!([{"ip": format!("10.17.0.{last}")}, {"ip": format!("fd00:10:17::{last}")}]);
        pod.status.as_mut().unwrap().pod_ips = serde_json::from_value(ips).unwrap();
        pod
    };
    world.index.pod(&client("a"));
    world.settle(NOW);
    assert_eq!(world.condition("Validated").2, "");
    world.index.pod(&dual("b", 20));
    world.settle(NOW);
    let want = "spec.selectors: selected Pods have IPv6 addresses, a family with no gateway: internal Subnet ovn-default has no \
                IPv6 CIDR; what they send by IPv6 is not served";
    assert_eq!(world.condition("Validated"), ("True".to_owned(), "Valid".to_owned(), want.to_owned()));
    world.index.pod(&dual("c", 21));
    let plan = world.apply(LATER);
    assert!(plan.status.is_none() && plan.config.is_some());
    for gone in ["ns1/b", "ns1/c"] {
        world.index.without_pod(gone);
    }
    world.settle(LATER);
    assert_eq!(world.condition("Validated").2, "");
}

#[test]
fn more_pods_than_a_config_map_holds() {
    let mut world = World::new(|_| {});
    world.settle(NOW);
    for i in 0..12_000 {
        let mut pod = client(&format!("client-with-a-rather-long-name-{i}"));
        pod.status.as_mut().unwrap().pod_ips =
            serde_json::from_value(json!([{"ip": format!("10.17.{}.{}", i / 250, i % 250)}])).unwrap();
        world.index.pod(&pod);
    }
    let plan = world.apply(LATER);
    assert!(plan.config.is_none() && plan.deployment.is_none());
    let (_, reason, message) = world.condition("SelectorsEffective");
    assert!(reason == "TooManyPods" && message.starts_with("12000 Pods are selected"), "{message}");
}

#[test]
fn memory_is_what_the_flow_table_needs() {
    let limit = |edit: fn(&mut Value)| {
        let plan = World::new(edit).plan(NOW);
        let resources = plan.deployment.unwrap().pointer("/spec/template/spec/containers/0/resources").unwrap().clone();
        resources["limits"]["memory"].as_str().unwrap().to_owned()
    };
    assert_eq!(limit(|_| {}), "256Mi");
    assert_eq!(limit(|gateway| gateway["spec"]["resources"] = json!({"limits": {"cpu": 1}})), "212Mi");
    assert_eq!(limit(|gateway| gateway["spec"]["resources"] = json!({"requests": {"memory": "1Gi"}})), "1024Mi");
    assert_eq!(limit(|gateway| drop(gateway["spec"].as_object_mut().unwrap().remove("resources"))), "212Mi");
}

/// Others may put a sidecar, a variable or a mount into it; what is ours must be as we wrote it.
#[test]
fn what_others_add_is_theirs() {
    let mut world = World::new(|_| {});
    world.pods.push(gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2"));
    world.settle(NOW);
    let stored = serde_json::to_value(&world.deployments[0]).unwrap();
    let container = "/spec/template/spec/containers/0";
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut edited = stored.clone();
        edit(&mut edited);
        World { deployments: vec![serde_json::from_value(edited).unwrap()], ..World::new(|_| {}) }
    };
    let insert = |at: &'static str, item: Value| {
        move |stored: &mut Value| stored.pointer_mut(at).unwrap().as_array_mut().unwrap().insert(0, item.clone())
    };
    for added in [
        insert("/spec/template/spec/containers/0/env", json!({"name": "HTTPS_PROXY", "value": "p"})),
        insert("/spec/template/spec/containers", json!({"name": "mesh", "image": "m"})),
        insert("/spec/template/spec/containers/0/volumeMounts", json!({"name": "config", "mountPath": "/elsewhere"})),
        insert("/spec/template/spec/volumes", json!({"name": "more", "emptyDir": {}})),
        insert("/metadata/ownerReferences", json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x"})),
    ] {
        assert_eq!(with(&added).plan(NOW).deployment, None);
    }
    for changed in [
        (format!("{container}/env/0/valueFrom/fieldRef/fieldPath"), json!("metadata.name")),
        (format!("{container}/image"), json!("another")),
        (format!("{container}/volumeMounts/0/readOnly"), json!(false)),
        (format!("{container}/command"), json!(["egress-agent"])),
        (format!("{container}/securityContext/capabilities/add"), json!(["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN"])),
    ] {
        let (at, value) = changed;
        assert!(
            with(&|stored| *stored.pointer_mut(&at).unwrap() = value.clone()).plan(NOW).deployment.is_some(),
            "{at}"
        );
    }
}

/// A Deployment that was applied and that an admission webhook changes each time is not waited for.
#[test]
fn what_a_webhook_changes_does_not_keep_a_gateway_from_being_ready() {
    let mut world = World::new(|_| {});
    world.pods.push(gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2"));
    world.settle(NOW);
    let spec = world.deployments[0].spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    spec.containers[0].image = Some("mirror.example/egress-agent".to_owned());
    assert_eq!(world.plan(LATER).status, None);
    assert_eq!(world.ready().0, "Completed");
}

#[test]
fn a_name_that_is_anothers_is_refused() {
    let mut world = World::new(|_| {});
    world.taken = Some("Deployment default/gateway1 is there already".to_owned());
    let plan = world.apply(NOW);
    assert!(plan.deployment.is_none() && plan.config.is_none() && plan.touch.is_empty());
    assert_eq!(world.condition("Validated").1, "NameTaken");
    assert_eq!(world.ready().2, "metadata.name: Deployment default/gateway1 is there already");
    world.taken = None;
    world.settle(LATER);
    assert_eq!(world.condition("Validated").0, "True");
}

#[test]
fn a_pod_on_a_node_that_is_gone_does_not_count() {
    let mut world = World::new(|_| {});
    world.pods.push(gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2"));
    world.settle(NOW);
    world.nodes.insert("node2".to_owned(), false);
    world.settle(LATER);
    assert_eq!(
        (world.ready().1, &*world.ready().2),
        ("WorkloadNetworkNotReady", "Pod gateway1-a is on Node node2, which is not ready")
    );
    assert_eq!(world.gateway().status.as_ref().unwrap().workload.as_ref().unwrap().nodes, ["node2"]);
    world.nodes.remove("node2");
    world.settle(LATER);
    assert_eq!(world.ready().2, "Pod gateway1-a is on Node node2, which is gone");
    let status = world.gateway().status.as_ref().unwrap();
    assert!(status.internal_ips.is_empty() && status.workload.as_ref().unwrap().nodes.is_empty());
    world.nodes.insert("node2".to_owned(), true);
    world.settle(LATER);
    assert_eq!(world.ready().0, "Completed");
}

/// Pods of the network that the gateway had before still say what they have.
#[test]
fn a_pods_own_network_is_read() {
    let mut world = World::new(|_| {});
    let mut pod = gateway_pod("gateway1-a", "10.16.0.7", "172.17.0.11", "node2");
    let annotations = pod.metadata.annotations.as_mut().unwrap();
    for value in annotations.values_mut() {
        *value = value.replace("default/eth1", "default/before");
    }
    world.pods.push(pod);
    world.settle(NOW);
    assert_eq!(world.gateway().status.as_ref().unwrap().external_ips, ["172.17.0.11"]);
}
