//! The northbound database, by `ovn-nbctl`.

use std::collections::BTreeSet;
use std::process;

use anyhow::{Context, Result, bail};

use super::rows::{Command, Row};

/// The rows that we have made.
#[derive(Debug, Default)]
pub(super) struct Northbound {
    made: BTreeSet<Row>,
    /// What an earlier run of ours left that cannot be made twice: names of groups, and priority and match of policies.
    earlier: BTreeSet<String>,
}

impl Northbound {
    /// Looks at what is there.
    pub(super) fn open() -> Result<Self> {
        let groups = nbctl(&["--bare", "--columns=name", "list", "port_group"])?;
        let policies =
            nbctl(&["--format=csv", "--no-headings", "--columns=priority,match", "list", "logical_router_policy"])?;
        let policies = policies.lines().filter_map(|line| {
            let (priority, matches) = line.split_once(',')?;
            Some(format!("{priority} {}", matches.trim_matches('"')))
        });
        let earlier = groups.split_whitespace().map(ToOwned::to_owned).chain(policies).collect();
        Ok(Self { made: BTreeSet::new(), earlier })
    }

    /// Makes the difference between what is there and `wanted`.
    pub(super) fn apply(&mut self, wanted: BTreeSet<Row>) -> Result<()> {
        let gone: Vec<_> = self.made.difference(&wanted).collect();
        let (ports, others): (Vec<_>, Vec<_>) = gone.into_iter().rev().partition(|row| matches!(row, Row::Port { .. }));
        // Apart: for ovn-nbctl a port that goes in the same transaction still has its address, which another may not get.
        transaction(ports.into_iter().flat_map(Row::unmake))?;
        let new = wanted.difference(&self.made).filter(|row| !self.was_there(row)).flat_map(Row::make);
        transaction(others.into_iter().flat_map(Row::unmake).chain(new))?;
        self.made = wanted;
        Ok(())
    }

    /// Removes ports of Pods that went while nobody looked.
    pub(super) fn sweep(&self) -> Result<()> {
        let ours = |row: &Row| if let Row::Port { name, .. } = row { Some(name.clone()) } else { None };
        let wanted: BTreeSet<String> = self.made.iter().filter_map(ours).collect();
        let find = ["--bare", "--columns=name", "find", "logical_switch_port", "external_ids:vendor=kube-ovn"];
        for port in nbctl(&find)?.split_whitespace().filter(|port| !wanted.contains(*port)) {
            nbctl(&["--if-exists", "lsp-del", port])?;
        }
        Ok(())
    }

    fn was_there(&self, row: &Row) -> bool {
        match row {
            Row::Group { name, .. } => self.earlier.contains(name),
            Row::Policy { priority, matches, .. } => self.earlier.contains(&format!("{priority} {matches}")),
            _ => false,
        }
    }
}

fn transaction(commands: impl Iterator<Item = Command>) -> Result<()> {
    let words: Vec<String> = commands.flat_map(|command| ["--".to_owned()].into_iter().chain(command)).collect();
    if words.is_empty() { Ok(()) } else { nbctl(&words).map(drop) }
}

fn nbctl(words: &[impl AsRef<str>]) -> Result<String> {
    let mut command = process::Command::new("ovn-nbctl");
    command.arg("--timeout=20").args(words.iter().map(AsRef::as_ref));
    let output = command.output().context("start ovn-nbctl")?;
    if !output.status.success() {
        bail!("ovn-nbctl: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
