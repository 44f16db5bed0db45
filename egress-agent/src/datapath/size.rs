//! How many flows the table holds: the largest power of two that the memory limit allows.

use std::{fs, path::Path};

use anyhow::{Result, bail};
use egress_common::abi::{
    family::{V4, V6},
    flow::{FlowKey4, FlowKey6, FlowValue},
};

/// Fewest flows that a gateway is started with.
pub const MIN_FLOWS: u32 = 16_384;
/// Without a memory limit.
pub const DEFAULT_FLOWS: u32 = 262_144;
/// Most flows that are chosen without being asked for.
pub const MAX_FLOWS: u32 = 4_194_304;

/// What the agent, its programs while they are loaded, the small maps and the kubelet's probes need beside the table. Measured in a Pod
/// (Linux 6.18, control groups of version 1): at most 65 MiB; with 48 MiB a map could not be made.
const RESERVE: u64 = 80 << 20;

/// `struct htab_elem` before the key.
const ELEMENT: u64 = 48;
/// `struct bucket`.
const BUCKET: u64 = 16;

/// The size and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// Flows of each family that fit.
    pub flows: u32,
    /// The arithmetic, for people.
    pub reason: String,
}

/// Bytes of a preallocated hash map (kernel/bpf/hashtab.c): elements, and as many buckets as the next power of two.
const fn map_bytes(entries: u64, key: usize, value: usize) -> u64 {
    let element = ELEMENT + (key as u64).next_multiple_of(8) + (value as u64).next_multiple_of(8);
    element * entries + BUCKET * entries.next_power_of_two()
}

/// Bytes of both families' tables for this many flows of each.
#[must_use]
pub const fn table_bytes(flows: u32) -> u64 {
    let entries = 2 * flows as u64;
    map_bytes(entries, size_of::<FlowKey4>(), size_of::<FlowValue<V4>>())
        + map_bytes(entries, size_of::<FlowKey6>(), size_of::<FlowValue<V6>>())
}

/// A memory limit in bytes that holds tables of this size.
#[must_use]
pub const fn memory_for(flows: u32) -> u64 {
    table_bytes(flows) + RESERVE
}

/// Chooses the size for a memory limit in bytes, if there is one, and the machine's memory.
pub fn choose(wanted: Option<u32>, limit: Option<u64>, machine: u64) -> Result<TableSize> {
    let room = limit.map_or(machine, |limit| limit.min(machine));
    let fits = |flows: u32| table_bytes(flows) + RESERVE <= room;
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let limit_text = match limit {
        Some(limit) if limit <= machine => format!("memory limit {} MiB", mib(limit)),
        _ => format!("no memory limit on a machine with {} MiB", mib(machine)),
    };
    if let Some(wanted) = wanted {
        let flows = wanted.checked_next_power_of_two().unwrap_or(1 << 31);
        if !fits(flows) {
            bail!(
                "spec.maxFlows: {flows} flows need {} MiB for their tables and {} MiB beside, more than there is ({limit_text}); \
                 ask for fewer or raise the limit",
                mib(table_bytes(flows)),
                mib(RESERVE),
            );
        }
        let reason = format!("{flows} flows as asked, tables of {} MiB, {limit_text}", mib(table_bytes(flows)));
        return Ok(TableSize { flows, reason });
    }
    let mut flows = if limit.is_some() { MAX_FLOWS } else { DEFAULT_FLOWS };
    while flows > MIN_FLOWS && !fits(flows) {
        flows /= 2;
    }
    let reason = format!("{flows} flows, tables of {} MiB, {limit_text}", mib(table_bytes(flows)));
    Ok(TableSize { flows, reason })
}

/// The size that is asked for, or else the one that this process has room for.
pub fn for_this_process(wanted: Option<u32>) -> Result<TableSize> {
    choose(wanted, memory_limit(), machine_memory())
}

/// `MemTotal` in bytes; no bound where it cannot be read.
fn machine_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib << 10)
}

/// The memory limit of this process's cgroup, v2 or v1. The tightest on the way up counts.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut limit: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (mount, file) = if controllers.is_empty() {
            (["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].as_slice(), "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            (["/sys/fs/cgroup/memory"].as_slice(), "memory.limit_in_bytes")
        } else {
            continue;
        };
        for mount in mount {
            for dir in Path::new(path).ancestors() {
                let file = Path::new(mount).join(dir.strip_prefix("/").unwrap_or(dir)).join(file);
                let value = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
                // cgroup v1 says "none" with a number near 2^63.
                if let Some(value) = value.filter(|value| *value < 1 << 60) {
                    limit = Some(limit.map_or(value, |old| old.min(value)));
                }
            }
        }
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_power_that_fits() {
        assert_eq!(choose(None, None, u64::MAX).unwrap().flows, DEFAULT_FLOWS);
        assert_eq!(choose(None, None, 256 << 20).unwrap().flows, DEFAULT_FLOWS);
        assert_eq!(choose(None, None, 160 << 20).unwrap().flows, DEFAULT_FLOWS / 2);
        let size = choose(None, Some(256 << 20), u64::MAX).unwrap();
        assert_eq!(size.flows, 262_144);
        assert!(table_bytes(size.flows) + RESERVE <= 256 << 20);
        assert!(table_bytes(size.flows * 2) + RESERVE > 256 << 20);
        assert_eq!(choose(None, Some(1 << 20), u64::MAX).unwrap().flows, MIN_FLOWS);
    }

    #[test]
    fn only_an_explicit_size_is_refused() {
        assert_eq!(choose(Some(20_000), None, u64::MAX).unwrap().flows, 32_768);
        let refused = |limit, machine| choose(Some(1 << 20), limit, machine).unwrap_err().to_string();
        let error = refused(Some(256 << 20), u64::MAX);
        assert!(error.contains("maxFlows") && error.contains("256 MiB") && error.contains("1048576"), "{error}");
        // Without a limit the machine is one: the kernel would take what other processes need.
        for limit in [None, Some(1 << 40)] {
            assert!(refused(limit, 512 << 20).contains("machine with 512 MiB"));
        }
    }

    /// 224 bytes per IPv4 flow and 304 per IPv6 flow, as measured with memlock.
    #[test]
    fn bytes_per_flow() {
        assert_eq!(table_bytes(1 << 20), (224 + 304) << 20);
    }
}
