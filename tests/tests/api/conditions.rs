//! A gateway's status from its first moment on, its Events, and that nothing is written when nothing changes.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::cluster::api::CONTROLLER;
use egress_tests::eventually;
use serde_json::{Value, json};

use super::stage::{OBSERVER, PATIENCE, condition, gateway};
use super::{skip_api, stage};

fn ips(gateway: &Value) -> (&Value, &Value) {
    (&gateway["status"]["internalIPs"], &gateway["status"]["externalIPs"])
}

#[test]
fn from_processing_to_completed_and_through_a_mistake() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    stage.apply(&gateway("life"))?;
    stage.condition("life", "Ready", "Processing")?;
    eventually("its Deployment is there", PATIENCE, || Ok(stage.get("deployment life").is_ok()))?;
    stage.run("life", 1)?;
    let ready = stage.condition("life", "Ready", "ReconcileSuccess")?;
    ensure!(ready["status"] == "True" && ready["observedGeneration"] == 1, "{ready}");
    let done = stage.get("veg life")?;
    ensure!(ips(&done) == (&json!(["10.16.0.11"]), &json!(["172.17.0.11"])), "{done}");
    ensure!(done["status"]["phase"] == "Completed" && done["status"]["replicas"] == 1, "{done}");
    ensure!(done["status"]["workload"]["nodes"] == json!(["node1"]), "{done}");
    // A person's view.
    let table = stage.kubectl("get veg life -o wide")?;
    let (head, row) = table.trim().split_once('\n').context("a table")?;
    let columns = [
        "NAME",
        "VPC",
        "REPLICAS",
        "BFD ENABLED",
        "EXTERNAL SUBNET",
        "PHASE",
        "READY",
        "INTERNAL IPS",
        "EXTERNAL IPS",
        "WORKING NODES",
        "AGE",
    ];
    ensure!(head.split("  ").map(str::trim).filter(|it| !it.is_empty()).eq(columns), "{head}");
    let shown: Vec<&str> = row.split_whitespace().collect();
    ensure!(
        shown[..10]
            == [
                "life",
                "ovn-cluster",
                "1",
                "false",
                "ext",
                "Completed",
                "true",
                r#"["10.16.0.11"]"#,
                r#"["172.17.0.11"]"#,
                r#"["node1"]"#
            ],
        "{row}"
    );
    let mut wrong = gateway("life");
    wrong["spec"]["externalSubnet"] = json!("nope");
    stage.apply(&wrong)?;
    let told = stage.condition("life", "Ready", "ReconcileWorkloadFailed")?;
    ensure!(told["observedGeneration"] == 2 && told["lastTransitionTime"] != Value::Null, "{told}");
    ensure!(told["message"].as_str().is_some_and(|it| it.ends_with("the last valid state is kept")), "{told}");
    let kept = stage.get("veg life")?;
    ensure!(ips(&kept) == ips(&done) && kept["status"]["workload"] == done["status"]["workload"], "{kept}");
    ensure!(stage.get("deployment life")?["metadata"]["generation"] == 1, "the Deployment was changed");
    stage.apply(&gateway("life"))?;
    stage.condition("life", "Validated", "Valid")?;
    let again = stage.condition("life", "Ready", "ReconcileSuccess")?;
    ensure!(again["observedGeneration"] == 3, "{again}");
    // Its Node dies.
    stage.patch(
        "node node1",
        "status",
        &json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
    )?;
    stage.condition("life", "Ready", "WorkloadNetworkNotReady")?;
    stage.patch("node node1", "status", &json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}))?;
    stage.condition("life", "Ready", "ReconcileSuccess")?;
    let events = stage.get("events.events.k8s.io")?;
    let told = |kind: &str, reason: &str| {
        let all = events["items"].as_array();
        all.is_some_and(|all| {
            all.iter().any(|it| it["regarding"]["name"] == "life" && it["type"] == kind && it["reason"] == reason)
        })
    };
    for (kind, reason) in [
        ("Normal", "Processing"),
        ("Normal", "ReconcileSuccess"),
        ("Warning", "ReconcileWorkloadFailed"),
        ("Warning", "InvalidSpec"),
        ("Normal", "Valid"),
        ("Warning", "WorkloadNetworkNotReady"),
    ] {
        ensure!(told(kind, reason), "no Event {kind} {reason}: {events}");
    }
    Ok(())
}

