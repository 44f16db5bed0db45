//! How the controller behaves while the API server does not, and in which mode.

mod server;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::{Client, Config};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Mode, health::Health, mode::decide, work::Work};
use crate::{
    controller::{Failure, Settings},
    k8s::{
        api::{NetworkAttachmentDefinition, Subnet, Vpc, VpcEgressGateway},
        watch::Watched as _,
        write::Writer,
    },
};

/// A controller whose API server takes every connection and answers nothing.
async fn work(mode: Mode) -> (Work, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", server.local_addr().unwrap());
    let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
    let mut work = Work::new(mode, Writer::new(client, "test"), Settings::default(), Arc::new(Health::new()));
    let gateway: VpcEgressGateway = serde_json::from_value(json!({
        "apiVersion": "kubeovn.io/v1",
        "kind": "VpcEgressGateway",
        "metadata": {"namespace": "default", "name": "a", "uid": "u-a", "generation": 1},
        "spec": {"externalSubnet": "nope", "policies": [{"ipBlocks": ["10.0.0.0/8"]}]},
    }))
    .unwrap();
    gateway.put(&mut work.state);
    (work, server)
}

/// Time that nothing happens in is passed over, so this does not wait.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_not_waited_for() {
    let (mut work, _server) = work(Mode::Managed).await;
    tokio::time::timeout(Duration::from_secs(120), work.reconcile()).await.expect("it waits for ever");
    let due = work.due().expect("it is tried again");
    assert!(due <= tokio::time::Instant::now() + Duration::from_secs(1));
    let failure =
        work.state.with_input("default/a", &Settings::default(), "t", |input| input.failure.map(|it| it.told.clone()));
    assert_eq!(failure.flatten().unwrap(), "the API server took longer than 30 s");
}

/// Makes the gateway right, by the recorded cluster.
fn valid(work: &mut Work) {
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/kube-ovn/base.yaml");
    for value in crate::spec::manifest::values(&std::fs::read_to_string(base).unwrap()).unwrap() {
        match value["kind"].as_str().unwrap() {
            "Vpc" => serde_json::from_value::<Vpc>(value).unwrap().put(&mut work.state),
            "Subnet" => serde_json::from_value::<Subnet>(value).unwrap().put(&mut work.state),
            "NetworkAttachmentDefinition" => {
                serde_json::from_value::<NetworkAttachmentDefinition>(value).unwrap().put(&mut work.state);
            }
            _ => {}
        }
    }
    let mut gateway = work.state.gateway("default/a").unwrap().clone();
    gateway.spec.external_subnet = "macvlan".to_owned();
    gateway.put(&mut work.state);
}

/// An edit of a policy must not wait for a Deployment that the API server refuses.
#[tokio::test]
async fn a_refused_deployment_keeps_nothing_else_from_being_written() {
    let (mut work, server) = work(Mode::Managed).await;
    valid(&mut work);
    let labels = json!({"app": "vpc-egress-gateway", "ovn.kubernetes.io/vpc-egress-gateway": "a"});
    for name in ["p1", "p2"] {
        let pod = json!({"metadata": {"namespace": "default", "name": name, "labels": labels}});
        serde_json::from_value::<Pod>(pod).unwrap().put(&mut work.state);
    }
    let asked = server::refusing(server, &["/deployments/", "/pods/p1"], None);
    tokio::time::timeout(Duration::from_secs(20), work.reconcile()).await.expect("it waits for ever");
    let asked: Vec<String> = asked.lock().unwrap().iter().filter(|line| line.starts_with("PATCH")).cloned().collect();
    let of = ["/configmaps/a-egress", "/pods/p1", "/pods/p2", "/deployments/a", "/vpc-egress-gateways/a/status"];
    assert_eq!(asked.len(), of.len(), "{asked:?}");
    assert!(asked.iter().zip(of).all(|(asked, of)| asked.contains(of)), "{asked:?}");
    let failure =
        work.state.with_input("default/a", &Settings::default(), "t", |input| input.failure.map(|it| it.told.clone()));
    let want = "patch Pod default/p1: no such thing; Deployment default/a: no such thing";
    assert_eq!(failure.flatten().unwrap(), want);
    assert!(work.due().is_some(), "it is tried again");
}

/// An object without our label is not watched: it is seen when ours is to be written.
#[tokio::test]
async fn a_name_that_is_found_to_be_anothers_is_told_as_such() {
    let (mut work, server) = work(Mode::Managed).await;
    valid(&mut work);
    let asked = server::refusing(server, &[], Some("/configmaps?"));
    tokio::time::timeout(Duration::from_secs(20), work.reconcile()).await.expect("it waits for ever");
    let plan = work.state.with_input("default/a", &Settings::default(), "t", crate::controller::plan).unwrap();
    let conditions = plan.status.unwrap().conditions;
    let said = |kind: &str| {
        let found = conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    };
    let why = "ConfigMap default/a-egress is there already and has another owner: give this gateway another name or prefix, or remove that object";
    let no = |reason: &str| ("False".to_owned(), reason.to_owned(), why.to_owned());
    assert_eq!(said("Validated"), no("NameTaken"));
    assert_eq!(said("Ready"), no("ReconcileWorkloadFailed"));
    let written = asked.lock().unwrap().iter().filter(|line| line.starts_with("PATCH")).cloned().collect::<Vec<_>>();
    assert!(written.len() == 1 && written[0].contains("/vpc-egress-gateways/a/status"), "{written:?}");
    assert!(work.due().is_some() && plan.config.is_some(), "it is tried again");
}

