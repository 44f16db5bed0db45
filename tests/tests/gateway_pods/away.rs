//! Parts of the control plane go away in the middle of a change.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use egress_tests::cluster::example::SELECTED;
use egress_tests::cluster::layout::CONTROL_PLANE;
use egress_tests::cluster::{Cluster, output};
use egress_tests::eventually;
use serde_json::json;

use super::site::{Example, MANY, heard};
use crate::{shared, skip_cluster};

/// Kills a program of the control plane's machine; it stays away as long as the value lives, then comes again.
struct Held<'a>(&'a Cluster, &'static str);

impl<'a> Held<'a> {
    fn kill(cluster: &'a Cluster, service: &'static str) -> Result<Self> {
        let held = Self(cluster, service);
        output(
            &mut held
                .sh(&format!("touch /run/services/{service}.hold && kill -9 $(tail -1 /run/services/{service})"))?,
        )?;
        Ok(held)
    }

    fn sh(&self, line: &str) -> Result<Command> {
        let mut sh = self.0.inside(CONTROL_PLANE, "bash")?;
        sh.args(["-c", line]);
        Ok(sh)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let back = self.sh(&format!("rm -f /run/services/{}.hold", self.1)).and_then(|mut sh| output(&mut sh));
        let up = || Ok(output(self.0.kubectl().args(["get", "--raw", "/readyz", "--request-timeout=5s"])).is_ok());
        let back = back.and_then(|_| eventually("the API server is ready again", Duration::from_secs(60), up));
        if let Err(error) = back {
            eprintln!("{error:#}");
        }
    }
}

/// A kubelet that has lost its watches renews what a Pod has mounted with its next round, which may be more than a minute away.
const KUBELET: Duration = Duration::from_secs(180);

/// Waits until the next hop of a policy's CIDR is in the gateway's routes: then the policy is in force.
fn in_force(example: &Example<'_>, pod: &str, block: &str) -> Result<()> {
    let (gateway, begin) = (example.site.gateway()?, Instant::now());
    eventually(&format!("{block} is in force"), KUBELET, || {
        Ok(gateway.exec(pod, &["ip", "route", "show", block]).is_ok_and(|text| text.contains("via 10.16.0.1")))
    })?;
    println!("{block} was in force after {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn patch(example: &Example<'_>, block: &str) -> Result<()> {
    let policies = json!([{"snat": true, "subnets": ["subnet1"]}, {"snat": false, "ipBlocks": [block]}]);
    example.site.patch("gateway1", &json!({"policies": policies}))
}

#[test]
fn the_leader_is_killed_in_the_middle_of_a_change() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let example = Example::start(shared.cluster()?, 1)?;
    let gateway = example.site.gateway()?;
    let pod = gateway.pod()?;
    let leader = || {
        example.site.kubectl(&[
            "--namespace=egress-system",
            "get",
            "lease",
            "egress-gateway-controller",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ])
    };
    let first = leader()?;
    patch(&example, "10.19.0.0/16")?;
    example.site.kubectl(&["--namespace=egress-system", "delete", "pod", &first, "--force", "--grace-period=0"])?;
    patch(&example, "10.20.0.0/16")?;
    in_force(&example, &pod.name, "10.20.0.0/16")?;
    ensure!(leader()? != first, "{first} leads still");
    gateway.wait_until_complete(1)?;
    ensure!(gateway.pod()?.uid == pod.uid, "the gateway's Pod was replaced");
    let mut wait = shared.cluster()?.kubectl();
    wait.args([
        "--namespace=egress-system",
        "rollout",
        "status",
        "deployment/egress-gateway-controller",
        "--timeout=60s",
    ]);
    output(&mut wait)?;
    example.clients.leave_by(&["172.17.0.11"]).map(drop)
}

#[test]
fn the_gateway_goes_on_without_the_api_server_and_follows_after() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let example = Example::start(cluster, 1)?;
    let gateway = example.site.gateway()?;
    let pod = gateway.pod()?;
    // A conversation from before, over the whole time.
    let talk = example.clients.talk(SELECTED[0], MANY[0], Duration::from_secs(12))?;
    std::thread::sleep(Duration::from_secs(1));
    patch(&example, "10.19.0.0/16")?;
    {
        let _away = Held::kill(cluster, "kube-apiserver")?;
        std::thread::sleep(Duration::from_secs(6));
        ensure!(
            output(cluster.kubectl().args(["get", "--raw", "/readyz", "--request-timeout=2s"])).is_err(),
            "the API server is there"
        );
    }
    let talk = heard(talk)?;
    ensure!(talk.sent > 500 && talk.sent == talk.answered, "datagrams were lost without the API server: {talk:?}");
    ensure!(talk.seen == ["172.17.0.11".to_owned()].into(), "{talk:?}");
    in_force(&example, &pod.name, "10.19.0.0/16")?;
    patch(&example, "10.20.0.0/16")?;
    in_force(&example, &pod.name, "10.20.0.0/16")?;
    gateway.wait_until_complete(1)?;
    ensure!(gateway.pod()?.uid == pod.uid, "the gateway's Pod was replaced");
    example.clients.leave_by(&["172.17.0.11"]).map(drop)
}
