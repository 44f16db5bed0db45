//! Names that say which process made a thing, so that leftovers of dead processes can be told from live ones.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

const PREFIX: &str = "egw";

/// `egw-<pid>-<start time>-<number>`: one lab of one process. The start time (clock ticks after boot, field 22 of
/// proc(5) `stat`) tells a process from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceName {
    pid: u32,
    start: u64,
    number: u32,
}

impl InstanceName {
    /// A name that no lab of this or another process has.
    pub fn next() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let start = start_time(pid).with_context(|| format!("/proc/{pid}/stat has no start time"))?;
        Ok(Self { pid, start, number: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    /// The name of a thing of this lab, as in `egw-812-5512-0-pod1`.
    pub fn of(&self, part: &str) -> String {
        format!("{self}-{part}")
    }

    /// Reads the lab out of a name that [`Self::of`] or `Display` made; `None` for anybody else's names.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        if parts.next() != Some(PREFIX) {
            return None;
        }
        let pid = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        Some(Self { pid, start, number })
    }

    /// Whether the process that made it still runs.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start)
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{}-{}-{}", self.pid, self.start, self.number)
    }
}

pub(crate) fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22. The command in field 2 may hold blanks and parentheses, so counting starts behind its last one.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_read_back_and_alive() {
        let name = InstanceName::next().unwrap();
        assert_eq!(InstanceName::parse(&name.to_string()), Some(name));
        assert_eq!(InstanceName::parse(&name.of("pod-1")), Some(name));
        assert!(name.is_alive());
        assert_ne!(InstanceName::next().unwrap(), name);
    }

    #[test]
    fn a_later_process_with_the_same_number_is_another_one() {
        let name = InstanceName::next().unwrap();
        assert!(!InstanceName { start: name.start + 1, ..name }.is_alive());
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in ["egw", "egw-1-2", "egw-x-1-2-node", "other-1-2-3", "egw1-1-2-3"] {
            assert_eq!(InstanceName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn the_start_time_is_found_behind_an_odd_command() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(parse_start_time(stat), Some(4711));
    }
}
