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
fn a_dead_node_is_told_of_a_pod_that_never_ran() {
    let pending = pod(&json!({"phase": "Pending"}));
    let waiting = |works| pods(&[&pending], &Nodes::from([("node2".to_owned(), works)])).waiting;
    assert_eq!(waiting(false), ["Pod g-a is Pending on Node node2, which is not ready"]);
    assert_eq!(waiting(true), ["Pod g-a is Pending"]);
    assert_eq!(pods(&[&pending], &Nodes::new()).waiting, ["Pod g-a is Pending on Node node2, which is gone"]);
}
