//! The controller, installed once per cluster, and a sample with what goes with it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_test_pod::Talk;
use egress_tests::cluster::example::{Clients, Conversation};
use egress_tests::cluster::gateway::{Gateway, install, manifests};
use egress_tests::cluster::steer::Steering;
use egress_tests::cluster::{Cluster, output};
use egress_tests::eventually;

/// Servers outside, for conversations that are spread over gateways by their destination.
pub(super) const MANY: [IpAddr; 4] = [outside(1), outside(2), outside(3), outside(4)];

const fn outside(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(172, 17, 1, number))
}

/// What became of a conversation.
pub(super) fn heard(talk: Conversation) -> Result<Talk> {
    let talk = talk.heard()?;
    println!("{talk:?}");
    Ok(talk)
}

/// A gateway from a manifest; it goes with the value, and the cluster's networks are then as they were.
pub(super) struct Site<'a> {
    cluster: &'a Cluster,
    gateways: Vec<Gateway<'a>>,
}

impl<'a> Site<'a> {
    /// Installs the controller where that has not been done.
    pub(super) fn bare(cluster: &'a Cluster) -> Result<Self> {
        static INSTALLED: AtomicBool = AtomicBool::new(false);
        if !INSTALLED.load(Ordering::SeqCst) {
            install(cluster)?;
            INSTALLED.store(true, Ordering::SeqCst);
        }
        Ok(Self { cluster, gateways: Vec::new() })
    }

    /// With a sample of manifests/, applied as a person would.
    pub(super) fn with_sample(cluster: &'a Cluster, sample: &str, key: &str) -> Result<Self> {
        let mut site = Self::bare(cluster)?;
        site.gateways.push(Gateway::named(cluster, key));
        output(cluster.kubectl().arg("apply").arg("-f").arg(manifests(sample)))?;
        Ok(site)
    }

    /// With a manifest of the test's own.
    pub(super) fn with(cluster: &'a Cluster, manifest: &str, key: &str) -> Result<Self> {
        let mut site = Self::bare(cluster)?;
        site.gateways.push(Gateway::named(cluster, key));
        cluster.apply(manifest)?;
        Ok(site)
    }

    pub(super) fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The gateway.
    pub(super) fn gateway(&self) -> Result<&Gateway<'a>> {
        self.gateways.first().context("no gateway")
    }

    /// kubectl in the namespace `default`, which must succeed.
    pub(super) fn kubectl(&self, words: &[&str]) -> Result<String> {
        output(self.cluster.kubectl().args(words))
    }

    /// A merge patch of the gateway's spec.
    pub(super) fn patch(&self, name: &str, spec: &serde_json::Value) -> Result<()> {
        let patch = serde_json::json!({"spec": spec}).to_string();
        self.kubectl(&["patch", "veg", name, "--type=merge", "-p", &patch]).map(drop)
    }

    /// The condition `Ready` says this.
    pub(super) fn wait_for_reason(&self, reason: &str) -> Result<String> {
        let gateway = self.gateway()?;
        let mut found = serde_json::Value::Null;
        let what = format!("{} is {reason}", gateway.key());
        let waited = eventually(&what, Duration::from_secs(60), || {
            let object = gateway.object()?;
            let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            found = conditions.find(|it| it["type"] == "Ready").cloned().unwrap_or_default();
            Ok(found["reason"] == reason && found["observedGeneration"] == object["metadata"]["generation"])
        });
        waited.with_context(|| found.to_string())?;
        Ok(found["message"].as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        for gateway in &self.gateways {
            let key = gateway.key();
            let (_, name) = key.split_once('/').unwrap_or_default();
            let mut delete = gateway.kubectl();
            let gone = output(delete.args(["delete", "veg", name, "--ignore-not-found", "--timeout=60s"]));
            let gone = gone.and_then(|_| {
                eventually("the gateway's Pods are gone", Duration::from_secs(90), || Ok(gateway.pods()?.is_empty()))
            });
            if let Err(error) = gone.and_then(|()| self.cluster.restore_networks()) {
                eprintln!("{error:#}");
            }
        }
    }
}

/// The example of Kube-OVN's documentation with its clients, steered to it.
pub(super) struct Example<'a> {
    // Dropped in this order.
    pub(super) steering: Steering<'a>,
    pub(super) clients: Clients<'a>,
    pub(super) site: Site<'a>,
}

impl<'a> Example<'a> {
    pub(super) fn start(cluster: &'a Cluster, replicas: usize) -> Result<Self> {
        use egress_tests::cluster::example::{GATEWAY, NETWORKS, SAMPLE, SELECTED};
        let site = Site::with_sample(cluster, SAMPLE, GATEWAY)?;
        let clients = Clients::start(cluster)?;
        if replicas != 1 {
            site.kubectl(&["scale", "veg", "gateway1", &format!("--replicas={replicas}")])?;
        }
        site.gateway()?.wait_until_complete(replicas)?;
        let steering = Steering::of(site.gateway()?, &SELECTED, &NETWORKS)?;
        let hops = steering.by_ready_pods()?;
        ensure!(hops.len() == replicas, "{replicas} replicas are {hops:?}");
        Ok(Self { steering, clients, site })
    }
}
