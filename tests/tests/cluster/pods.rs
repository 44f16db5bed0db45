//! Pods of a test, in a namespace of its own.

use std::process::Command;

use anyhow::{Context, Result};
use egress_tests::cluster::{Cluster, output};

/// A namespace with the Pods of `pods.yaml`; the Pods go with the value, the namespace soon after.
pub(super) struct Pods<'a> {
    cluster: &'a Cluster,
    namespace: String,
}

impl<'a> Pods<'a> {
    /// Makes those of `pods.yaml` and waits until all are Ready.
    pub(super) fn start(cluster: &'a Cluster, namespace: &str) -> Result<Self> {
        Self::of(cluster, namespace, include_str!("pods.yaml"))
    }

    /// Makes those of a manifest and waits until all are Ready.
    pub(super) fn of(cluster: &'a Cluster, namespace: &str, manifest: &str) -> Result<Self> {
        cluster.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"))?;
        let pods = Self { cluster, namespace: namespace.to_owned() };
        // The account without which no Pod is taken comes by itself, a moment later.
        output(pods.kubectl().args(["wait", "--for=create", "serviceaccount/default", "--timeout=30s"]))?;
        cluster.apply_in(namespace, manifest)?;
        pods.wait_until_ready()?;
        Ok(pods)
    }

    /// All of them are Ready.
    pub(super) fn wait_until_ready(&self) -> Result<()> {
        output(self.kubectl().args(["wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s"])).map(drop)
    }

    /// kubectl in the namespace.
    pub(super) fn kubectl(&self) -> Command {
        let mut command = self.cluster.kubectl();
        command.args(["--namespace", &self.namespace]);
        command
    }

    /// IPv4 and IPv6 of a Pod.
    pub(super) fn addresses(&self, pod: &str) -> Result<[String; 2]> {
        let text = output(self.kubectl().args(["get", "pod", pod, "-o", "jsonpath={.status.podIPs[*].ip}"]))?;
        let (v4, v6) = text.split_once(' ').with_context(|| format!("{pod} has one address only: {text}"))?;
        Ok([v4.to_owned(), v6.to_owned()])
    }

    /// What a server says to a Pod: the address that it saw, and the server's name.
    pub(super) fn get(&self, pod: &str, server: &str) -> Result<(String, String)> {
        let text = output(self.kubectl().args(["exec", pod, "--", "pod", "get", server]))?;
        let mut words = text.split_whitespace();
        let (Some(seen), Some(_), Some(name)) = (words.next(), words.next(), words.next()) else {
            anyhow::bail!("no answer of a test server: {text}")
        };
        Ok((seen.to_owned(), name.to_owned()))
    }

    /// What the UDP server says to a Pod.
    pub(super) fn ask(&self, pod: &str, server: &str) -> Result<String> {
        Ok(output(self.kubectl().args(["exec", pod, "--", "pod", "ask", server]))?.trim().to_owned())
    }
}

impl Drop for Pods<'_> {
    fn drop(&mut self) {
        // Addresses are free again with the Pods; their namespace is nobody else's, and takes Kubernetes some seconds more.
        let pods = output(self.kubectl().args(["delete", "pods", "--all", "--timeout=60s"]));
        let mut delete = self.cluster.kubectl();
        let gone = pods.and_then(|_| output(delete.args(["delete", "namespace", &self.namespace, "--wait=false"])));
        if let Err(error) = gone {
            eprintln!("{error:#}");
        }
    }
}
