//! Writes objects of a VpcEgressGateway, all fields under one manager. What belongs to somebody else is never touched.

use std::fmt::{self, Debug, Display, Formatter};

use anyhow::{Context as _, Result, anyhow, bail};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::Status,
    runtime::events::{self, EventType, Recorder, Reporter},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::warn;

use super::api::{VpcEgressGateway, VpcEgressGatewayStatus, owned_by};

/// Field manager of everything that the controller writes.
pub const MANAGER: &str = "egress-gateway-controller";

/// Longest note of an Event.
const NOTE: usize = 1024;

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

    /// Applies an object of the gateway with this UID. `live` is the UID that it is known to have; without one it is created,
    /// unless there is an object of that name which is not the gateway's.
    pub async fn apply<K>(&self, namespace: &str, object: &Value, gateway: &str, live: Option<&str>) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let kind = K::kind(&());
        let name = object["metadata"]["name"].as_str().ok_or_else(|| anyhow!("an object without a name"))?;
        let at = || format!("{kind} {namespace}/{name}");
        let mut uid = live.map(ToOwned::to_owned);
        if uid.is_none() {
            // Those without our label are not watched.
            let named = ListParams::default().fields(&format!("metadata.name={name}"));
            let found = api.list_metadata(&named).await.map_err(plain).with_context(at)?.items.pop();
            if let Some(found) = found {
                if !owned_by(&found.metadata, gateway) {
                    bail!(Taken(taken(&at(), found.metadata.owner_references.iter().flatten().next())));
                }
                uid = found.metadata.uid;
            }
        }
        let mut object = object.clone();
        // Only that one: one of the same name which came meanwhile is somebody else's.
        if let Some(uid) = &uid {
            object["metadata"]["uid"] = json!(uid);
        }
        let params = PatchParams { force: uid.is_some(), ..PatchParams::apply(MANAGER) };
        api.patch(name, &params, &Patch::Apply(&object)).await.map_err(plain).with_context(at)?;
        Ok(())
    }

    /// Deletes an object; that it is gone already is right.
    pub async fn delete<K>(&self, namespace: &str, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match api.delete(name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => {
                done.map_err(plain).with_context(|| format!("delete {} {namespace}/{name}", K::kind(&()))).map(drop)
            }
        }
    }

    /// Merges a patch into an object: a key that is null in it is removed, whoever set it. That the object is gone is right.
    pub async fn merge<K>(&self, namespace: &str, name: &str, patch: &Value) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => done.map_err(plain).with_context(|| format!("patch {} {namespace}/{name}", K::kind(&()))).map(drop),
        }
    }

    /// Sets an annotation of a Pod; that the Pod is gone is right.
    pub async fn annotate(&self, namespace: &str, pod: &str, annotation: &str, value: &str) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        self.merge::<Pod>(namespace, pod, &patch).await
    }

    /// Writes the status of a gateway.
    pub async fn status(&self, gateway: &VpcEgressGateway, status: &VpcEgressGatewayStatus) -> Result<()> {
        let namespace = gateway.metadata.namespace.as_deref().unwrap_or("default");
        let name = gateway.metadata.name.as_deref().unwrap_or_default();
        let api: Api<VpcEgressGateway> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({
            "apiVersion": "kubeovn.io/v1",
            "kind": "VpcEgressGateway",
            // Not for another gateway of this name.
            "metadata": {"name": name, "uid": gateway.metadata.uid},
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        api.patch_status(name, &params, &Patch::Apply(&patch)).await.map_err(plain).context("status").map(drop)
    }

    /// Tells people; that it fails is only logged.
    pub async fn tell(&self, gateway: &VpcEgressGateway, warning: bool, reason: &str, note: &str) {
        let published = events::Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note.chars().take(NOTE).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&published, &gateway.object_ref(&())).await {
            warn!("event {reason}: {error}");
        }
    }
}

/// An object of that name is another's: why it is not written.
#[derive(Debug)]
pub struct Taken(String);

impl Display for Taken {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Taken {}

/// Why an object of another is not written, with what would be right.
#[must_use]
pub fn taken(object: &str, owner: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>) -> String {
    let whose = owner
        .map_or_else(|| "has another owner".to_owned(), |owner| format!("belongs to {} {}", owner.kind, owner.name));
    format!("{object} is there already and {whose}: give this gateway another name or prefix, or remove that object")
}

/// What the API server said, without the rest of its answer.
fn plain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow!("{}", in_order(&status)),
        other => other.into(),
    }
}

/// The message with its complaints in order: the API server has them in another one each time, and each would be another status.
fn in_order(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut told: Vec<String> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    let listed = format!("[{}]", told.join(", "));
    told.sort();
    status.message.replace(&listed, &format!("[{}]", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_have_one_order() {
        let status = |causes: [(&str, &str); 2]| -> Status {
            let listed = causes.map(|(field, message)| format!("{field}: {message}")).join(", ");
            let causes = causes
                .map(|(field, message)| json!({"field": field, "message": message, "reason": "FieldValueInvalid"}));
            let message = format!("Deployment.apps \"a\" is invalid: [{listed}]");
            serde_json::from_value(json!({"message": message, "reason": "Invalid", "details": {"causes": causes}}))
                .unwrap()
        };
        let (cpu, memory) =
            (("requests[cpu]", "Invalid value: \"2\": too much"), ("requests[memory]", "Required value"));
        let want = "Deployment.apps \"a\" is invalid: [requests[cpu]: Invalid value: \"2\": too much, requests[memory]: Required value]";
        assert_eq!(in_order(&status([cpu, memory])), want);
        assert_eq!(in_order(&status([memory, cpu])), want);
        let plain = Status { message: "Pods \"a\" not found".to_owned(), ..Status::default() };
        assert_eq!(in_order(&plain), plain.message);
    }
}
