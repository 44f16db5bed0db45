//! Whose objects and whose Pods they are.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::cluster::api::CONTROLLER;
use egress_tests::eventually;
use serde_json::{Value, json};

use super::stage::{PATIENCE, condition, gateway, with};
use super::{skip_api, stage};

#[test]
fn of_two_gateways_that_select_one_pod_the_older_valid_one_has_it() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    let select = |mut gateway: Value| {
        gateway["spec"]["selectors"] = json!([{"podSelector": {"matchLabels": {"of": "both"}}}]);
        gateway
    };
    stage.apply(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client", "namespace": "default", "labels": {"of": "both"}},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
    }))?;
    stage.patch(
        "pod client",
        "status",
        &json!({"status": {"phase": "Running", "podIP": "10.16.0.99", "podIPs": [{"ip": "10.16.0.99"}]}}),
    )?;
    // The oldest is wrong from the start, and has nobody.
    stage.apply(&select(with("both-0", "externalSubnet", json!("nope"))))?;
    stage.condition("both-0", "Validated", "InvalidSpec")?;
    // Of the same second the first by name is the older one.
    stage.apply(&select(gateway("both-1")))?;
    stage.apply(&select(gateway("both-2")))?;
    let lost = stage.condition("both-2", "SelectorsEffective", "PodsSelectedByOther")?;
    ensure!(
        lost["message"]
            == "Pod default/client leaves by VpcEgressGateway default/both-1, which selects it, too: the oldest valid one has it",
        "{lost}"
    );
    let has = |name: &str| -> Result<bool> {
        let config = stage.get(&format!("configmap {name}-egress"))?;
        Ok(config["data"]["pods.json"].as_str().context("pods.json")?.contains("10.16.0.99"))
    };
    eventually("both-1 has the Pod", PATIENCE, || has("both-1"))?;
    ensure!(!has("both-2")?, "both have it");
    stage.kubectl("delete veg both-1")?;
    eventually("both-2 has it then", PATIENCE, || has("both-2"))?;
    stage.condition("both-2", "SelectorsEffective", "NoConflict")?;
    Ok(())
}

#[test]
fn two_gateways_whose_objects_would_have_one_name() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    stage.apply(&gateway("same-name"))?;
    eventually("its Deployment is there", PATIENCE, || Ok(stage.get("deployment same-name").is_ok()))?;
    stage.apply(&with("name", "prefix", json!("same-")))?;
    let told = stage.condition("name", "Validated", "NameTaken")?;
    let message = told["message"].as_str().context("message")?;
    ensure!(
        message.starts_with(
            "metadata.name: Deployment default/same-name is there already and belongs to VpcEgressGateway same-name"
        ),
        "{message}"
    );
    let owner = &stage.get("deployment same-name")?["metadata"]["ownerReferences"];
    ensure!(owner.as_array().is_some_and(|all| all.len() == 1 && all[0]["name"] == "same-name"), "{owner}");
    Ok(())
}

/// Without our label they are not even watched.
#[test]
fn objects_of_somebody_else_stay_as_they_are() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "foreign-egress", "namespace": "default"}, "data": {"a": "b"}});
    stage.apply(&theirs)?;
    stage.apply(&gateway("foreign"))?;
    let told = stage.condition("foreign", "Ready", "ReconcileWorkloadFailed")?;
    let message = told["message"].as_str().context("message")?;
    ensure!(message.starts_with("ConfigMap default/foreign-egress is there already and has another owner: give this gateway another name or prefix"), "{message}");
    let stored = stage.get("configmap foreign-egress")?;
    ensure!(stored["data"] == theirs["data"] && stored["metadata"]["labels"] == Value::Null, "{stored}");
    ensure!(stage.get("deployment foreign").is_err(), "a Deployment without its configuration");
    stage.kubectl("delete configmap foreign-egress")?;
    stage.condition("foreign", "Ready", "Processing")?;
    eventually("the Deployment is there", PATIENCE, || Ok(stage.get("deployment foreign").is_ok()))
}

#[test]
fn what_is_deleted_or_edited_is_made_again_and_what_others_add_stays() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    stage.apply(&gateway("again"))?;
    eventually("its Deployment is there", PATIENCE, || Ok(stage.get("deployment again").is_ok()))?;
    stage.kubectl("set env deployment/again ADDED=1")?;
    stage.kubectl("set image deployment/again gateway=another")?;
    let container = "/spec/template/spec/containers/0";
    eventually("the image is ours again", PATIENCE, || {
        let image = stage.get("deployment again")?.pointer(&format!("{container}/image")).cloned();
        Ok(image.is_some_and(|image| image != "another"))
    })?;
    let stored = stage.get("deployment again")?;
    let env = stored.pointer(&format!("{container}/env")).and_then(Value::as_array).context("env")?;
    ensure!(env.iter().any(|it| it["name"] == "ADDED"), "{env:?}");
    let uid = stored["metadata"]["uid"].clone();
    stage.kubectl("delete deployment again")?;
    eventually("there is another one", PATIENCE, || {
        Ok(stage.get("deployment again").is_ok_and(|it| it["metadata"]["uid"] != uid))
    })?;
    // Without a label it is not seen any more, and still ours.
    stage.kubectl("label deployment again ovn.kubernetes.io/vpc-egress-gateway-")?;
    eventually("it has its label again", PATIENCE, || {
        Ok(stage.get("deployment again")?["metadata"]["labels"]["ovn.kubernetes.io/vpc-egress-gateway"] == "again")
    })?;
    ensure!(condition(&stage.get("veg again")?, "Validated")["status"] == "True");
    Ok(())
}

/// A policy that rewrites a field of ours with each write, and each time to something else.
fn rewriting() -> [Value; 2] {
    let kind = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "rewriting"}, "spec": spec,
        })
    };
    let patch = r#"[JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("egress-ebpf.dev/applied"),
        value: has(object.metadata.resourceVersion) ? object.metadata.resourceVersion : "new"}]"#;
    let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]});
    let policy = json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "that-one", "expression": "object.metadata.name == 'quarrel'"}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    });
    [
        kind("MutatingAdmissionPolicy", policy),
        kind("MutatingAdmissionPolicyBinding", json!({"policyName": "rewriting"})),
    ]
}

#[test]
fn what_somebody_rewrites_is_not_applied_at_every_event() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    for object in rewriting() {
        stage.apply(&object)?;
    }
    let result = (|| {
        let rewritten = || -> Result<bool> {
            let object = stage.get("deployment quarrel").unwrap_or_default();
            Ok(object["metadata"]["annotations"]["egress-ebpf.dev/applied"].as_str().is_some_and(|it| it.len() < 16))
        };
        // The API server takes a moment to know its policies.
        sleep(Duration::from_secs(2));
        stage.apply(&gateway("quarrel"))?;
        eventually("the Deployment is rewritten", PATIENCE, rewritten)?;
        sleep(Duration::from_secs(6));
        let asked = stage.api.requests(CONTROLLER)?;
        let applies = asked.iter().filter(|it| *it == "patch deployments default/quarrel").count();
        // One makes it, one puts it right, then after 1, 2 and 4 seconds.
        ensure!((3..=8).contains(&applies), "{applies} applies of what is rewritten each time");
        Ok(())
    })();
    stage.kubectl("delete mutatingadmissionpolicybinding,mutatingadmissionpolicy rewriting")?;
    stage.kubectl("delete veg quarrel")?;
    result
}
