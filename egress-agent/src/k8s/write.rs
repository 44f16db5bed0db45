//! Writes a plan by server-side apply, all fields under one manager.

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, Client, Resource as _,
    api::{DeleteParams, Patch, PatchParams},
    runtime::events::{self, EventType, Recorder, Reporter},
};
use serde_json::{Value, json};
use tracing::warn;

use super::api::VpcEgressGateway;
use crate::controller::{Event, Plan};

/// Field manager of everything that the controller writes.
pub const MANAGER: &str = "egress-gateway-controller";

/// Longest note of an Event.
const NOTE: usize = 1024;

/// Which objects of a gateway are there, and its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owned {
    /// The Deployment.
    pub deployment: bool,
    /// The ConfigMap.
    pub config: bool,
}

/// Writes to the API server.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    recorder: Recorder,
}

impl Writer {
    /// Reports as the Pod of this name.
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// Writes the objects of a plan, in the order in which they need each other.
    /// Those that are not ours yet are not taken over.
    pub async fn objects(&self, namespace: &str, plan: &Plan, owned: Owned) -> Result<()> {
        if let Some(config) = &plan.config {
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
            apply(&api, config, owned.config).await.context("ConfigMap")?;
        }
        if let Some(deployment) = &plan.deployment {
            let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
            apply(&api, deployment, owned.deployment).await.context("Deployment")?;
        }
        for name in &plan.remove {
            let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
            match api.delete(name, &DeleteParams::background()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                done => drop(done.map_err(plain).with_context(|| format!("delete Deployment {name}"))?),
            }
        }
        for (pod, hash) in &plan.touch {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let patch = json!({"metadata": {"annotations": {crate::controller::config::CONFIG_ANNOTATION: hash}}});
            match api.patch(pod, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                done => drop(done.map_err(plain).with_context(|| format!("annotate Pod {pod}"))?),
            }
        }
        Ok(())
    }

    /// Writes the status of a plan and tells of its events.
    pub async fn status(&self, gateway: &VpcEgressGateway, plan: &Plan) -> Result<()> {
        let namespace = gateway.metadata.namespace.as_deref().unwrap_or("default");
        let name = gateway.metadata.name.as_deref().unwrap_or_default();
        if let Some(status) = &plan.status {
            let api: Api<VpcEgressGateway> = Api::namespaced(self.client.clone(), namespace);
            let patch = json!({
                "apiVersion": "kubeovn.io/v1",
                "kind": "VpcEgressGateway",
                // Not for another gateway of this name.
                "metadata": {"name": name, "uid": gateway.metadata.uid},
                "status": status,
            });
            let params = PatchParams::apply(MANAGER).force();
            api.patch_status(name, &params, &Patch::Apply(&patch)).await.map_err(plain).context("status")?;
        }
        for event in &plan.events {
            self.tell(gateway, event).await;
        }
        Ok(())
    }

    /// Tells people; that it fails is only logged.
    pub async fn tell(&self, gateway: &VpcEgressGateway, event: &Event) {
        let published = events::Event {
            type_: if event.warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason.clone(),
            note: Some(event.note.chars().take(NOTE).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&published, &gateway.object_ref(&())).await {
            warn!("event {}: {error}", event.reason);
        }
    }
}

/// What the API server said, without the rest of its answer.
fn plain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow!("{}", status.message),
        other => other.into(),
    }
}

async fn apply<K>(api: &Api<K>, object: &Value, force: bool) -> Result<()>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let name = object["metadata"]["name"].as_str().ok_or_else(|| anyhow!("an object without a name"))?;
    let params = PatchParams { force, ..PatchParams::apply(MANAGER) };
    api.patch(name, &params, &Patch::Apply(object)).await.map_err(plain).with_context(|| format!("apply {name}"))?;
    Ok(())
}
