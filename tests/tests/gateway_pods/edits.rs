//! What changes in the cluster reaches running gateways, and makes no Pod anew.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use egress_tests::capture::Capture;
use egress_tests::cluster::example::BYSTANDER;
use egress_tests::cluster::gateway::Gateway;
use egress_tests::cluster::steer::Steering;
use egress_tests::{eventually, oracle};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::site::{Example, Site};
use crate::{shared, skip_cluster};

/// The fastest of some edits came because the kubelet was told: one that is not looks after a minute.
const TOLD: Duration = Duration::from_secs(20);

/// How long from `begin` until the agent said that a change is in force: its log has the time.
fn in_force_since(gateway: &Gateway<'_>, pod: &str, begin: SystemTime) -> Result<Duration> {
    let begin = Timestamp::try_from(begin).context("the time")?;
    let mut took = None;
    eventually("the agent brings a change into force", Duration::from_secs(100), || {
        let mut logs = gateway.kubectl();
        let log = egress_tests::cluster::output(logs.args(["logs", pod, "-c", "gateway", "--tail=20"]))?;
        let times = log.lines().filter(|line| line.trim_end().ends_with("in force"));
        let mut times = times.filter_map(|line| line.split_whitespace().next()?.parse::<Timestamp>().ok());
        took = times.rfind(|time| *time > begin).map(|time| time.duration_since(begin).unsigned_abs());
        Ok(took.is_some())
    })?;
    took.context("no time")
}

fn same_pod(site: &Site<'_>, uid: &str) -> Result<()> {
    let pod = site.gateway()?.pod()?;
    ensure!(pod.uid == uid && pod.ready, "Pod {uid} was replaced by {pod:?}, or is not ready");
    let generation = site.kubectl(&["get", "deployment", "gateway1", "-o", "jsonpath={.metadata.generation}"])?;
    ensure!(generation == "1", "the Deployment was changed: generation {generation}");
    Ok(())
}

#[test]
fn a_policy_reaches_the_running_gateway() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let example = Example::start(shared.cluster()?, 1)?;
    let (site, gateway) = (&example.site, example.site.gateway()?);
    let pod = gateway.pod()?;
    let mut fastest = Duration::MAX;
    for (number, block) in [(1, "10.19.0.0/16"), (2, "10.20.0.0/16"), (3, "10.21.0.0/16")] {
        let begin = SystemTime::now();
        let policies = json!([{"snat": true, "subnets": ["subnet1"]}, {"snat": false, "ipBlocks": [block]}]);
        site.patch("gateway1", &json!({"policies": policies}))?;
        let took = in_force_since(gateway, &pod.name, begin)?;
        println!("edit {number}: {} ms from the begin of `kubectl patch` to the gateway's maps", took.as_millis());
        fastest = fastest.min(took);
        let routes = gateway.exec(&pod.name, &["ip", "route", "show"])?;
        ensure!(routes.contains(&format!("{block} via 10.16.0.1")), "no route of the new policy: {routes}");
        ensure!(!routes.contains("10.18.0.0/16"), "the old policy's route is there still: {routes}");
    }
    ensure!(fastest <= TOLD, "the fastest edit took {} ms", fastest.as_millis());
    gateway.wait_until_complete(1)?;
    same_pod(site, &pod.uid)?;
    // One that is wrong changes nothing.
    site.patch("gateway1", &json!({"policies": [{"snat": true, "subnets": ["nowhere"]}]}))?;
    let message = site.wait_for_reason("ReconcileWorkloadFailed")?;
    ensure!(message.contains("spec.policies[0].subnets[0]") && message.contains("nowhere"), "{message}");
    let routes = gateway.exec(&pod.name, &["ip", "route", "show"])?;
    ensure!(routes.contains("10.21.0.0/16 via 10.16.0.1"), "the last good state is gone: {routes}");
    same_pod(site, &pod.uid)?;
    example.clients.leave_by(&["172.17.0.11"]).map(drop)
}

#[test]
fn a_pods_label_reaches_the_running_gateway() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let example = Example::start(shared.cluster()?, 1)?;
    let (site, gateway) = (&example.site, example.site.gateway()?);
    // Sources of this block are translated only if a selector has them.
    let policies = json!([{"snat": false, "ipBlocks": ["10.16.0.0/16"]}]);
    let pod = gateway.pod()?;
    let begin = SystemTime::now();
    site.patch("gateway1", &json!({"policies": policies}))?;
    in_force_since(gateway, &pod.name, begin)?;
    let all = ["ns1/client1", "ns2/client2", BYSTANDER];
    drop(example.steering);
    let steering = Steering::of(gateway, &all, &[])?;
    steering.by_ready_pods()?;
    let eyes = Capture::start(&site.cluster().outside_namespace()?, "eth0")?;
    ensure!(example.clients.seen(BYSTANDER).is_err(), "the world outside knows the way to a Pod that nobody selects");
    ensure!(!oracle::leaks(&eyes.stop()?, &[]).is_empty(), "a `snat: false` source was translated");
    let mut fastest = Duration::MAX;
    for (label, selected) in [("app=myapp", true), ("app-", false), ("app=myapp", true)] {
        let begin = SystemTime::now();
        site.kubectl(&["--namespace=ns2", "label", "pod", "bystander", label])?;
        let took = in_force_since(gateway, &pod.name, begin)?;
        println!("{label}: {} ms from the begin of `kubectl label` to the gateway's maps", took.as_millis());
        fastest = fastest.min(took);
        let seen = example.clients.seen(BYSTANDER);
        ensure!(seen.is_ok() == selected, "selected: {selected}, seen: {seen:?}");
        if let Ok(seen) = seen {
            ensure!(seen.addresses == ["172.17.0.11".to_owned()].into(), "{seen:?}");
        }
    }
    ensure!(fastest <= TOLD, "the fastest change took {} ms", fastest.as_millis());
    same_pod(site, &pod.uid)
}
