//! The northbound database, by `ovn-nbctl`.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::rows::Row;

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

    /// Makes the difference between what is there and `wanted`, in one transaction.
    pub(super) fn apply(&mut self, wanted: BTreeSet<Row>) -> Result<()> {
        let gone: Vec<_> = self.made.difference(&wanted).collect();
        let gone = gone.into_iter().rev().flat_map(Row::unmake);
        let new = wanted.difference(&self.made).filter(|row| !self.was_there(row)).flat_map(Row::make);
        let mut words: Vec<String> = Vec::new();
        for command in gone.chain(new) {
            words.push("--".to_owned());
            words.extend(command);
        }
        if !words.is_empty() {
            nbctl(&words)?;
        }
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

fn nbctl(words: &[impl AsRef<str>]) -> Result<String> {
    let mut command = Command::new("ovn-nbctl");
    command.arg("--timeout=20").args(words.iter().map(AsRef::as_ref));
    let output = command.output().context("start ovn-nbctl")?;
    if !output.status.success() {
        bail!("ovn-nbctl: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
