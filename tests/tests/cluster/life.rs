//! Clusters come and go without a trace, and do not know of each other.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::cluster::leftovers::Trace;
use egress_tests::cluster::{Cluster, Parts, names};
use egress_tests::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::pods::Pods;
use crate::shared::program;
use crate::{shared, skip_cluster};

fn appeared(before: &Trace) -> Result<BTreeSet<String>> {
    Ok(Trace::take()?.since(before))
}

#[test]
fn a_second_cluster_lives_beside_the_first_and_leaves_nothing() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let first = Pods::start(shared.cluster()?, "beside")?;
    let before = Trace::take()?;
    let second = Cluster::up_for_us(Parts::find()?, program().to_owned(), &mut |what| println!("{what}"))?;
    {
        let pods = Pods::start(&second, "beside")?;
        for (cluster, pods) in [("first", &first), ("second", &pods)] {
            let address = &pods.addresses("b")?[0];
            ensure!(pods.get("a", address)?.1 == "b", "{cluster} cluster: {address}");
        }
        ensure!(!appeared(&before)?.is_empty(), "the cluster left no trace while it was up: then the look is blind");
    }
    second.down()?;
    let left = appeared(&before)?;
    ensure!(left.is_empty(), "left behind: {left:#?}");
    Ok(())
}

#[test]
fn an_interrupted_start_leaves_nothing() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let before = Trace::take()?;
    let name = format!("interrupted-{}", std::process::id());
    let start = || {
        let mut up = Command::new(program());
        up.args(["--name", &name, "up"]).stdout(Stdio::null()).stderr(Stdio::null());
        up.spawn().context("start the program")
    };
    // Early, when machines come up; later, when they wait for the API server.
    for pause in [Duration::from_millis(100), Duration::from_secs(2)] {
        let mut up = start()?;
        eventually("the cluster has begun", Duration::from_secs(10), || Ok(names().contains(&name)))?;
        std::thread::sleep(pause);
        kill(Pid::from_raw(i32::try_from(up.id())?), Signal::SIGINT).context("interrupt it")?;
        let status = up.wait().context("wait for it")?;
        ensure!(!status.success(), "an interrupted start is a success");
        let left = appeared(&before)?;
        ensure!(left.is_empty() && !names().contains(&name), "left behind after {pause:?}: {left:#?}");
    }
    Ok(())
}
