//! What is left of a cluster that has ended: nothing, if all is well.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::folder::{self, Folder, Process};
use super::layout::Machine;
use super::{cgroup, output, start};

/// Everything that could be outside of a cluster's own namespaces: these go with their last process.
pub(super) fn of(folder: &Folder) -> Vec<String> {
    let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut left = Vec::new();
    if folder.exists() {
        left.push(format!("folder {}", folder.path().display()));
    }
    let roles = Machine::all().into_iter().map(|machine| machine.name).chain([start::FORWARD.to_owned()]);
    let alive = roles.filter_map(|role| Some((folder.process(&role).filter(Process::lives)?, role)));
    left.extend(alive.map(|(process, role)| format!("process {} ({role})", process.pid)));
    left.extend(groups(&name).into_iter().map(|group| format!("control group {group}")));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(mounts.lines().filter(|line| line.contains(&name)).map(|line| format!("mount {line}")));
    left
}

/// Control groups anywhere below ours that carry the cluster's name.
fn groups(name: &str) -> Vec<String> {
    let hierarchies = cgroup::own_paths();
    let entries = hierarchies.iter().flat_map(|path| fs::read_dir(path).into_iter().flatten().flatten());
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}-")));
    ours.map(|entry| entry.path().display().to_string()).collect()
}

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
            let foreign = |line: &&str| !line.trim().is_empty() && !line.contains("egw-");
            found.extend(text.lines().filter(foreign).map(|line| format!("{kind}: {}", line.trim())));
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
            names(&group).iter().for_each(|name| add("control group", &format!("{}/{name}", group.display())));
        }
        names(&std::env::temp_dir())
            .iter()
            .filter(|name| name.starts_with(folder::PREFIX))
            .for_each(|name| add("file", name));
        processes().iter().for_each(|process| add("process", process));
        for folder in ["kernel", "vm", "net/core", "net/ipv4", "net/ipv6/conf/all", "fs"] {
            settings(&Path::new("/proc/sys").join(folder), &mut |line| add("setting", line));
        }
        Ok(Self(found))
    }

    /// What was not there before.
    pub fn since(&self, before: &Self) -> BTreeSet<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Processes in a cluster's control groups, also those in other PID namespaces: seen from here they have numbers, too.
fn processes() -> Vec<String> {
    let numbers = names(Path::new("/proc")).into_iter().filter(|name| name.bytes().all(|it| it.is_ascii_digit()));
    let named = |pid: String| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        groups.contains(folder::PREFIX).then(|| format!("{pid} {}", name.trim()))
    };
    numbers.filter_map(named).collect()
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