#[test]
fn nothing_is_asked_or_written_when_nothing_changes() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    stage.apply(&gateway("quiet"))?;
    eventually("its Deployment is there", PATIENCE, || Ok(stage.get("deployment quiet").is_ok()))?;
    stage.run("quiet", 2)?;
    stage.condition("quiet", "Ready", "Processing")?;
    stage.kubectl("scale veg quiet --replicas=2")?;
    eventually("the Deployment has two", PATIENCE, || Ok(stage.get("deployment quiet")?["spec"]["replicas"] == 2))?;
    stage.rolled_out("quiet", 2)?;
    stage.condition("quiet", "Ready", "ReconcileSuccess")?;
    sleep(Duration::from_secs(2));
    let before = stage.api.requests(CONTROLLER)?.len();
    // Heartbeats, counters, what others say about their own.
    stage.patch("node node1", "status", &json!({"status": {"nodeInfo": {"bootID": "b"}}}))?;
    stage.patch("subnet ext", "status", &json!({"status": {"v4usingIPs": 7}}))?;
    stage.kubectl("annotate veg quiet by=somebody")?;
    stage.kubectl("label deployment quiet by=somebody")?;
    stage.kubectl("label node node1 by=somebody")?;
    sleep(Duration::from_secs(3));
    let asked: Vec<String> =
        stage.api.requests(CONTROLLER)?.into_iter().skip(before).filter(|it| !it.starts_with("watch")).collect();
    ensure!(asked.is_empty(), "{asked:?}");
    // And the look is not blind.
    stage.patch("veg quiet", "", &json!({"spec": {"policies": [{"ipBlocks": ["10.9.0.0/16"]}]}}))?;
    eventually("an edit is written", PATIENCE, || {
        Ok(stage.api.requests(CONTROLLER)?.iter().skip(before).any(|it| it == "patch configmaps default/quiet-egress"))
    })?;
    Ok(())
}

/// A cluster where there is anything of Kube-OVN's controller; the rights are those of `manifests/base`, which write nothing.
#[test]
fn observe_writes_nothing_and_says_why() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    let role = |kind: &str, name: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "observer", "namespace": if kind == "RoleBinding" { "egress-observe" } else { "" }},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": name, "name": "egress-gateway-controller"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OBSERVER}],
        })
    };
    stage.kubectl("create namespace egress-observe")?;
    let mut lease = stage.get("role egress-gateway-controller -n egress-system")?;
    lease["metadata"] = json!({"name": "egress-gateway-controller", "namespace": "egress-observe"});
    stage.apply(&lease)?;
    stage.apply(&role("ClusterRoleBinding", "ClusterRole"))?;
    stage.apply(&role("RoleBinding", "Role"))?;
    for (object, kind) in [
        (json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {}}), "Lease"),
        (
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            }}),
            "Deployment",
        ),
    ] {
        let mut object = object;
        object["metadata"] = json!({"name": "kube-ovn-controller", "namespace": "kube-system"});
        stage.apply(&object)?;
        let mut observer = stage.api.controller("observer", OBSERVER, &["--namespace=egress-observe"])?;
        observer.says("gateways are left to Kube-OVN's controller, nothing is written")?;
        let log = observer.log()?;
        ensure!(log.contains(&format!("there is a {kind} kube-system/kube-ovn-controller")), "{log}");
        stage.apply(&gateway(&format!("seen-{}", kind.to_lowercase())))?;
        observer
            .says(&format!("default/seen-{}: left to Kube-OVN's controller (mode observe)", kind.to_lowercase()))?;
        observer.stop()?;
        let log = observer.log()?;
        ensure!(!log.contains("forbidden"), "{log}");
        stage.kubectl(&format!("delete {} kube-ovn-controller -n kube-system", kind.to_lowercase()))?;
    }
    let wrote: Vec<String> = stage
        .api
        .requests(OBSERVER)?
        .into_iter()
        .filter(|it| !it.starts_with("watch") && !it.starts_with("list"))
        .collect();
    ensure!(wrote.is_empty(), "{wrote:?}");
    Ok(())
}

/// Kube-OVN's finalizer on one gateway.
#[test]
fn a_gateway_of_kube_ovns_is_left_alone() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    let mut theirs = gateway("theirs");
    theirs["metadata"]["finalizers"] = json!(["kubeovn.io/kube-ovn-controller"]);
    stage.apply(&theirs)?;
    eventually("an Event says so", PATIENCE, || {
        let events = stage.get("events.events.k8s.io")?;
        let all = events["items"].as_array().context("items")?;
        Ok(all.iter().any(|it| it["regarding"]["name"] == "theirs" && it["reason"] == "OwnedByKubeOvn"))
    })?;
    let seen = stage.get("veg theirs")?;
    ensure!(condition(&seen, "Ready") == Value::Null && stage.get("deployment theirs").is_err(), "{seen}");
    stage.patch("veg theirs", "", &json!({"metadata": {"finalizers": null}}))
}
