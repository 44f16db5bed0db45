//! Which gateways a change concerns.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    controller::{
        Settings, plan,
        state::{State, Watched},
    },
    k8s::api::{NetworkAttachmentDefinition, Subnet, Vpc, VpcEgressGateway},
    spec::manifest::values,
};

fn put<K: Watched>(state: &mut State, value: &Value) {
    read::<K>(value).put(state);
}

fn read<K: DeserializeOwned>(value: &Value) -> K {
    serde_json::from_value(value.clone()).unwrap()
}

fn gateway(name: &str, selector: &str) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": name, "uid": format!("u-{name}"), "generation": 1},
        "spec": {"externalSubnet": "macvlan", "selectors": [{"podSelector": {"matchLabels": {"app": selector}}}]},
    })
}

fn client(app: &str) -> Value {
    json!({
        "metadata": {"namespace": "ns1", "name": "c", "labels": {"app": app}},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.17.0.9"}]},
    })
}

/// The recorded cluster with two gateways, and nothing left to look at.
fn state() -> State {
    let mut state = State::new();
    for value in values(&super::text("base.yaml")).unwrap() {
        match value["kind"].as_str().unwrap() {
            "Vpc" => put::<Vpc>(&mut state, &value),
            "Subnet" => put::<Subnet>(&mut state, &value),
            "NetworkAttachmentDefinition" => put::<NetworkAttachmentDefinition>(&mut state, &value),
            _ => put::<Namespace>(&mut state, &value),
        }
    }
    put::<VpcEgressGateway>(&mut state, &gateway("a", "a"));
    put::<VpcEgressGateway>(&mut state, &gateway("b", "b"));
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
    state
}

fn dirty(state: &mut State) -> Vec<String> {
    state.take_dirty().into_iter().collect()
}

#[test]
fn a_pod_concerns_the_gateways_that_have_it() {
    let mut state = state();
    put::<Pod>(&mut state, &client("a"));
    assert_eq!(dirty(&mut state), ["default/a"]);
    put::<Pod>(&mut state, &client("a"));
    assert_eq!(dirty(&mut state), [""; 0]);
    put::<Pod>(&mut state, &client("b"));
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
    Pod::remove("ns1/c", &mut state);
    assert_eq!(dirty(&mut state), ["default/b"]);
}

#[test]
fn a_subnet_concerns_all_unless_only_its_counters_changed() {
    let mut state = state();
    let subnet = |cidr: &str, used: u32| {
        json!({
            "metadata": {"name": "subnet1"},
            "spec": {"protocol": "IPv4", "cidrBlock": cidr, "gateway": "10.17.0.1"},
            "status": {"v4usingIPs": used},
        })
    };
    put::<Subnet>(&mut state, &subnet("10.17.0.0/16", 7));
    assert_eq!(dirty(&mut state), [""; 0]);
    put::<Subnet>(&mut state, &subnet("10.17.0.0/17", 7));
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
    Subnet::remove("subnet1", &mut state);
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
}

#[test]
fn what_belongs_to_a_gateway_concerns_it_alone() {
    let mut state = state();
    let labels = json!({"app": "vpc-egress-gateway", "ovn.kubernetes.io/vpc-egress-gateway": "b"});
    let meta = json!({"namespace": "default", "name": "b", "labels": labels});
    put::<Deployment>(&mut state, &json!({"metadata": meta}));
    assert_eq!(dirty(&mut state), ["default/b"]);
    put::<ConfigMap>(&mut state, &json!({"metadata": meta}));
    assert_eq!(dirty(&mut state), ["default/b"]);
    put::<Pod>(&mut state, &json!({"metadata": meta}));
    assert_eq!(dirty(&mut state), ["default/b"]);
    Deployment::remove("default/b", &mut state);
    ConfigMap::remove("default/b", &mut state);
    Pod::remove("default/b", &mut state);
    assert_eq!(dirty(&mut state), ["default/b"]);
    let keys: BTreeSet<String> = Pod::keys(&state).into_iter().chain(Deployment::keys(&state)).collect();
    assert!(keys.is_empty());
}

#[test]
fn a_deployment_of_another_owner_is_not_taken_for_ours() {
    let mut state = state();
    let seen =
        |state: &State| state.with_input("default/a", &Settings::default(), "t", |input| input.deployments.len());
    let deployment = |uid: &str| {
        json!({"metadata": {"namespace": "default", "name": "a", "labels": {"ovn.kubernetes.io/vpc-egress-gateway": "a"},
            "ownerReferences": [{"apiVersion": "kubeovn.io/v1", "kind": "VpcEgressGateway", "name": "a", "uid": uid}]}})
    };
    put::<Deployment>(&mut state, &deployment("of-an-earlier-one"));
    assert_eq!(seen(&state), Some(0));
    put::<Deployment>(&mut state, &deployment("u-a"));
    assert_eq!(seen(&state), Some(1));
}

#[test]
fn a_write_that_failed_is_told_and_one_that_is_being_deleted_is_left_alone() {
    let mut state = state();
    state.failed("default/a", Some("Deployment: no".to_owned()));
    assert_eq!(dirty(&mut state), ["default/a"]);
    state.failed("default/a", Some("Deployment: no".to_owned()));
    assert_eq!(dirty(&mut state), [""; 0]);
    let plan = state.with_input("default/a", &Settings::default(), "2026-11-27T01:00:00Z", plan).unwrap();
    let status = plan.status.unwrap();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("ReconcileWorkloadFailed", "Deployment: no"));
    state.failed("default/a", None);
    assert_eq!(dirty(&mut state), ["default/a"]);
    let mut going = gateway("a", "a");
    going["metadata"]["deletionTimestamp"] = json!("2026-11-27T01:00:00Z");
    put::<VpcEgressGateway>(&mut state, &going);
    assert!(state.with_input("default/a", &Settings::default(), "t", |_| ()).is_none());
}
