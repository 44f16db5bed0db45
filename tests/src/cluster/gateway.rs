//! A VpcEgressGateway in a cluster, as people and programs see it: by kubectl.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Cluster, output};
use crate::wait::eventually;

/// The namespace of the controller.
pub const CONTROLLER_NAMESPACE: &str = "egress-system";
/// The controller's Deployment, and the label `app` of its Pods.
pub const CONTROLLER: &str = "egress-gateway-controller";
/// A Pod must be pulled up on a busy machine, and a dead one noticed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder or file of manifests/.
pub fn manifests(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests")).join(name)
}

/// Applies in the name of our manifests: without a name of its own, kubectl takes what a client-side `kubectl apply` made for its own.
pub const APPLY: [&str; 3] = ["apply", "--server-side", "--field-manager=egress-gateway"];

/// The words after `kubectl` that bring controller and kinds.
pub fn installation() -> Vec<String> {
    let overlay = manifests("overlays/standalone").display().to_string();
    APPLY.into_iter().chain(["-k", &overlay]).map(str::to_owned).collect()
}

/// Installs the controller and waits until both replicas run.
pub fn install(cluster: &Cluster) -> Result<String> {
    let said = output(cluster.kubectl().args(installation()))?;
    let mut rollout = cluster.kubectl();
    rollout.args(["--namespace", CONTROLLER_NAMESPACE, "rollout", "status", "deployment", CONTROLLER]);
    output(rollout.arg("--timeout=120s"))?;
    Ok(said)
}

/// A gateway by its name.
#[derive(Debug, Clone)]
pub struct Gateway<'a> {
    cluster: &'a Cluster,
    namespace: String,
    name: String,
}

/// A Pod of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPod {
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
    /// `spec.nodeName`
    pub node: String,
    /// In the overlay.
    pub internal: Vec<IpAddr>,
    /// Its condition.
    pub ready: bool,
    /// Whether it has been told to end.
    pub ending: bool,
}

impl<'a> Gateway<'a> {
    /// `namespace/name`; it need not be there.
    pub fn named(cluster: &'a Cluster, key: &str) -> Self {
        let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
        Self { cluster, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// kubectl in its namespace.
    pub fn kubectl(&self) -> Command {
        let mut command = self.cluster.kubectl();
        command.args(["--namespace", &self.namespace]);
        command
    }

    /// The object.
    pub fn object(&self) -> Result<Value> {
        let text = output(self.kubectl().args(["get", "veg", &self.name, "-o", "json"]))?;
        serde_json::from_str(&text).context("kubectl get -o json")
    }

    /// Its Pods, by name.
    pub fn pods(&self) -> Result<Vec<GatewayPod>> {
        let label = format!("ovn.kubernetes.io/vpc-egress-gateway={}", self.name);
        let text = output(self.kubectl().args(["get", "pods", "-l", &label, "-o", "json"]))?;
        let list: Value = serde_json::from_str(&text).context("kubectl get -o json")?;
        let mut pods: Vec<_> = list["items"].as_array().into_iter().flatten().map(GatewayPod::read).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }

    /// Its only Pod that is not ending.
    pub fn pod(&self) -> Result<GatewayPod> {
        let pods: Vec<_> = self.pods()?.into_iter().filter(|pod| !pod.ending).collect();
        ensure!(pods.len() == 1, "{} has not one Pod: {pods:?}", self.key());
        pods.into_iter().next().context("no Pod")
    }

    /// Waits for `Completed`, `true`, so many replicas, and a status that is about this spec.
    pub fn wait_until_complete(&self, replicas: usize) -> Result<()> {
        let mut last = Value::Null;
        let complete = || -> Result<bool> {
            // An API server that is away comes back.
            let Ok(object) = self.object() else { return Ok(false) };
            let status = &object["status"];
            let ready = status["conditions"].as_array().into_iter().flatten().find(|it| it["type"] == "Ready");
            let current = ready.is_some_and(|it| it["observedGeneration"] == object["metadata"]["generation"]);
            let count = status["internalIPs"].as_array().map_or(0, Vec::len);
            let done = current && status["phase"] == "Completed" && status["ready"] == true && count == replicas;
            last = status.clone();
            Ok(done)
        };
        let what = format!("{} has {replicas} replicas and is Completed", self.key());
        eventually(&what, PATIENCE, complete).with_context(|| format!("its status: {last}"))
    }

    /// What a program in the container `gateway` of a Pod says.
    pub fn exec(&self, pod: &str, words: &[&str]) -> Result<String> {
        output(self.kubectl().args(["exec", pod, "-c", "gateway", "--"]).args(words))
    }

    /// What a Pod's agent says as JSON: `stats`, `doctor`, `flows`.
    pub fn ask(&self, pod: &str, what: &str) -> Result<Value> {
        let text = self.exec(pod, &["egress-agent", what, "-o", "json"])?;
        serde_json::from_str(&text).with_context(|| format!("egress-agent {what}: {text}"))
    }
}

impl GatewayPod {
    fn read(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ips = pod["status"]["podIPs"].as_array().into_iter().flatten();
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        Self {
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            node: text(&pod["spec"]["nodeName"]),
            internal: ips.filter_map(|it| it["ip"].as_str()?.parse().ok()).collect(),
            ready: conditions.any(|it| it["type"] == "Ready" && it["status"] == "True"),
            ending: pod["metadata"]["deletionTimestamp"].is_string(),
        }
    }
}
