//! A Node that dies with a gateway on it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use egress_tests::cluster::Cluster;
use egress_tests::cluster::example::{Clients, SELECTED};
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
        .map(|server| example.clients.talk(SELECTED[0], server, Duration::from_secs(75)))
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
    for talk in talks {
        let talk = heard(talk)?;
        let strange = talk.seen.iter().find(|it| *it != "172.17.0.11" && *it != "172.17.0.12");
        ensure!(strange.is_none(), "seen under another address: {talk:?}");
        // What went by the dead gateway is lost until somebody notices.
        ensure!(talk.longest_gap < noticed + Duration::from_secs(10), "it did not come back: {talk:?}");
    }
    dead.revive()?;
    settle(&example)?;
    let wait = ["--namespace=ns2", "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s"];
    example.site.kubectl(&wait)?;
    leave_by_both(&example.clients)
}
