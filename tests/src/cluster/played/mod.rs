//! The two parts that are played because the real ones do not run here: of kube-ovn-controller, the switches, ports and addresses
//! ([`controller`]); of Kube-OVN's CNI and Multus, a plugin ([`cni`]). Neither knows anything of egress gateways.

mod address;
mod annotations;
pub mod cni;
pub mod controller;
mod listing;
mod nb;
mod objects;
mod plan;
mod rows;

use anyhow::{Context, Result};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// A client with the rights of a kubeconfig.
async fn client(kubeconfig: &str) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig).with_context(|| format!("read {kubeconfig}"))?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await;
    Client::try_from(config.with_context(|| format!("use {kubeconfig}"))?).context("client of the API")
}

/// Runs asynchronous work on this thread.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(work)
}
