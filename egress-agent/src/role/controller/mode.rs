//! Who reconciles gateways: this controller, or Kube-OVN's, which cannot be told to leave them alone.

use std::fmt::Debug;

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;

/// Who makes the gateways' Deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// This controller.
    Managed,
    /// Kube-OVN's; this one only looks.
    Observe,
}

impl Mode {
    /// What it means, for the log.
    pub(super) fn does(self) -> &'static str {
        match self {
            Self::Managed => "gateways are reconciled, but for those with Kube-OVN's finalizer",
            Self::Observe => "gateways are left to Kube-OVN's controller, nothing is written",
        }
    }
}

/// Name of Kube-OVN's Deployment, and of the Lease by which its replicas elect one.
const KUBE_OVN: &str = "kube-ovn-controller";

/// The mode that was asked for, else the one that fits what is found; and why.
pub(super) async fn find(client: &Client, asked: Option<Mode>) -> Result<(Mode, String)> {
    if let Some(mode) = asked {
        return Ok((mode, "--mode".to_owned()));
    }
    let found = [named::<Deployment>(client).await?, named::<Lease>(client).await?];
    Ok(decide(&found))
}

/// Observe, if there is anything of Kube-OVN's controller.
pub(super) fn decide(found: &[Option<String>]) -> (Mode, String) {
    let none = || (Mode::Managed, format!("there is neither a Deployment nor a Lease {KUBE_OVN}"));
    found.iter().flatten().next().map_or_else(none, |object| (Mode::Observe, format!("there is a {object}")))
}

/// `Kind namespace/name` of an object of that name.
async fn named<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug>(
    client: &Client,
) -> Result<Option<String>> {
    let kind = K::kind(&());
    let api: Api<K> = Api::all(client.clone());
    let params = ListParams::default().fields(&format!("metadata.name={KUBE_OVN}"));
    let found = api.list_metadata(&params).await;
    let found =
        found.with_context(|| format!("look for a {kind} {KUBE_OVN}; or say --mode managed or --mode observe"))?;
    let object = found.items.first().map(|object| object.metadata.namespace.as_deref().unwrap_or_default());
    Ok(object.map(|namespace| format!("{kind} {namespace}/{KUBE_OVN}")))
}
