//! Processes of clusters, also those in other PID namespaces: seen from here they have numbers, too.

use std::fs;
use std::path::Path;

use super::cluster_of;
use crate::cluster::folder::{PREFIX, is_zombie};

/// One of them.
pub(super) struct Process {
    pub(super) pid: u32,
    /// Of its program.
    pub(super) name: String,
    /// `egress-cluster-…`
    pub(super) cluster: String,
}

/// Those in machines' control groups, and our own programs that are told a cluster's name.
pub(super) fn of_clusters() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    numbers.filter_map(read).collect()
}

fn read(pid: u32) -> Option<Process> {
    let folder = Path::new("/proc").join(pid.to_string());
    let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let words = text("cmdline");
    let cluster = in_machine(&text("cgroup")).or_else(|| named(&words.split('\0').collect::<Vec<_>>()))?;
    (!is_zombie(pid)).then(|| Process { pid, name: text("comm").trim().to_owned(), cluster })
}

fn in_machine(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/')).find_map(cluster_of).map(ToOwned::to_owned)
}

/// `cluster --name NAME machine …`, which goes on outside of all machines.
fn named(words: &[&str]) -> Option<String> {
    match words {
        [_, "--name", name, "machine", ..] => Some(format!("{PREFIX}{name}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_found_in_groups_and_words() {
        let groups = "4:memory:/a/egress-cluster-egw-1-2-0-node1/kubepods/x\n0::/\n";
        assert_eq!(in_machine(groups).as_deref(), Some("egress-cluster-egw-1-2-0"));
        assert_eq!(in_machine("4:memory:/a/b\n"), None);
        let forward = ["/x/cluster", "--name", "play", "machine", "forward", "1", "2"];
        assert_eq!(named(&forward).as_deref(), Some("egress-cluster-play"));
        assert_eq!(named(&["/x/cluster", "--name", "play", "up"]), None);
    }
}
