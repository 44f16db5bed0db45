//! Why a gateway Pod does not get on, in the words of its own status.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::controller::{
    waits::why,
    workload::{Nodes, pods},
};

fn pod(status: &Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "g-a"}, "spec": {"nodeName": "node2", "containers": []}});
    pod["status"] = status.clone();
    serde_json::from_value(pod).unwrap()
}

fn prepare(state: &Value) -> Value {
    json!({"phase": "Pending", "initContainerStatuses": [{
        "name": "prepare", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
        "state": state, "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "INFO x\nerror: why\n"}},
    }]})
}

#[test]
fn what_is_wrong_is_told_and_what_takes_its_time_is_not() {
    let unscheduled =
        |message: &str| json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]});
    let sandbox = |status: &str| json!({"conditions": [{"type": "PodReadyToStartContainers", "status": status}]});
    for (status, want) in [
        (json!({"phase": "Pending"}), ""),
        (unscheduled("0/2 nodes are available."), ": 0/2 nodes are available."),
        (sandbox("False"), ": its sandbox is not ready yet (volumes, network; see the Pod's Events)"),
        (sandbox("True"), ""),
        (prepare(&json!({"waiting": {"reason": "PodInitializing"}})), ""),
        (prepare(&json!({"running": {}})), ": container prepare: runs again after Error: error: why"),
        (prepare(&json!({"terminated": {"exitCode": 0, "reason": "Completed"}})), ""),
        (
            prepare(&json!({"waiting": {"reason": "CrashLoopBackOff"}})),
            ": container prepare: CrashLoopBackOff: error: why",
        ),
        (
            prepare(&json!({"waiting": {"reason": "CreateContainerConfigError", "message": "no such key"}})),
            ": container prepare: CreateContainerConfigError: no such key",
        ),
        (
            prepare(&json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "error: now"}})),
            ": container prepare: Error: error: now",
        ),
    ] {
        assert_eq!(why(&pod(&status)), want, "{status}");
    }
}

#[test]
fn a_pod_that_runs_and_is_not_ready_says_which_probe_fails() {
    let container = |name: &str, started: Option<bool>, ready: bool| {
        let mut status = json!({
            "name": name, "image": "i", "imageID": "", "ready": ready, "restartCount": 0, "state": {"running": {}},
        });
        if let Some(started) = started {
            status["started"] = json!(started);
        }
        status
    };
    let unready = json!([{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [x]"}]);
    let gate = json!([{"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": "gate \"g\" is not true"}]);
    for (containers, conditions, want) in [
        (
            json!([container("gateway", Some(true), false)]),
            &unready,
            "container gateway: its readiness probe fails (see the Pod's Events)",
        ),
        (
            json!([container("gateway", Some(false), false)]),
            &unready,
            "container gateway: its startup probe has not succeeded yet (see the Pod's Events)",
        ),
        (
            json!([container("gateway", Some(true), true), container("mesh", None, false)]),
            &unready,
            "container mesh: it runs, but is not ready (see the Pod's Events)",
        ),
        (json!([container("gateway", Some(true), true)]), &gate, "gate \"g\" is not true"),
        (json!([]), &unready, "containers with unready status: [x]"),
    ] {
        let mut status = json!({"phase": "Running", "conditions": conditions});
        status["containerStatuses"] = containers;
        assert_eq!(why(&pod(&status)), format!(": {want}"), "{status}");
    }
    assert_eq!(why(&pod(&json!({"phase": "Pending", "conditions": unready}))), "");
}

#[test]
fn a_dead_node_is_told_of_a_pod_that_never_ran() {
    let pending = pod(&json!({"phase": "Pending"}));
    let waiting = |works| pods(&[&pending], &Nodes::from([("node2".to_owned(), works)])).waiting;
    assert_eq!(waiting(false), ["Pod g-a is Pending on Node node2, which is not ready"]);
    assert_eq!(waiting(true), ["Pod g-a is Pending"]);
    assert_eq!(pods(&[&pending], &Nodes::new()).waiting, ["Pod g-a is Pending on Node node2, which is gone"]);
}
