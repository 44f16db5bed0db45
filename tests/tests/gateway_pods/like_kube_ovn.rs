//! Cases of Kube-OVN's own end-to-end suite that need no policies of OVN.

use anyhow::{Context, Result, ensure};
use egress_tests::cluster::example::{Clients, NETWORKS, SELECTED};
use egress_tests::cluster::steer::Steering;
use egress_tests::cluster::{Cluster, output};
use serde_json::{Value, json};

use super::site::Site;
use crate::{shared, skip_cluster};

const KEY: &str = "default/case";

/// A gateway of two lines in the external network of the cluster.
fn manifest(more: &str) -> String {
    format!(
        "{{apiVersion: kubeovn.io/v1, kind: VpcEgressGateway, metadata: {{name: case, namespace: default}}, spec: {{externalSubnet: underlay-ext, \
         policies: [{{snat: true, subnets: [subnet1]}}], {more}}}}}"
    )
}

#[test]
fn pods_go_where_selector_and_tolerations_let_them() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    // As the control plane's node of the suite is.
    let taint = |how: &str| output(cluster.kubectl().args(["taint", "node", "node2", how])).map(drop);
    taint("egress-test/only=here:NoSchedule")?;
    let result = (|| {
        let more = "nodeSelector: [{matchLabels: {kubernetes.io/hostname: node2}}]";
        let site = Site::with(cluster, &manifest(more), KEY)?;
        let pending = || -> Result<bool> { Ok(site.gateway()?.pods()?.iter().all(|pod| pod.node.is_empty())) };
        egress_tests::eventually("there is a Pod", std::time::Duration::from_secs(30), || {
            Ok(!site.gateway()?.pods()?.is_empty())
        })?;
        ensure!(pending()?, "a Pod without toleration is on a tainted Node");
        cluster.apply(&manifest(&format!(
            "{more}, tolerations: [{{key: egress-test/only, operator: Exists, effect: NoSchedule}}]"
        )))?;
        site.gateway()?.wait_until_complete(1)?;
        let object = site.gateway()?.object()?;
        ensure!(object["status"]["workload"]["nodes"] == serde_json::json!(["node2"]), "{}", object["status"]);
        Ok(())
    })();
    taint("egress-test/only-")?;
    result
}

#[test]
fn addresses_and_a_pool_exclude_each_other() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let site = Site::bare(shared.cluster()?)?;
    for (list, pool, address) in
        [("internalIPs", "internalIPPool", "10.16.0.200"), ("externalIPs", "externalIPPool", "172.17.0.11")]
    {
        let said = site.cluster().apply(&manifest(&format!("{list}: [\"{address}\"], {pool}: pool1")));
        let said = said.err().context("it was taken")?;
        ensure!(format!("{said:#}").contains("mutually exclusive"), "{said:#}");
    }
    Ok(())
}

#[test]
fn a_pool_of_another_subnet_is_refused() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let _pool = Pool::make(cluster, "elsewhere", "subnet1", &["10.17.0.200"])?;
    for (side, field) in [("internal", "internalIPPool"), ("external", "externalIPPool")] {
        let site = Site::with(cluster, &manifest(&format!("{field}: elsewhere")), KEY)?;
        let message = site.wait_for_reason("ReconcileWorkloadFailed")?;
        ensure!(message.contains(&format!("does not match {side} subnet")), "{message}");
        ensure!(site.gateway()?.object()?["status"]["ready"] == false, "ready");
        ensure!(site.gateway()?.pods()?.is_empty(), "there are Pods");
    }
    Ok(())
}

/// An IPPool, deleted again.
struct Pool<'a>(&'a Cluster, &'static str);

impl<'a> Pool<'a> {
    fn make(cluster: &'a Cluster, name: &'static str, subnet: &str, ips: &[&str]) -> Result<Self> {
        let pool = json!({
            "apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": name}, "spec": {"subnet": subnet, "ips": ips},
        });
        cluster.apply(&pool.to_string())?;
        Ok(Self(cluster, name))
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        if let Err(error) = output(self.0.kubectl().args(["delete", "ippool", self.1])) {
            eprintln!("{error:#}");
        }
    }
}

