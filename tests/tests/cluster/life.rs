//! Clusters come and go without a trace, and do not know of each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use egress_tests::cluster::leftovers::Trace;
use egress_tests::cluster::{Cluster, Parts, down, names};
use egress_tests::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::pods::Pods;
use crate::shared::program;
use crate::{shared, skip_cluster};

fn appeared(before: &Trace, cluster: &str) -> Result<BTreeSet<String>> {
    Trace::take()?.since(before, cluster)
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
        let seen = appeared(&before, second.name())?;
        for kind in ["process: ", "listener: ", "control group: ", "file: "] {
            ensure!(seen.iter().any(|line| line.starts_with(kind)), "the look is blind for `{kind}`: {seen:#?}");
        }
    }
    let name = second.name().to_owned();
    second.down()?;
    let left = appeared(&before, &name)?;
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
        let left = appeared(&before, &name)?;
        ensure!(left.is_empty() && !names().contains(&name), "left behind after {pause:?}: {left:#?}");
    }
    Ok(())
}

/// The folder of a cluster of which nothing else is there.
fn empty_folder(cluster: &str) -> Result<PathBuf> {
    let folder = env::temp_dir().join(format!("egress-cluster-{cluster}"));
    fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// A control group that no machine wrote down, with a process in it.
struct Forgotten(PathBuf, Child);

impl Forgotten {
    fn of(cluster: &str) -> Result<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.split_once(":memory:")).context("no hierarchy `memory`")?.1;
        let name = format!("egress-cluster-{cluster}-node1");
        let group = Path::new("/sys/fs/cgroup/memory").join(own.trim_start_matches('/')).join(name);
        let process = Command::new("sleep").arg("600").spawn().context("start sleep")?;
        let forgotten = Self(group, process);
        fs::create_dir(&forgotten.0).with_context(|| format!("create {}", forgotten.0.display()))?;
        fs::write(forgotten.0.join("cgroup.procs"), forgotten.1.id().to_string()).context("move sleep")?;
        Ok(forgotten)
    }
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        let _ = self.1.kill().and_then(|()| self.1.wait());
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn what_is_left_of_a_cluster_is_named() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let name = format!("forgotten-{}", std::process::id());
    empty_folder(&name)?;
    // One whose name begins alike is another.
    let _longer = Forgotten::of(&format!("{name}-2"))?;
    let forgotten = Forgotten::of(&name)?;
    let said = down(&name).err().map(|error| format!("{error:#}")).context("down says that nothing is left")?;
    let (process, group) = (format!("process {} (sleep)", forgotten.1.id()), forgotten.0.display().to_string());
    ensure!(said == format!("left of the cluster: {process}; control group {group}"), "{said}");
    Ok(())
}

/// A machine's first process asks to die with the one that started it, but a moment after it was born.
#[test]
fn what_outlives_the_process_that_started_it_ends_with_the_cluster() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let name = format!("outlived-{}", std::process::id());
    let folder = empty_folder(&name)?;
    let mut outlived = Forgotten::of(&name)?;
    // As a machine does before it makes them.
    fs::write(folder.join("node1.cgroups"), outlived.0.display().to_string()).context("write down the group")?;
    down(&name)?;
    ensure!(outlived.1.try_wait()?.is_some(), "the process lives still");
    ensure!(!outlived.0.exists() && !folder.exists(), "group or folder are there still");
    Ok(())
}
