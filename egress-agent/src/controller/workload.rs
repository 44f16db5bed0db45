//! What there is of a gateway: its Deployment and its Pods, as the API server tells of them.

use std::{cmp::Ordering, collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde::Deserialize;

use super::waits;
use crate::spec::addr::Family;

/// Multus' report about the networks of a Pod.
const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// The attachment that the Pod was made with; the gateway's may be another by now.
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// Nodes by name, and whether each works.
pub(super) type Nodes = BTreeMap<String, bool>;

/// A gateway Pod that has its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// First overlay address of each family.
    pub(super) internal: Vec<IpAddr>,
    /// Addresses on the external network.
    pub(super) external: Vec<IpAddr>,
    /// Its node.
    pub(super) node: String,
    /// Whether packets pass.
    pub(super) ready: bool,
}

/// The Pods of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pods {
    /// Those with addresses, by overlay address.
    pub(super) rows: Vec<Row>,
    /// Those that have not ended and do not end.
    pub(super) count: usize,
    /// What the others wait for, by name.
    pub(super) waiting: Vec<String>,
}

/// Reads the Pods. One that has failed or ended is nobody's: its ReplicaSet has made another. One whose Node is gone passes
/// nothing, whatever the Node last said about it.
pub(super) fn pods(pods: &[&Pod], nodes: &Nodes) -> Pods {
    let mut found = Pods::default();
    for pod in pods {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        if pod.metadata.deletion_timestamp.is_some() || matches!(phase, "Failed" | "Succeeded") {
            continue;
        }
        found.count += 1;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let works = nodes.get(&node).copied();
        let lost = match works {
            None => Some(format!("on Node {node}, which is gone")),
            Some(false) => Some(format!("on Node {node}, which is not ready")),
            Some(true) => None,
        };
        if phase != "Running" {
            // One that no Node took yet has not lost it.
            let lost = lost.filter(|_| !node.is_empty()).map(|lost| format!(" {lost}"));
            found.waiting.push(format!("Pod {name} is {phase}{}", lost.unwrap_or_else(|| waits::why(pod))));
            continue;
        }
        let ips: Vec<IpAddr> = status
            .and_then(|status| status.pod_ips.as_ref())
            .into_iter()
            .flatten()
            .filter_map(|ip| ip.ip.parse().ok())
            .collect();
        let internal: Vec<IpAddr> = Family::ALL
            .into_iter()
            .filter_map(|family| ips.iter().copied().find(|ip| Family::of(*ip) == family))
            .collect();
        let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name).map(String::as_str);
        let attachment = annotation(NETWORKS).unwrap_or_default();
        let external = network(annotation(NETWORK_STATUS), attachment);
        if internal.is_empty() {
            found.waiting.push(format!("Pod {name} has no address"));
            continue;
        }
        if external.is_empty() {
            found.waiting.push(format!("Pod {name} has no address of network {attachment} in {NETWORK_STATUS}"));
            continue;
        }
        let ready = status
            .and_then(|status| status.conditions.as_ref())
            .is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"));
        match lost {
            Some(lost) => found.waiting.push(format!("Pod {name} is {lost}")),
            None if !ready => found.waiting.push(format!("Pod {name} is not ready{}", waits::why(pod))),
            None => {}
        }
        let Some(works) = works else { continue };
        let ready = ready && works;
        found.rows.push(Row { internal, external, node, ready });
    }
    found.rows.sort_by(order);
    found.waiting.sort();
    found
}

/// A fixed order, so that the same Pods give the same status.
fn order(a: &Row, b: &Row) -> Ordering {
    (&a.internal, &a.external, &a.node).cmp(&(&b.internal, &b.external, &b.node))
}

/// The Pod's addresses on the network of an attachment `namespace/name`.
fn network(status: Option<&str>, attachment: &str) -> Vec<IpAddr> {
    #[derive(Deserialize)]
    struct Network {
        #[serde(default)]
        name: String,
        #[serde(default)]
        ips: Vec<String>,
    }
    let networks: Vec<Network> = status.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let found = networks.into_iter().find(|network| network.name == attachment);
    found.into_iter().flat_map(|network| network.ips).filter_map(|ip| ip.parse().ok()).collect()
}

/// Whether every Pod that is asked for is there and new.
pub(super) fn rolled_out(deployment: &Deployment, replicas: i64) -> bool {
    let status = deployment.status.as_ref();
    let number = |value: Option<i32>| i64::from(value.unwrap_or(0));
    let seen = status.and_then(|status| status.observed_generation).unwrap_or(0);
    seen >= deployment.metadata.generation.unwrap_or(0)
        && deployment.spec.as_ref().is_some_and(|spec| i64::from(spec.replicas.unwrap_or(1)) == replicas)
        && number(status.and_then(|status| status.updated_replicas)) == replicas
        && number(status.and_then(|status| status.replicas)) == replicas
        && number(status.and_then(|status| status.available_replicas)) == replicas
}
