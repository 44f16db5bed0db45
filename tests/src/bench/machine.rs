//! What a reader of numbers must know of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;

use serde::Serialize;

use crate::gateway::agent_binary;
use crate::system::process;

/// Facts of the machine and of what was measured, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    kernel: String,
    cpu: String,
    cpus: usize,
    load_at_start: String,
    mitigations: Vec<String>,
    versions: Vec<String>,
}

impl Machine {
    /// Looks around; before anything is measured.
    pub(super) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let versions = [
            (agent_binary().display().to_string(), "--version"),
            ("git".into(), "describe --always --dirty"),
            ("iptables".into(), "--version"),
            ("nft".into(), "--version"),
        ];
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            cpus: thread::available_parallelism().map_or(1, Into::into),
            load_at_start: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            mitigations: mitigations(vulnerabilities()),
            versions: versions.into_iter().filter_map(|(tool, ask)| said(&tool, ask)).collect(),
        }
    }

    /// As rows of a table.
    pub(super) fn rows(&self) -> [(&'static str, String); 6] {
        [
            ("kernel", self.kernel.clone()),
            ("CPU", self.cpu.clone()),
            ("CPUs", self.cpus.to_string()),
            ("load average at the start", self.load_at_start.clone()),
            ("mitigations", self.mitigations.join("; ")),
            ("versions", self.versions.join("; ")),
        ]
    }
}

/// The first line of what a tool says.
fn said(tool: &str, ask: &str) -> Option<String> {
    let mut command = Command::new(tool);
    command.args(ask.split(' '));
    if tool == "git" {
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
    }
    let output = process::run(command, None).ok().filter(|output| output.status.success())?;
    let line = output.stdout.lines().next()?.trim();
    Some(if tool == "git" { format!("sources {line}") } else { line.to_owned() })
}

fn vulnerabilities() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten();
    let text = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, text.trim().to_owned()))
    };
    entries.filter_map(text).collect()
}

/// What is not simply harmless.
fn mitigations(all: BTreeMap<String, String>) -> Vec<String> {
    let rest: Vec<_> =
        all.into_iter().filter(|it| it.1 != "Not affected").map(|(name, text)| format!("{name}: {text}")).collect();
    if rest.is_empty() { vec!["none".to_owned()] } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_costs_is_told() {
        let all = [("meltdown", "Not affected"), ("spectre_v2", "Mitigation: IBRS")];
        let all = all.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        assert_eq!(mitigations(all), ["spectre_v2: Mitigation: IBRS"]);
        assert_eq!(mitigations(BTreeMap::new()), ["none"]);
    }
}
