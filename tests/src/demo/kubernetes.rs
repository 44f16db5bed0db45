//! What `cargo xtask demo --kubernetes` shows: the gateway of Kube-OVN's documentation on a real cluster, from `kubectl apply` to packets
//! that are seen outside. Whatever is not as it must be ends it with an error.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::report::Report;
use crate::cluster::example::{Clients, GATEWAY, NETWORKS, SAMPLE, SELECTED, Seen};
use crate::cluster::gateway::{self, Gateway, manifests};
use crate::cluster::steer::Steering;
use crate::cluster::{Cluster, Parts, output};

const WELCOME: &str = "\
Two Nodes with a kubelet each, a control plane, and OVN as their Pod network; outside of them a server that says whom it saw.
Kube-OVN's controller does not run here: this project's makes the gateways.";
const STEERING: &str = "\
Who steers Pods to gateways is later work of the controller: here ovn-nbctl writes the policies of priority 29100 that Kube-OVN would write.";

/// Brings a cluster up, shows all of it, and ends the cluster; so does an interrupt.
pub fn run(program: PathBuf) -> Result<()> {
    let mut report = Report::default();
    report.heading("1. A cluster")?;
    report.text(WELCOME)?;
    report.gap()?;
    let start = Instant::now();
    let cluster = Cluster::up_for_us(Parts::find()?, program, &mut |what| println!("  {what}"))?;
    let shown = show(&mut report, &cluster);
    if shown.is_err() {
        // What helps to understand it.
        for words in [["get", "pods", "-A", "-o", "wide"].as_slice(), &["get", "events", "-A"], &["describe", "veg"]] {
            let _ = command(&mut report, &cluster, words);
        }
    }
    shown?;
    cluster.down()?;
    report.gap()?;
    report.fact("ended", &format!("nothing is left of the cluster; all of it took {} s", start.elapsed().as_secs()))
}

fn show(report: &mut Report, cluster: &Cluster) -> Result<()> {
    report.heading("2. Controller and kinds")?;
    let said = gateway::install(cluster)?;
    let overlay = "manifests/overlays/standalone";
    report.command(&format!("kubectl {} -k {overlay}", gateway::APPLY.join(" ")), &said)?;
    command(report, cluster, &["get", "pods", "--namespace", gateway::CONTROLLER_NAMESPACE, "-o", "wide"])?;

    report.heading("3. The gateway of Kube-OVN's documentation")?;
    let clients = Clients::start(cluster)?;
    let start = Instant::now();
    let path = manifests(SAMPLE);
    let said = output(cluster.kubectl().arg("apply").arg("-f").arg(&path))?;
    report.command(&format!("kubectl apply -f manifests/{SAMPLE}"), &said)?;
    let gateway = Gateway::named(cluster, GATEWAY);
    gateway.wait_until_complete(1)?;
    report.gap()?;
    report.fact("Completed", &format!("{:.1} s after `kubectl apply`", start.elapsed().as_secs_f64()))?;
    state(report, cluster)?;
    let pod = gateway.pod()?.name;
    for words in [["ip", "rule", "show"], ["ip", "route", "show"]] {
        let said = gateway.exec(&pod, &words)?;
        report.command(&format!("kubectl exec {pod} -c gateway -- {}", words.join(" ")), &said)?;
    }

    report.heading("4. Who leaves, and under which address")?;
    report.text(STEERING)?;
    let steering = Steering::of(&gateway, &SELECTED, &NETWORKS)?;
    steering.by_ready_pods()?;
    policies(report, cluster)?;
    who_leaves(report, &clients, &["172.17.0.11"])?;

    report.heading("5. Two replicas")?;
    let said = output(cluster.kubectl().args(["scale", "veg", "gateway1", "--replicas=2"]))?;
    report.command("kubectl scale veg gateway1 --replicas=2", &said)?;
    gateway.wait_until_complete(2)?;
    state(report, cluster)?;
    let hops = steering.by_ready_pods()?;
    ensure!(hops.len() == 2, "two replicas are {hops:?}");
    policies(report, cluster)?;
    who_leaves(report, &clients, &["172.17.0.11", "172.17.0.12"])
}

/// What the documentation looks at.
fn state(report: &mut Report, cluster: &Cluster) -> Result<()> {
    command(report, cluster, &["get", "veg", "gateway1"])?;
    command(report, cluster, &["get", "veg", "gateway1", "-o", "wide"])?;
    let label = "ovn.kubernetes.io/vpc-egress-gateway=gateway1";
    command(report, cluster, &["get", "deployment", "-l", label])?;
    command(report, cluster, &["get", "pod", "-l", label, "-o", "wide"])
}

fn command(report: &mut Report, cluster: &Cluster, words: &[&str]) -> Result<()> {
    let said = output(cluster.kubectl().args(words))?;
    report.command(&format!("kubectl {}", words.join(" ")), &said)
}

/// The policies of gateways and Nodes for IPv4.
fn policies(report: &mut Report, cluster: &Cluster) -> Result<()> {
    let all = output(cluster.nbctl()?.args(["lr-policy-list", "ovn-cluster"]))?;
    let telling = all.lines().filter(|line| line.contains(" 29") && line.contains("ip4")).collect::<Vec<_>>();
    report.command("ovn-nbctl lr-policy-list ovn-cluster | grep ' 29.*ip4'", &telling.join("\n"))
}

fn who_leaves(report: &mut Report, clients: &Clients<'_>, external: &[&str]) -> Result<()> {
    let seen = clients.leave_by(external)?;
    let addresses = |seen: &Seen| seen.addresses.iter().cloned().collect::<Vec<_>>().join(" ");
    let row = |seen: &Seen| Ok(vec![seen.pod.clone(), clients.node(&seen.pod)?, addresses(seen)]);
    let rows = seen.iter().map(row).collect::<Result<Vec<_>>>()?;
    report.table(&["POD", "NODE", "SEEN OUTSIDE AS, 16 CONNECTIONS"], &rows)?;
    report.text("A capture outside saw no inside address.")
}
