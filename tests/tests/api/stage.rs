//! The API server with the manifests of `standalone`, a cluster's Subnets, and the controller with exactly its rights.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::cluster::api::{ApiServer, CONTROLLER, Controller};
use egress_tests::cluster::{Parts, output};
use egress_tests::system::cleanup::at_exit;
use egress_tests::{Need, eventually, skip};
use serde_json::{Value, json};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Another user, to whom a test may give other rights.
pub(super) const OBSERVER: &str = "observer";

/// Everything that tests share.
pub(super) struct Stage {
    pub(super) api: ApiServer,
    pub(super) controller: Controller,
}

static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

/// Whether there is nothing to stand on; then it has said why.
pub(super) fn skip_api() -> bool {
    skip(&[Need::Cluster, Need::Agent])
}

/// The stage, for one test at a time.
pub(super) fn stage() -> Result<Held> {
    let mut guard = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        *guard = Some(Stage::build()?);
        // Nothing drops what is static.
        at_exit(|| drop(STAGE.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
    Ok(Held(guard))
}

pub(super) struct Held(MutexGuard<'static, Option<Stage>>);

impl Held {
    pub(super) fn get(&mut self) -> Result<&mut Stage> {
        self.0.as_mut().context("the stage is gone")
    }
}

/// A folder of `manifests/`.
pub(super) fn manifests(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(folder)
}

impl Stage {
    fn build() -> Result<Self> {
        let api = ApiServer::start(Parts::find()?, &[CONTROLLER, OBSERVER])?;
        api.furnish()?;
        let mut controller = api.controller("controller", CONTROLLER, &["--namespace=egress-system"])?;
        controller.says("leading")?;
        controller.says("every kind is listed")?;
        Ok(Self { api, controller })
    }

    /// kubectl with these words, which must succeed.
    pub(super) fn kubectl(&self, words: &str) -> Result<String> {
        output(self.api.kubectl().args(words.split(' ')))
    }

    /// `kubectl apply` of an object.
    pub(super) fn apply(&self, object: &Value) -> Result<String> {
        feed(self.api.kubectl().args(["apply", "--server-side", "--force-conflicts", "-f", "-"]), &object.to_string())
    }

    /// A merge patch, also of a status.
    pub(super) fn patch(&self, what: &str, subresource: &str, patch: &Value) -> Result<()> {
        let mut kubectl = self.api.kubectl();
        kubectl.args(["patch", "--type=merge"]).args(what.split(' ')).arg("-p").arg(patch.to_string());
        if !subresource.is_empty() {
            kubectl.arg(format!("--subresource={subresource}"));
        }
        output(&mut kubectl).map(drop)
    }

    /// An object as it is stored.
    pub(super) fn get(&self, what: &str) -> Result<Value> {
        let text = output(self.api.kubectl().args(["get", "-o", "json"]).args(what.split(' ')))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Waits for a condition of a gateway to have this reason; returns it.
    pub(super) fn condition(&self, gateway: &str, kind: &str, reason: &str) -> Result<Value> {
        let mut seen = Value::Null;
        let found = eventually(&format!("{kind} of {gateway} is {reason}"), PATIENCE, || {
            seen = condition(&self.get(&format!("veg {gateway}"))?, kind);
            Ok(seen["reason"] == reason)
        });
        found
            .with_context(|| format!("it is {seen}; the controller: {}", self.controller.log().unwrap_or_default()))?;
        Ok(seen)
    }

    /// A gateway Pod as a kubelet would report it, and a Deployment with all of its replicas.
    pub(super) fn run(&self, gateway: &str, replicas: u8) -> Result<()> {
        for number in 1..=replicas {
            let name = format!("{gateway}-{number}");
            let ips = [format!("10.16.0.{}", 10 + number), format!("172.17.0.{}", 10 + number)];
            let networks = json!([{"name": "default/eth1", "ips": [ips[1]]}]).to_string();
            self.apply(&json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": "default",
                    "labels": {"app": "vpc-egress-gateway", "ovn.kubernetes.io/vpc-egress-gateway": gateway},
                    "annotations": {"k8s.v1.cni.cncf.io/networks": "default/eth1", "k8s.v1.cni.cncf.io/network-status": networks},
                },
                "spec": {"nodeName": "node1", "containers": [{"name": "gateway", "image": "i"}]},
            }))?;
            let status = json!({"status": {
                "phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ips[0]}], "conditions": [{"type": "Ready", "status": "True"}],
            }});
            self.patch(&format!("pod {name}"), "status", &status)?;
        }
        self.rolled_out(gateway, replicas)
    }

    /// What the Deployment's controller reports.
    pub(super) fn rolled_out(&self, deployment: &str, replicas: u8) -> Result<()> {
        let generation = self.get(&format!("deployment {deployment}"))?["metadata"]["generation"].clone();
        let status = json!({"status": {
            "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas, "readyReplicas": replicas,
        }});
        self.patch(&format!("deployment {deployment}"), "status", &status)
    }
}

/// The condition of an object.
pub(super) fn condition(object: &Value, kind: &str) -> Value {
    let all = object["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|it| it["type"] == kind)).cloned().unwrap_or_default()
}

/// A gateway in `default` that selects Pods by the label `of`.
pub(super) fn gateway(name: &str) -> Value {
    json!({
        "apiVersion": "kubeovn.io/v1",
        "kind": "VpcEgressGateway",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "internalSubnet": "ovn-default",
            "externalSubnet": "ext",
            "selectors": [{"podSelector": {"matchLabels": {"of": name}}}],
        },
    })
}

/// The same with one field of its spec.
pub(super) fn with(name: &str, field: &str, value: Value) -> Value {
    let mut gateway = gateway(name);
    gateway["spec"][field] = value;
    gateway
}

/// Runs a command with a text on its standard input; what it says if it succeeds.
pub(super) fn feed(command: &mut Command, text: &str) -> Result<String> {
    let (ok, out, err) = fed(command, text)?;
    ensure!(ok, "{command:?}: {err}");
    Ok(out)
}

/// The same, also if it fails: whether it succeeded, what it said, and what it complained about.
pub(super) fn fed(command: &mut Command, text: &str) -> Result<(bool, String, String)> {
    use std::io::Write as _;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start kubectl")?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(text.as_bytes()).context("hand a manifest to kubectl")?;
    }
    let result = child.wait_with_output().context("wait for kubectl")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((result.status.success(), text(&result.stdout), text(&result.stderr)))
}
