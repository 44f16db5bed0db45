//! The two `bpf(2)` calls of the generator.

use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;

use super::program::Insn;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;

/// The shapes of `union bpf_attr` that are used here; fields as in linux/bpf.h.
#[repr(C)]
union Attr {
    map: Map,
    load: Load,
    run: Run,
    size: [u64; 20],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Map {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Load {
    kind: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Run {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
}

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// Makes an array map of one 64-bit word.
pub(super) fn counter() -> Result<OwnedFd> {
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    attr.map = Map { kind: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 8, max_entries: 1 };
    let fd = bpf(BPF_MAP_CREATE, &mut attr).context("make the packet generator's map")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads an XDP program.
pub(super) fn load(code: &[Insn]) -> Result<OwnedFd> {
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    attr.load = Load {
        kind: BPF_PROG_TYPE_XDP,
        insn_count: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attr).context("load the packet generator")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the kernel make `count` copies of `frame`, run the program on each and receive them on interface `index` of the
/// thread's namespace. Returns the time that took, as the kernel measured it: without preparations, and without the time in
/// which other threads had the CPU.
pub(super) fn run_live(program: &OwnedFd, frame: &[u8], index: u32, count: u32, batch: u32) -> Result<Duration> {
    let context = XdpMd { data_end: frame.len() as u32, ingress_ifindex: index, ..XdpMd::default() };
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    attr.run = Run {
        program: program.as_raw_fd() as u32,
        result: 0,
        data_size_in: frame.len() as u32,
        data_size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat: count,
        duration: 0,
        context_size_in: size_of::<XdpMd>() as u32,
        context_size_out: 0,
        context_in: (&raw const context) as u64,
        context_out: 0,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        cpu: 0,
        batch_size: batch,
    };
    bpf(BPF_PROG_TEST_RUN, &mut attr).context("make packets (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18)")?;
    // SAFETY: the kernel has written the mean of nanoseconds per packet; every bit pattern is a number.
    let mean = unsafe { attr.run.duration };
    Ok(Duration::from_nanos(u64::from(mean) * u64::from(count)))
}

fn bpf(command: libc::c_int, attr: &mut Attr) -> nix::Result<libc::c_int> {
    // SAFETY: the kernel reads and writes `attr`, and what it points to: the callers' slices, which outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<Attr>()) };
    Errno::result(result).map(|it| it as libc::c_int)
}
