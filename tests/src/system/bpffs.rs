//! The BPF file system of the machine, which gateway Pods find there.

use std::fs::File;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, fstatfs};

const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Mounts it where there is none: an agent with a Pod's capabilities cannot.
pub(crate) fn mount_if_missing() -> Result<()> {
    // Not twice at once: the second would hide what the first holds.
    let turn = File::open(MOUNT_POINT).with_context(|| format!("open {MOUNT_POINT}"))?;
    turn.lock().with_context(|| format!("lock {MOUNT_POINT}"))?;
    let now = File::open(MOUNT_POINT).with_context(|| format!("open {MOUNT_POINT}"))?;
    if fstatfs(&now)?.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount a BPF file system at {MOUNT_POINT}"))
}
