//! The example of Kube-OVN's documentation on a cluster: its clients, and what is seen outside of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use egress_test_pod::{ECHO, Talk};

use super::layout::{NODES, NODES_OUTSIDE};
use super::{Cluster, output};
use crate::capture::Capture;
use crate::lab::addresses::SERVER;
use crate::oracle;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cluster/manifests/clients.yaml");
const NAMESPACES: [&str; 2] = ["ns1", "ns2"];
/// Of all clients.
const LABEL: &str = "lab=client";
/// Those that the example's selectors match, one on each Node.
pub const SELECTED: [&str; 2] = ["ns1/client1", "ns2/client2"];
/// One that none of them matches.
pub const BYSTANDER: &str = "ns2/bystander";
/// Networks of its policies.
pub const NETWORKS: [&str; 2] = ["10.17.0.0/16", "10.18.0.0/16"];
/// Its sample manifest.
pub const SAMPLE: &str = "samples/gateway1.yaml";
/// So many that two gateways both get some: the policies' hash takes the ports in.
const CONNECTIONS: &str = "16";
/// Its name.
pub const GATEWAY: &str = "default/gateway1";

/// The clients; they go with the value, and their namespaces stay for the next ones.
#[derive(Debug)]
pub struct Clients<'a>(&'a Cluster);

/// What a Pod says to a server and hears of it, while other things happen.
#[derive(Debug)]
pub struct Conversation {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Talk>>,
}

impl Conversation {
    /// Ends it before its time.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for its end.
    pub fn heard(self) -> Result<Talk> {
        self.thread.join().map_err(|_| anyhow!("a conversation panicked"))?
    }
}

/// Whom a server saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who asked.
    pub pod: String,
    /// Under which addresses.
    pub addresses: BTreeSet<String>,
}

impl<'a> Clients<'a> {
    /// Makes them and waits until they are Ready.
    pub fn start(cluster: &'a Cluster) -> Result<Self> {
        let clients = Self(cluster);
        output(cluster.kubectl().args(["apply", "-f", CLIENTS]))?;
        for namespace in NAMESPACES {
            let mut wait = cluster.kubectl();
            wait.args(["--namespace", namespace, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s"]);
            output(&mut wait)?;
        }
        Ok(clients)
    }

    /// Whom the server outside saw when this Pod (`namespace/name`) asked some times, each time from another port.
    pub fn seen(&self, pod: &str) -> Result<Seen> {
        let text = self.run(pod, &["get", &SERVER.0.to_string(), CONNECTIONS])?;
        let addresses: BTreeSet<_> =
            text.lines().filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect();
        ensure!(!addresses.is_empty(), "no answer for {pod}");
        Ok(Seen { pod: pod.to_owned(), addresses })
    }

    /// The Node of a client Pod.
    pub fn node(&self, pod: &str) -> Result<String> {
        let (namespace, name) = named(pod)?;
        let mut get = self.0.kubectl();
        get.args(["--namespace", namespace, "get", "pod", name, "-o", "jsonpath={.spec.nodeName}"]);
        output(&mut get)
    }

    /// What the program of a client Pod says.
    pub fn run(&self, pod: &str, words: &[&str]) -> Result<String> {
        let (namespace, name) = named(pod)?;
        let mut exec = self.0.kubectl();
        exec.args(["--namespace", namespace, "exec", name, "--", "pod"]).args(words);
        output(&mut exec)
    }

    /// A conversation of a selected Pod with a server outside: a datagram every 10 ms. It needs no API server.
    pub fn talk(&self, pod: &str, server: IpAddr, time: Duration) -> Result<Conversation> {
        let number = SELECTED.iter().position(|it| *it == pod).with_context(|| format!("{pod} is not selected"))?;
        let (namespace, name) = pod.split_once('/').unwrap_or_default();
        let own = self.0.pod_namespace(NODES[number], &format!("{name}.{namespace}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let talk = move || own.run(|| egress_test_pod::talk((server, ECHO).into(), time, &told))?;
        Ok(Conversation { stop, thread: thread::spawn(talk) })
    }

    /// The selected Pods are seen under all of these addresses and no other, the bystander under its Node's, and no inside address is
    /// seen at all.
    pub fn leave_by(&self, external: &[&str]) -> Result<Vec<Seen>> {
        let eyes = Capture::start(&self.0.outside_namespace()?, "eth0")?;
        let all = SELECTED.iter().chain([&BYSTANDER]).map(|pod| self.seen(pod)).collect::<Result<Vec<_>>>()?;
        let frames = eyes.stop()?;
        let addresses = |of: &[&str]| -> BTreeSet<String> {
            all.iter().filter(|seen| of.contains(&&*seen.pod)).flat_map(|seen| seen.addresses.clone()).collect()
        };
        let wanted: BTreeSet<String> = external.iter().map(ToString::to_string).collect();
        ensure!(addresses(&SELECTED) == wanted, "selected Pods were not seen as {wanted:?}: {all:?}");
        ensure!(addresses(&[BYSTANDER]) == [NODES_OUTSIDE.0.to_string()].into(), "{BYSTANDER}: {all:?}");
        ensure!(!frames.is_empty(), "the capture outside saw nothing, which proves nothing");
        let leaks = oracle::leaks(&frames, &[]);
        ensure!(leaks.is_empty(), "inside addresses were seen outside: {leaks:?}");
        Ok(all)
    }
}

fn named(pod: &str) -> Result<(&str, &str)> {
    pod.split_once('/').with_context(|| format!("{pod} as namespace/name"))
}

impl Drop for Clients<'_> {
    fn drop(&mut self) {
        let mut delete = self.0.kubectl();
        // Not their namespaces: Kubernetes takes some seconds for one.
        delete.args(["delete", "pods", "--all-namespaces", "--selector", LABEL, "--timeout=60s"]);
        if let Err(error) = output(&mut delete) {
            eprintln!("{error:#}");
        }
    }
}
