//! The containers of a gateway Pod: one short privileged one that prepares the namespace, and the gateway with three
//! capabilities and no way to gain more.

use serde_json::{Map, Value, json};

use super::{Settings, quantity::bytes};
use crate::{
    datapath::{pins::POD_PINS, size},
    k8s::api::{IntOrText, Resources, VpcEgressGatewaySpec},
    spec::profile::Profile,
};

/// Where the ConfigMap is mounted.
const CONFIG: &str = "/etc/egress-gateway";
/// Where the agent keeps its state and its control socket.
const RUN: &str = "/run/egress-ebpf";
/// The node's BPF file system.
const BPF: &str = "/sys/fs/bpf";

/// The image of a gateway.
fn image<'a>(spec: &'a VpcEgressGatewaySpec, settings: &'a Settings) -> &'a str {
    if spec.image.is_empty() { &settings.image } else { &spec.image }
}

/// `prepare`: forwarding, rules, routes and others' leftovers, which need more than the gateway has.
pub(super) fn prepare(spec: &VpcEgressGatewaySpec, settings: &Settings) -> Value {
    json!({
        "name": "prepare",
        "image": image(spec, settings),
        "imagePullPolicy": settings.pull_policy,
        "command": ["egress-agent", "prepare", "--file", CONFIG],
        // What it says last is what the condition of the VEG quotes.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": [field("POD_UID", "metadata.uid")],
        "securityContext": {"privileged": true},
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG, "readOnly": true},
            // All folders: those of gateways that are gone are swept.
            {"name": "bpf", "mountPath": BPF},
        ],
    })
}

/// `gateway`.
pub(super) fn gateway(spec: &VpcEgressGatewaySpec, profile: &Profile, settings: &Settings) -> Value {
    json!({
        "name": "gateway",
        "image": image(spec, settings),
        "imagePullPolicy": settings.pull_policy,
        "command": ["egress-agent", "gateway", "--file", CONFIG],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": [
            field("POD_UID", "metadata.uid"),
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("NODE_NAME", "spec.nodeName"),
        ],
        "resources": resources(spec.resources.as_ref(), profile),
        "securityContext": {
            "runAsUser": 0,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON"]},
        },
        // It waits for the gateway: a look that fails would leave a Warning at each healthy start.
        "startupProbe": probe(&["ready", "--wait", "4"], 1, 12),
        "livenessProbe": probe(&["live"], 10, 3),
        "readinessProbe": probe(&["ready"], 5, 1),
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG, "readOnly": true},
            {"name": "run", "mountPath": RUN},
            // Its own folder only.
            {"name": "bpf", "mountPath": POD_PINS, "subPathExpr": "egress-ebpf/$(POD_UID)"},
        ],
    })
}

/// A variable with a field of the Pod, as the API server stores it.
fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

/// By exec: the node cannot reach the Pods of another Vpc than the default one.
fn probe(what: &[&str], period: u32, failures: u32) -> Value {
    let command = [&["egress-agent", "doctor", "--probe"], what].concat();
    json!({
        "exec": {"command": command},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}

/// The Pod's volumes.
pub(super) fn volumes(config: &str) -> Value {
    json!([
        {"name": "config", "configMap": {"name": config}},
        {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": "bpf", "hostPath": {"path": BPF, "type": "Directory"}},
    ])
}

/// The VEG's, and a memory limit that the flow table fits in where it says none.
fn resources(given: Option<&Resources>, profile: &Profile) -> Value {
    let text = |quantity: &str| IntOrText::Text(quantity.to_owned());
    let mut resources = given.cloned().unwrap_or_else(|| Resources {
        limits: [("ephemeral-storage".to_owned(), text("1Gi"))].into(),
        requests: [("cpu".to_owned(), text("100m"))].into(),
        ..Resources::default()
    });
    // A field that nobody knows would make the API server refuse the whole Deployment.
    resources.other.clear();
    if !resources.limits.contains_key("memory") {
        let need = size::memory_for(profile.max_flows.unwrap_or(size::DEFAULT_FLOWS));
        let asked = resources.requests.get("memory").and_then(bytes).unwrap_or(0);
        let mib = need.max(asked).div_ceil(1 << 20);
        resources.limits.insert("memory".to_owned(), text(&format!("{mib}Mi")));
    }
    serde_json::to_value(resources).unwrap_or_else(|_| Value::Object(Map::new()))
}

/// Why the memory limit cannot hold a flow table: the smallest, or the one that the profile asks for.
pub(super) fn too_small(spec: &VpcEgressGatewaySpec, profile: &Profile) -> Option<String> {
    let limit = spec.resources.as_ref()?.limits.get("memory")?;
    let Some(bytes) = bytes(limit) else {
        return Some(format!("{limit} is no quantity; write it as 256Mi"));
    };
    // Without a profile the table is as large as there is room, but not smaller than this.
    let least = size::memory_for(size::MIN_FLOWS);
    if profile.max_flows.is_none() && bytes < least {
        let mib = least.div_ceil(1 << 20);
        return Some(format!("{limit} is less than a gateway needs, which would be killed; write {mib}Mi or more"));
    }
    size::choose(profile.max_flows, Some(bytes), u64::MAX).err().map(|error| error.to_string())
}