#[test]
fn gateways_have_the_addresses_of_their_pools_and_no_others() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let _inside = Pool::make(
        cluster,
        "inside",
        "ovn-default",
        &["10.16.0.200", "10.16.0.201", "fd00:10:16::200..fd00:10:16::201"],
    )?;
    let _outside = Pool::make(
        cluster,
        "outside",
        "underlay-ext",
        &["172.17.0.60..172.17.0.61", "fd00:172:17::60", "fd00:172:17::61"],
    )?;
    let more = "replicas: 2, internalIPPool: inside, externalIPPool: outside, selectors: \
        [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ns1}}}, {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ns2}}, \
        podSelector: {matchLabels: {app: myapp}}}]";
    let site = Site::with(cluster, &manifest(more), KEY)?;
    let clients = Clients::start(cluster)?;
    site.gateway()?.wait_until_complete(2)?;
    let status = &site.gateway()?.object()?["status"];
    let sorted = |field: &str| {
        let mut texts = status[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
        texts.sort_unstable();
        texts
    };
    ensure!(sorted("internalIPs") == ["10.16.0.200,fd00:10:16::200", "10.16.0.201,fd00:10:16::201"], "{status}");
    let outside = ["172.17.0.60", "172.17.0.61"];
    let both = outside.map(|v4| format!("{v4},{}", v4.replace("172.17.0.", "fd00:172:17::")));
    ensure!(sorted("externalIPs") == both, "{status}");
    let steering = Steering::of(site.gateway()?, &SELECTED, &NETWORKS)?;
    ensure!(steering.by_ready_pods()?.len() == 4, "not steered to both in both families");
    clients.leave_by(&outside).map(drop)
}

#[test]
fn preferred_anti_affinity_lets_two_be_on_one_node() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let more =
        "replicas: 2, podAntiAffinity: Preferred, nodeSelector: [{matchLabels: {kubernetes.io/hostname: node1}}]";
    let site = Site::with(shared.cluster()?, &manifest(more), KEY)?;
    site.gateway()?.wait_until_complete(2)?;
    let pods = site.gateway()?.pods()?;
    ensure!(pods.iter().all(|pod| pod.node == "node1"), "{pods:?}");
    let affinity: Value = serde_json::from_str(&site.kubectl(&[
        "get",
        "deployment",
        "case",
        "-o",
        "jsonpath={.spec.template.spec.affinity.podAntiAffinity}",
    ])?)?;
    let preferred = &affinity["preferredDuringSchedulingIgnoredDuringExecution"][0];
    ensure!(
        preferred["weight"] == 100 && affinity["requiredDuringSchedulingIgnoredDuringExecution"].is_null(),
        "{affinity}"
    );
    Ok(())
}

#[test]
fn two_families_inside_and_one_outside() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let site = Site::bare(cluster)?;
    cluster.apply("{apiVersion: kubeovn.io/v1, kind: Subnet, metadata: {name: underlay-ext}, spec: {protocol: IPv4, cidrBlock: 172.17.0.0/16, \
         gateway: 172.17.0.1, provider: underlay-ext.default.ovn, vlan: external-vlan, excludeIps: [172.17.0.1..172.17.0.20, 172.17.0.100, 172.17.0.254]}}")?;
    drop(site);
    let site = Site::with(cluster, &manifest("replicas: 1"), KEY)?;
    site.gateway()?.wait_until_complete(1)?;
    let status = &site.gateway()?.object()?["status"];
    let texts = |field: &str| {
        status[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect::<Vec<_>>()
    };
    let (inside, outside) = (texts("internalIPs"), texts("externalIPs"));
    ensure!(inside.len() == 1 && inside[0].contains("10.16.") && inside[0].contains("fd00:10:16:"), "{status}");
    ensure!(outside.len() == 1 && !outside[0].contains(':'), "{status}");
    Ok(())
}

#[test]
fn a_pod_without_network_status_is_not_ready() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let site = Site::with(shared.cluster()?, &manifest("replicas: 1"), KEY)?;
    let gateway = site.gateway()?;
    gateway.wait_until_complete(1)?;
    let pod = gateway.pod()?.name;
    let key = "k8s.v1.cni.cncf.io/network-status";
    let there = site.kubectl(&[
        "get",
        "pod",
        &pod,
        "-o",
        r"jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}",
    ])?;
    site.kubectl(&["annotate", "--overwrite", "pod", &pod, &format!("{key}=[]")])?;
    let message = site.wait_for_reason("WorkloadNetworkNotReady")?;
    ensure!(message.contains(&pod) && message.contains("default/underlay-ext"), "{message}");
    let status = &gateway.object()?["status"];
    let none = status["externalIPs"].as_array().is_none_or(Vec::is_empty);
    ensure!(status["ready"] == false && status["phase"] == "Processing" && none, "{status}");
    site.kubectl(&["annotate", "--overwrite", "pod", &pod, &format!("{key}={there}")])?;
    gateway.wait_until_complete(1)
}
