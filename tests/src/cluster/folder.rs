//! What a cluster keeps on disk: one folder, whose name is the cluster's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::system::name::{InstanceName, start_time};

pub(super) const PREFIX: &str = "egress-cluster-";
/// The cluster of `cargo xtask cluster`, where no name is given.
pub const USUAL_NAME: &str = "play";

/// A process by its number and start time: a later one with the same number is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    start: u64,
}

impl Process {
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start: start_time(pid)? })
    }

    pub(super) fn lives(&self) -> bool {
        Self::of(self.pid) == Some(*self) && !is_zombie(self.pid)
    }

    fn parse(line: &str) -> Option<Self> {
        let (pid, start) = line.split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }
}

/// One that only waits for its parent to ask for it is gone.
pub(super) fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn of(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
            bail!("a cluster's name is made of 1 to 40 small letters, digits and `-`, which `{name}` is not");
        }
        Ok(Self(std::env::temp_dir().join(format!("{PREFIX}{name}"))))
    }

    /// Every cluster that has a folder here.
    pub(super) fn all() -> Vec<(String, Self)> {
        let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
        let name = |entry: &fs::DirEntry| Some(entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned());
        entries.filter_map(|entry| Some((name(&entry)?, Self(entry.path())))).collect()
    }

    /// A cluster that a dead process made for itself.
    pub(super) fn is_orphan(name: &str) -> bool {
        InstanceName::parse(name).is_some_and(|instance| !instance.is_alive())
    }

    /// `egress-cluster-…`: what else of the cluster has a name has it after this.
    pub(super) fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn exists(&self) -> bool {
        self.0.exists()
    }

    pub(super) fn create(&self) -> Result<()> {
        fs::create_dir(&self.0).with_context(|| format!("create {}", self.0.display()))
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.0.join("admin.conf")
    }

    /// What the machine's first process and our helpers say.
    pub(super) fn log(&self, of: &str) -> PathBuf {
        self.0.join(format!("{of}.log"))
    }

    /// The machine's disk.
    pub(super) fn root(&self, machine: &str) -> PathBuf {
        self.0.join(machine)
    }

    /// Writes down that a process is ours; `role` is a machine or `forward`.
    pub(super) fn record_process(&self, role: &str, pid: u32) -> Result<Process> {
        let process = Process::of(pid).with_context(|| format!("{role}: process {pid} is gone already"))?;
        self.write(&format!("{role}.pid"), &format!("{} {}", process.pid, process.start))?;
        Ok(process)
    }

    pub(super) fn process(&self, role: &str) -> Option<Process> {
        Process::parse(fs::read_to_string(self.0.join(format!("{role}.pid"))).ok()?.trim())
    }

    /// The control groups of a machine, as they are written down before they are made.
    pub(super) fn cgroups(&self, machine: &str) -> Vec<PathBuf> {
        let text = fs::read_to_string(self.0.join(format!("{machine}.cgroups"))).unwrap_or_default();
        text.lines().map(PathBuf::from).collect()
    }

    pub(super) fn record_cgroups(&self, machine: &str, cgroups: &[PathBuf]) -> Result<()> {
        let lines: Vec<_> = cgroups.iter().map(|path| path.display().to_string()).collect();
        self.write(&format!("{machine}.cgroups"), &lines.join("\n"))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_folder_are_refused() {
        assert!(Folder::of("play").is_ok());
        for name in ["", "a/b", "..", "Play", "with blank"] {
            assert!(Folder::of(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.lives());
        assert_eq!(Process::parse(&format!("{} {}", own.pid, own.start)), Some(own));
        assert!(!Process { start: own.start + 1, ..own }.lives());
    }

    #[test]
    fn only_clusters_of_dead_processes_are_orphans() {
        assert!(!Folder::is_orphan("play"));
        assert!(!Folder::is_orphan(&InstanceName::next().unwrap().to_string()));
        assert!(Folder::is_orphan("egw-1-1-0"));
    }
}
