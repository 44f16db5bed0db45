//! `bpf(2)` for programs of raw instructions.

use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;

use super::Insn;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const XDP_FLAGS_DRV_MODE: u32 = 4;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;
/// `struct __sk_buff`, and where its `ifindex` is.
const SK_BUFF: usize = 192;
const IFINDEX: usize = 40;

/// The shapes of `union bpf_attr` that are used here; fields as in linux/bpf.h.
#[repr(C)]
union Attr {
    map: Map,
    load: Load,
    run: Run,
    element: Element,
    link: Link,
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
#[derive(Clone, Copy, Default)]
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
    /// The kernel wants zeros behind what it knows.
    zero: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Element {
    map: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Link {
    program: u32,
    target: u32,
    attach: u32,
    flags: u32,
}

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// A driver's XDP.
    Xdp,
    /// TC, what comes in.
    Ingress,
}

impl Hook {
    const fn kind(self) -> u32 {
        match self {
            Self::Xdp => BPF_PROG_TYPE_XDP,
            Self::Ingress => BPF_PROG_TYPE_SCHED_CLS,
        }
    }
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

/// Kinds of maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With keys of so many bytes.
    Hash(u32),
    /// By number.
    Array,
    /// By number, one value for each CPU.
    PerCpuArray,
    /// A ring buffer of so many bytes, said in place of values: a power of two, and whole pages.
    Ring,
}

/// Makes a map with room for so many values.
pub(crate) fn map(kind: Kind, value: u32, entries: u32) -> Result<OwnedFd> {
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    let (kind, key_size) = match kind {
        Kind::Hash(key) => (BPF_MAP_TYPE_HASH, key),
        Kind::Array => (BPF_MAP_TYPE_ARRAY, 4),
        Kind::PerCpuArray => (BPF_MAP_TYPE_PERCPU_ARRAY, 4),
        Kind::Ring => (BPF_MAP_TYPE_RINGBUF, 0),
    };
    attr.map = Map { kind, key_size, value_size: value, max_entries: entries };
    let fd = bpf(BPF_MAP_CREATE, &mut attr).context("make a BPF map")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Writes an element; both are as long as the map says.
pub(crate) fn update(map: &OwnedFd, key: &[u8], value: &[u8]) -> Result<()> {
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    attr.element =
        Element { map: map.as_raw_fd() as u32, key: key.as_ptr() as u64, value: value.as_ptr() as u64, flags: 0 };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attr).context("write to a BPF map")?;
    Ok(())
}

/// Loads a program.
pub(crate) fn load(hook: Hook, code: &[Insn]) -> Result<OwnedFd> {
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    attr.load = Load {
        kind: hook.kind(),
        insn_count: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attr).context("load a BPF program")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program to interface `index` of the thread's namespace for as long as what is returned lives. TC needs Linux 6.6.
pub(crate) fn attach(hook: Hook, program: &OwnedFd, index: u32) -> Result<OwnedFd> {
    let (attach, flags) = match hook {
        Hook::Xdp => (BPF_XDP, XDP_FLAGS_DRV_MODE),
        Hook::Ingress => (BPF_TCX_INGRESS, 0),
    };
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    attr.link = Link { program: program.as_raw_fd() as u32, target: index, attach, flags };
    let fd = bpf(BPF_LINK_CREATE, &mut attr).context("attach a BPF program")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a program said at last, and the mean of nanoseconds of its runs, as the kernel measured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) verdict: u32,
    pub(crate) nanoseconds: u32,
}

/// Runs a TC program so many times on a frame that came by interface `index` of the thread's namespace.
pub(crate) fn run_tc(program: BorrowedFd<'_>, frame: &[u8], index: u32, repeat: u32) -> Result<Ran> {
    let mut context = [0_u8; SK_BUFF];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&index.to_ne_bytes());
    run(program, frame, &context, repeat).context("run a TC program")
}

/// The same of an XDP program.
pub(crate) fn run_xdp(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> Result<Ran> {
    run(program, frame, &[], repeat).context("run an XDP program")
}

fn run(program: BorrowedFd<'_>, frame: &[u8], context: &[u8], repeat: u32) -> nix::Result<Ran> {
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    attr.run = Run {
        program: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat,
        context_size_in: context.len() as u32,
        context_in: if context.is_empty() { 0 } else { context.as_ptr() as u64 },
        ..Run::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel has written numbers.
    let (verdict, nanoseconds) = unsafe { (attr.run.result, attr.run.duration) };
    Ok(Ran { verdict, nanoseconds })
}

/// Has the kernel make `count` copies of `frame`, run the program on each and receive them on interface `index` of the
/// thread's namespace. Returns the time that took, as the kernel measured it: without preparations, and without the time in
/// which other threads had the CPU.
pub(crate) fn run_live(program: &OwnedFd, frame: &[u8], index: u32, count: u32, batch: u32) -> Result<Duration> {
    let context = XdpMd { data_end: frame.len() as u32, ingress_ifindex: index, ..XdpMd::default() };
    // SAFETY: the union is plain numbers.
    let mut attr: Attr = unsafe { zeroed() };
    attr.run = Run {
        program: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: count,
        context_size_in: size_of::<XdpMd>() as u32,
        context_in: (&raw const context) as u64,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: batch,
        ..Run::default()
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
