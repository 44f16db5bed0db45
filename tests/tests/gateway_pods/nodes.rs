//! Nodes with gateways on them that reboot or die.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use egress_tests::cluster::Cluster;
use egress_tests::cluster::example::{Clients, Conversation, SELECTED};
use egress_tests::cluster::layout::NODES;
use egress_tests::eventually;

use super::site::{Example, MANY, heard};
use crate::{shared, skip_cluster};

const PATIENCE: Duration = Duration::from_secs(120);

/// The kubelet's report that a Node's Pods are there again takes longer than the Pods.
fn settle(example: &Example<'_>) -> Result<()> {
    example.site.gateway()?.wait_until_complete(2)?;
    let hops = example.steering.by_ready_pods()?;
    ensure!(hops.len() == 2, "{hops:?}");
    Ok(())
}

fn leave_by_both(clients: &Clients<'_>) -> Result<()> {
    clients.leave_by(&["172.17.0.11", "172.17.0.12"]).map(drop)
}

/// A Node that is halted; it comes back also if the test fails.
struct Dead<'a>(Option<(&'a Cluster, &'static str)>);

impl Dead<'_> {
    fn revive(&mut self) -> Result<()> {
        self.0.take().map_or(Ok(()), |(cluster, node)| cluster.start(node))
    }
}

impl Drop for Dead<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.revive() {
            eprintln!("{error:#}");
        }
    }
}

/// Containers and Pods that are ready on a Node: of the gateway and of the clients.
fn ready_on(example: &Example<'_>, node: &str) -> Result<BTreeSet<String>> {
    let text = example.site.kubectl(&["get", "pods", "--all-namespaces", "-o", "json"])?;
    let list: serde_json::Value = serde_json::from_str(&text)?;
    let ours = |pod: &&serde_json::Value| {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        pod["spec"]["nodeName"] == node && ["default", "ns1", "ns2"].contains(&namespace)
    };
    let container = |pod: &serde_json::Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
        (status["ready"] == true)
            .then(|| Some(format!("{} {}", text(&pod["metadata"]["uid"])?, text(&status["containerID"])?)))?
    };
    Ok(list["items"].as_array().into_iter().flatten().filter(ours).filter_map(container).collect())
}

fn uids(ready: &BTreeSet<String>) -> BTreeSet<&str> {
    ready.iter().filter_map(|it| it.split(' ').next()).collect()
}

#[test]
fn nodes_that_reboot_bring_their_gateways_and_clients_back() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let example = Example::start(cluster, 2)?;
    leave_by_both(&example.clients)?;
    // One has client and gateway; so has the other.
    for node in NODES {
        let before = ready_on(&example, node)?;
        ensure!(before.len() >= 2, "{node} has neither gateway nor client: {before:?}");
        let other = SELECTED[usize::from(node == NODES[0])];
        let talk = example.clients.talk(other, MANY[0], Duration::from_secs(20))?;
        let begin = Instant::now();
        cluster.reboot(node)?;
        eventually(&format!("Pods and containers of {node} are ready again"), PATIENCE, || {
            let now = ready_on(&example, node)?;
            Ok(uids(&now) == uids(&before) && now.is_disjoint(&before))
        })?;
        println!("{:.1} s from the plug to ready Pods on {node}", begin.elapsed().as_secs_f64());
        settle(&example)?;
        leave_by_both(&example.clients)?;
        let talk = heard(talk)?;
        let strange = talk.seen.iter().find(|it| *it != "172.17.0.11" && *it != "172.17.0.12");
        ensure!(strange.is_none(), "seen under another address: {talk:?}");
    }
    Ok(())
}

#[test]
fn a_node_that_dies_leaves_the_other_gateway() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let example = Example::start(cluster, 2)?;
    let gateway = example.site.gateway()?;
    let talks: Vec<_> = MANY
        .map(|server| example.clients.talk(SELECTED[0], server, 2 * PATIENCE))
        .into_iter()
        .collect::<Result<_>>()?;
    let begin = Instant::now();
    let mut dead = Dead(Some((cluster, "node2")));
    cluster.halt("node2")?;
    let ready = || Ok(gateway.pods()?.iter().filter(|pod| pod.ready).count() == 1);
    eventually("the control plane notices", PATIENCE, ready)?;
    let noticed = begin.elapsed();
    let hops = example.steering.by_ready_pods()?;
    ensure!(hops.len() == 1, "{hops:?}");
    println!("{:.1} s until the Pod was not ready and the policies were without it", noticed.as_secs_f64());
    eventually("the gateway is not ready", PATIENCE, || Ok(gateway.object()?["status"]["ready"] == false))?;
    std::thread::sleep(Duration::from_secs(5));
    talks.iter().for_each(Conversation::stop);
    for talk in talks {
        let talk = heard(talk)?;
        let strange = talk.seen.iter().find(|it| *it != "172.17.0.11" && *it != "172.17.0.12");
        ensure!(strange.is_none(), "seen under another address: {talk:?}");
        ensure!(talk.last_gap < Duration::from_secs(2), "it does not go by the gateway that lives: {talk:?}");
        // What went by the dead gateway is lost until somebody notices.
        ensure!(talk.longest_gap < noticed + Duration::from_secs(10), "it did not come back: {talk:?}");
    }
    dead.revive()?;
    settle(&example)?;
    let wait = ["--namespace=ns2", "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s"];
    example.site.kubectl(&wait)?;
    leave_by_both(&example.clients)
}
