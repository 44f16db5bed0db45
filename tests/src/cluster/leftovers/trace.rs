//! A look at the whole machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::folder::{Folder, PREFIX};
use super::super::{cgroup, output};
use super::{names, processes};

/// What a look at the whole machine finds, a line for each thing.
#[derive(Debug, Clone)]
pub struct Trace(BTreeSet<String>);

/// Settings that change by themselves, or with every command.
const VOLATILE: [&str; 7] = ["random", "nr_", "state", "-nr", "pty", "ns_last_pid", "quota"];

impl Trace {
    /// Looks at mounts, links, addresses, routes, rules, nftables, named namespaces, control groups, processes, listeners, settings and
    /// temporary files.
    pub fn take() -> Result<Self> {
        let mut found = BTreeSet::new();
        let mut add = |kind: &str, text: &str| {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            found.extend(lines.map(|line| format!("{kind}: {}", line.trim())));
        };
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // Without the numbers, which change.
        mounts.lines().for_each(|line| add("mount", line.splitn(4, ' ').nth(3).unwrap_or_default()));
        for command in
            ["ip -o link", "ip -o addr", "ip -4 route", "ip -6 route", "ip -4 rule", "ip -6 rule", "ip netns"]
        {
            let mut words = command.split(' ');
            let text = output(Command::new(words.next().unwrap_or_default()).args(words))?;
            // Lifetimes count down.
            text.lines().for_each(|line| add(command, line.split(" valid_lft").next().unwrap_or_default()));
        }
        add("nft", &output(Command::new("nft").args(["list", "ruleset"])).unwrap_or_default());
        for group in cgroup::own_paths() {
            entries(&group).iter().for_each(|name| add("control group", &format!("{}/{name}", group.display())));
        }
        let temporary = entries(&std::env::temp_dir());
        temporary.iter().filter(|name| name.starts_with(PREFIX)).for_each(|name| add("file", name));
        let processes = processes::of_clusters();
        processes.iter().for_each(|it| add("process", &format!("{} {} of {}", it.pid, it.name, it.cluster)));
        listeners(&processes).iter().for_each(|listener| add("listener", listener));
        for folder in ["kernel", "vm", "net/core", "net/ipv4", "net/ipv6/conf/all", "fs"] {
            settings(&Path::new("/proc/sys").join(folder), &mut |line| add("setting", line));
        }
        Ok(Self(found))
    }

    /// What was not there before and may be of this cluster: all but what other clusters and labs have.
    pub fn since(&self, before: &Self, cluster: &str) -> Result<BTreeSet<String>> {
        let own = Folder::of(cluster)?.name();
        let foreign = |line: &&String| [PREFIX, "egw-"].iter().any(|it| line.contains(it)) && !names(line, &own);
        Ok(self.0.difference(&before.0).filter(|line| !foreign(line)).cloned().collect())
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What clusters' processes listen on here, outside of their machines.
fn listeners(processes: &[processes::Process]) -> Vec<String> {
    let open: Vec<_> = ["tcp", "tcp6"].iter().flat_map(|table| listening(table)).collect();
    let mut found = Vec::new();
    for process in processes {
        let descriptors = Path::new("/proc").join(process.pid.to_string()).join("fd");
        let links = fs::read_dir(descriptors).into_iter().flatten().flatten();
        let sockets: Vec<_> = links.filter_map(|link| fs::read_link(link.path()).ok()).collect();
        let its = open.iter().filter(|(_, inode)| sockets.contains(&format!("socket:[{inode}]").into()));
        found.extend(its.map(|(address, _)| format!("{address} of {}", process.cluster)));
    }
    found
}

/// Local addresses (as the kernel writes them) and inodes of a table of proc_pid_net(5).
fn listening(table: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
    let listener = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // State 0A: LISTEN.
        (*fields.get(3)? == "0A").then_some((format!("{table} {}", fields.get(1)?), (*fields.get(9)?).to_owned()))
    };
    text.lines().skip(1).filter_map(listener).collect()
}

fn settings(folder: &Path, add: &mut dyn FnMut(&str)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if VOLATILE.iter().any(|volatile| name.contains(volatile)) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            settings(&path, add);
        } else if let Ok(text) = fs::read_to_string(&path) {
            add(&format!("{} = {}", path.display(), text.trim().replace('\n', " ")));
        }
    }
}
