//! A control group of its own for each machine, below the caller's, so that kubelets do not meet in one tree and nothing stays behind.
//!
//! Only hierarchies of version 1: there a machine's cgroup namespace has a root of its own with every controller in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::folder::Folder;

const ROOT: &str = "/sys/fs/cgroup";

/// A hierarchy with its controllers, as `/proc/self/cgroup` names it: `cpu,cpuacct` and the caller's path.
fn hierarchies(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        (!controllers.is_empty() && !controllers.starts_with("name="))
            .then(|| (controllers.to_owned(), path.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// Why machines cannot have control groups here, if they cannot.
pub(super) fn why_not() -> Option<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let found = hierarchies(&own);
    let lacks = ["cpu", "memory", "pids", "devices"].iter().find(|wanted| {
        let mounted = |it: &&(String, String)| it.0.split(',').any(|name| name == **wanted);
        !found.iter().find(mounted).is_some_and(|it| Path::new(ROOT).join(&it.0).is_dir())
    });
    lacks.map(|name| format!("no hierarchy of cgroup version 1 with `{name}` in {ROOT}"))
}

/// The groups that a machine will have.
fn of(cluster: &Folder, machine: &str, hierarchies: &[(String, String)]) -> Vec<PathBuf> {
    let own = format!("{}-{machine}", cluster.name());
    hierarchies
        .iter()
        .map(|(name, path)| Path::new(ROOT).join(name).join(path.trim_start_matches('/')).join(&own))
        .collect()
}

/// Makes a machine's groups and moves this process into them.
pub(super) fn enter(cluster: &Folder, machine: &str) -> Result<()> {
    // The file changes with each move.
    let own = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    let hierarchies = hierarchies(&own);
    ensure!(!hierarchies.is_empty(), "{}", why_not().unwrap_or_default());
    let groups = of(cluster, machine, &hierarchies);
    cluster.record_cgroups(machine, &groups)?;
    for group in &groups {
        fs::create_dir_all(group).with_context(|| format!("create {}", group.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let from = group.parent().unwrap_or(group).join(file);
            if let Ok(value) = fs::read(&from) {
                fs::write(group.join(file), value).with_context(|| format!("copy {}", from.display()))?;
            }
        }
        let procs = group.join("cgroup.procs");
        fs::write(&procs, std::process::id().to_string()).with_context(|| format!("write {}", procs.display()))?;
    }
    Ok(())
}

/// Whether no process is in the machine's groups, or in any below.
pub(super) fn is_empty(cluster: &Folder, machine: &str) -> bool {
    cluster.cgroups(machine).iter().all(|group| processes(group).is_empty())
}

/// Kills whatever is in the machine's groups, or in any below.
pub(super) fn kill(cluster: &Folder, machine: &str) {
    let found = cluster.cgroups(machine).iter().flat_map(|group| processes(group)).collect::<BTreeSet<_>>();
    // One of another PID namespace would be 0, which means ourselves to kill(2).
    for pid in found.iter().filter_map(|it| it.parse().ok()).filter(|pid| *pid > 1) {
        // One that ends by itself meanwhile is as good; one that is born meanwhile is met at the next look.
        let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Numbers of the processes in a group and all below.
pub(super) fn processes(group: &Path) -> Vec<String> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<_> = own.lines().map(ToOwned::to_owned).collect();
    children(group).iter().for_each(|child| found.extend(processes(child)));
    found
}

/// Removes the machine's groups.
pub(super) fn remove(cluster: &Folder, machine: &str) {
    cluster.cgroups(machine).iter().for_each(|group| remove_tree(group));
}

fn remove_tree(group: &Path) {
    children(group).iter().for_each(|child| remove_tree(child));
    // One that stays is found by the look for leftovers.
    let _ = fs::remove_dir(group);
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// This process's own group in every hierarchy.
pub(super) fn own_paths() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = |(name, path): (String, String)| Path::new(ROOT).join(name).join(path.trim_start_matches('/'));
    hierarchies(&own).into_iter().map(path).collect()
}

/// What a machine mounts in its own `/sys/fs/cgroup`: controllers of each hierarchy.
pub(super) fn controllers() -> Result<Vec<String>> {
    let own = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    Ok(hierarchies(&own).into_iter().map(|(controllers, _)| controllers).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hierarchies_with_controllers_count() {
        let text = "11:cpu,cpuacct:/a/b\n2:memory:/\n1:name=systemd:/x\n0::/y\n";
        let found = hierarchies(text);
        assert_eq!(found, [("cpu,cpuacct".into(), "/a/b".into()), ("memory".into(), "/".into())]);
        let groups = of(&Folder::of("play").unwrap(), "node1", &found);
        let wanted = ["cpu,cpuacct/a/b", "memory"].map(|it| format!("{ROOT}/{it}/egress-cluster-play-node1"));
        assert_eq!(groups, wanted.map(PathBuf::from));
    }
}
