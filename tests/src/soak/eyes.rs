//! What the agent says and takes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::Value;

use crate::Lab;
use crate::system::locked;

/// Lines of a flow log by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Flows that were told to begin when they did.
    pub(super) starts: u64,
    /// And to end.
    pub(super) ends: u64,
    /// Records that are said to be lost.
    pub(super) lost: u64,
}

impl Count {
    pub(super) const fn told(&self) -> u64 {
        self.starts + self.ends
    }
}

/// Reads a flow log as it is written, and keeps nothing of it but numbers.
pub(super) struct FlowLog {
    path: PathBuf,
    count: Arc<Mutex<Count>>,
}

impl FlowLog {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let path = lab.folder().join("flow-log");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).context("mkfifo")?;
        let count = Arc::new(Mutex::new(Count::default()));
        let (from, into) = (path.clone(), Arc::clone(&count));
        // Opening waits for the agent, and the end of the file is the end of the agent.
        thread::Builder::new().name("flow-log".into()).spawn(move || {
            let Ok(file) = File::open(from) else { return };
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                let mut count = locked(&into);
                match line["event"].as_str() {
                    Some("start") if line["from_table"] != true => count.starts += 1,
                    Some("end") => count.ends += 1,
                    Some("lost") => count.lost += line["count"].as_u64().unwrap_or_default(),
                    _ => {}
                }
            }
        })?;
        Ok(Self { path, count })
    }

    pub(super) fn path(&self) -> Result<&str> {
        self.path.to_str().context("path")
    }

    pub(super) fn count(&self) -> Count {
        *locked(&self.count)
    }
}

/// What a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) resident_kib: u64,
    pub(super) files: usize,
}

impl Process {
    pub(super) fn of(pid: Pid) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the agent's status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let resident_kib = line.trim().trim_end_matches(" kB").parse().with_context(|| line.to_owned())?;
        Ok(Self { resident_kib, files: fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
    }
}
