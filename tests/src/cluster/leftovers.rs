//! What is left of a cluster that has ended: nothing, if all is well.

mod processes;
mod trace;

use std::fs;

pub use self::trace::Trace;
use super::cgroup;
use super::folder::{Folder, PREFIX};
use super::layout::Machine;

/// Everything that could be outside of a cluster's own namespaces: these go with their last process.
pub(super) fn of(folder: &Folder) -> Vec<String> {
    let cluster = folder.name();
    let mut left = Vec::new();
    if folder.exists() {
        left.push(format!("folder {}", folder.path().display()));
    }
    let processes = processes::of_clusters().into_iter().filter(|process| process.cluster == cluster);
    left.extend(processes.map(|process| format!("process {} ({})", process.pid, process.name)));
    left.extend(groups(&cluster).into_iter().map(|group| format!("control group {group}")));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(mounts.lines().filter(|line| names(line, &cluster)).map(|line| format!("mount {line}")));
    left
}

/// Control groups below ours that are the cluster's machines.
fn groups(cluster: &str) -> Vec<String> {
    let machines = Machine::all().into_iter().map(|machine| format!("{cluster}-{}", machine.name));
    let paths = machines.flat_map(|name| cgroup::own_paths().into_iter().map(move |path| path.join(&name)));
    paths.filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
}

/// The cluster (`egress-cluster-…`) that a control group's name is of a machine of.
fn cluster_of(group: &str) -> Option<&str> {
    let machines = Machine::all();
    let cluster = machines.iter().find_map(|machine| group.strip_suffix(&machine.name)?.strip_suffix('-'))?;
    cluster.starts_with(PREFIX).then_some(cluster)
}

/// Whether a line is about the cluster (`egress-cluster-play`), and not about one whose name only begins like its.
fn names(line: &str, cluster: &str) -> bool {
    let is_end = |rest: &str| {
        let machine = rest.strip_prefix('-').is_some_and(|rest| {
            Machine::all().iter().any(|machine| rest.strip_prefix(&*machine.name).is_some_and(no_name_goes_on))
        });
        machine || no_name_goes_on(rest)
    };
    line.match_indices(cluster).any(|(at, _)| is_end(&line[at + cluster.len()..]))
}

fn no_name_goes_on(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_whose_names_begin_alike_are_told_apart() {
        let of = |line: &str| names(line, "egress-cluster-play");
        for line in ["/tmp/egress-cluster-play/node1 x", "file: egress-cluster-play", "a/egress-cluster-play-node1: b"]
        {
            assert!(of(line), "{line}");
        }
        for line in ["/tmp/egress-cluster-play2/node1", "egress-cluster-play-2-node1", "egress-cluster-play-node12", ""]
        {
            assert!(!of(line), "{line}");
        }
        assert_eq!(cluster_of("egress-cluster-play-2-node1"), Some("egress-cluster-play-2"));
        assert_eq!([cluster_of("egress-cluster-play"), cluster_of("user-cp")], [None, None]);
    }
}
