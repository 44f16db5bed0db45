//! One run of a pinned TC program on one frame (`BPF_PROG_TEST_RUN`), as if the frame had come by an interface.
//!
//! The kernel looks the interface up in the caller's network namespace, so a run takes place in the gateway's. A redirect is
//! only named, not carried out; what the program sends by itself (a clone) is really sent.

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};

use crate::system::Netns;

/// Offsets in `struct __sk_buff` (linux/bpf.h).
const IFINDEX: usize = 40;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;
const SK_BUFF: usize = 192;
/// The longest frame that comes out.
const ROOM: usize = 4096;

/// What a program said of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `TC_ACT_OK`: the kernel goes on with it.
    Ok,
    /// `TC_ACT_SHOT`: dropped.
    Shot,
    /// `TC_ACT_REDIRECT`.
    Redirect,
    /// Any other number.
    Other(u32),
}

impl Verdict {
    /// By its number.
    pub const fn of(number: u32) -> Self {
        match number {
            0 => Self::Ok,
            2 => Self::Shot,
            7 => Self::Redirect,
            other => Self::Other(other),
        }
    }
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What it said.
    pub verdict: Verdict,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

/// A pinned program and the interface that its packets come by.
#[derive(Debug)]
pub struct Program<'lab> {
    ns: &'lab Netns,
    program: SchedClassifier,
    ifindex: u32,
}

impl<'lab> Program<'lab> {
    /// Opens the pin; `interface` is one of the namespace.
    pub fn open(ns: &'lab Netns, pin: &Path, interface: &str) -> Result<Self> {
        let program = SchedClassifier::from_pin(pin).with_context(|| format!("open {}", pin.display()))?;
        Ok(Self { ns, program, ifindex: ns.ifindex(interface)? })
    }

    /// Runs it once on an Ethernet frame.
    pub fn run(&self, frame: &[u8]) -> Result<Ran> {
        self.run_super_packet(frame, 0, 0)
    }

    /// Runs it so many times, each time on the same frame and as quickly as can be.
    pub fn run_often(&self, frame: &[u8], times: usize) -> Result<Vec<Ran>> {
        self.ns.run(|| (0..times).map(|_| self.here(frame, 0, 0)).collect())?
    }

    /// Runs it once on each of these, as quickly as can be.
    pub fn run_all(&self, frames: impl IntoIterator<Item = Vec<u8>> + Send) -> Result<Vec<Ran>> {
        self.ns.run(|| frames.into_iter().map(|frame| self.here(&frame, 0, 0)).collect())?
    }

    /// Runs it once on a frame that stands for `segments` packets of `size` bytes of payload each.
    pub fn run_super_packet(&self, frame: &[u8], segments: u32, size: u32) -> Result<Ran> {
        self.ns.run(|| self.here(frame, segments, size))?
    }

    /// Does `work` in the program's namespace, where [`Self::here_once`] may be used.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.ns.run(work)
    }

    /// Runs it once on an Ethernet frame, by a thread that is in the namespace already.
    pub fn here_once(&self, frame: &[u8]) -> Result<Ran> {
        self.here(frame, 0, 0)
    }

    fn here(&self, frame: &[u8], segments: u32, size: u32) -> Result<Ran> {
        let mut context = [0; SK_BUFF];
        for (at, value) in [(IFINDEX, self.ifindex), (GSO_SEGS, segments), (GSO_SIZE, size)] {
            context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let mut out = vec![0; ROOM];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = self.program.test_run(options).context("run the program")?;
        out.truncate(result.data_size_out as usize);
        Ok(Ran { verdict: Verdict::of(result.return_value), frame: out })
    }
}

/// What an XDP program said of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpVerdict {
    /// `XDP_PASS`: the kernel goes on with it.
    Pass,
    /// `XDP_REDIRECT`.
    Redirect,
    /// Any other number.
    Other(u32),
}

/// A pinned XDP program. Its type is another, but a run needs the descriptor only, and aya does not let one name what its own
/// type is opened with.
#[derive(Debug)]
pub struct XdpProgram(SchedClassifier);

impl XdpProgram {
    /// Opens the pin.
    pub fn open(pin: &Path) -> Result<Self> {
        let program = SchedClassifier::from_pin(pin);
        Ok(Self(program.with_context(|| format!("open {}", pin.display()))?))
    }

    /// Runs it once on an Ethernet frame; the frame as the program left it.
    pub fn run(&self, frame: &[u8]) -> Result<(XdpVerdict, Vec<u8>)> {
        let mut out = vec![0; ROOM];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self.0.test_run(options).context("run the XDP program")?;
        out.truncate(result.data_size_out as usize);
        let verdict = match result.return_value {
            2 => XdpVerdict::Pass,
            4 => XdpVerdict::Redirect,
            other => XdpVerdict::Other(other),
        };
        Ok((verdict, out))
    }
}