/// Who adds his key again at once does not make it a quarrel without a pause.
#[tokio::test]
async fn a_foreign_key_of_the_config_map_is_removed_once_at_a_time() {
    let (mut work, server) = work(Mode::Managed).await;
    valid(&mut work);
    let plan = work.state.with_input("default/a", &Settings::default(), "t", crate::controller::plan).unwrap();
    let mut config = plan.config.unwrap();
    config["metadata"]["uid"] = json!("u-config");
    config["data"]["extra.yaml"] = json!("foo");
    serde_json::from_value::<ConfigMap>(config).unwrap().put(&mut work.state);
    let asked = server::refusing(server, &[], None);
    for _ in 0..2 {
        work.state.again("default/a");
        work.reconcile().await;
    }
    let all: Vec<String> = asked.lock().unwrap().iter().filter(|line| line.contains("configmaps/")).cloned().collect();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].contains("fieldManager=") && !all[1].contains("fieldManager="), "{all:?}");
    assert!(work.due().is_some(), "it is looked at again");
}

/// Where everything is right already nothing is written that could say so.
#[tokio::test(start_paused = true)]
async fn a_failure_that_is_over_is_forgotten() {
    let (mut work, _server) = work(Mode::Managed).await;
    let now = "2026-11-27T01:00:00Z";
    work.state.failed("default/a", Some(Failure { told: "Deployment: no".to_owned(), taken: false }));
    // The status says so already.
    let plan = work.state.with_input("default/a", &Settings::default(), now, crate::controller::plan).unwrap();
    let mut gateway = work.state.gateway("default/a").unwrap().clone();
    gateway.status = plan.status;
    gateway.put(&mut work.state);
    work.reconcile().await;
    assert!(work.due().is_none(), "it is tried again for ever");
    let failure = work.state.with_input("default/a", &Settings::default(), now, |input| input.failure.is_some());
    assert_eq!(failure, Some(false));
}

#[tokio::test]
async fn observe_writes_nothing() {
    let (mut work, server) = work(Mode::Observe).await;
    work.reconcile().await;
    let asked = tokio::time::timeout(Duration::from_millis(200), server.accept()).await;
    assert!(asked.is_err() && work.due().is_none());
    assert!(work.state.take_dirty().is_empty());
    serde_json::from_value::<Node>(json!({"metadata": {"name": "n"}})).unwrap().put(&mut work.state);
    assert!(work.state.take_dirty().is_empty());
}

#[test]
fn the_mode_is_observe_if_there_is_anything_of_kube_ovn() {
    let object = |kind: &str| Some(format!("{kind} kube-system/kube-ovn-controller"));
    for (found, mode, why) in [
        ([None, None], Mode::Managed, "there is neither a Deployment nor a Lease kube-ovn-controller"),
        ([object("Deployment"), None], Mode::Observe, "there is a Deployment kube-system/kube-ovn-controller"),
        ([None, object("Lease")], Mode::Observe, "there is a Lease kube-system/kube-ovn-controller"),
    ] {
        assert_eq!(decide(&found), (mode, why.to_owned()));
    }
}

#[test]
fn health_is_that_of_the_loop() {
    let health = Health::new();
    health.turn();
    let says = |path: &str, seconds: u64| {
        health.answer(path, Duration::from_secs(seconds)).0.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(
        [says("/healthz", 30), says("/healthz", 300), says("/readyz", 1), says("/", 1)],
        ["200", "503", "503", "404"]
    );
    health.listed();
    assert_eq!(says("/readyz", 1), "200");
}

#[test]
fn metrics_tell_the_mode_and_who_leads() {
    let health = Health::new();
    let values = || -> Vec<String> {
        let text = health.answer("/metrics", Duration::ZERO).1;
        text.lines().filter(|line| !line.starts_with('#')).map(ToOwned::to_owned).collect()
    };
    let wanted = |managed: u8, observe: u8, leader: u8| {
        [
            format!("egress_gateway_controller_mode{{mode=\"managed\"}} {managed}"),
            format!("egress_gateway_controller_mode{{mode=\"observe\"}} {observe}"),
            format!("egress_gateway_controller_leader {leader}"),
        ]
    };
    assert_eq!(values(), wanted(0, 0, 0));
    health.mode(Mode::Observe);
    health.leads(true);
    assert_eq!(values(), wanted(0, 1, 1));
}
