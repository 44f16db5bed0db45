//! A source of small packets that costs next to nothing, so that the gateway behind it is what is measured.
//!
//! The kernel makes the packets itself (`BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18) and hands them to
//! an interface as if a driver had received them there. One thread does all: it makes the packets, and in the same system
//! call the kernel takes them through the gateway and on to the receiver. Pinned to a CPU, it shows what one core can do.

mod program;

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use self::program::Exit;
use crate::packet::{build, proto};
use crate::raw::sys::{self, Hook, Kind};
use crate::system::Netns;

/// Packets that the kernel makes at once, as many as a driver's receive loop.
const BATCH: u32 = 64;

/// Source ports of one sender; further flows are those of the next address, to the next destination port.
pub const PORTS: u32 = 1 << program::PORT_BITS;

/// UDP flows to one destination, in turn.
#[derive(Debug, Clone, Copy)]
pub struct Flows {
    /// The first sender.
    pub source: IpAddr,
    /// First port of each.
    pub first_port: u16,
    /// How many flows.
    pub count: u32,
    /// The receiver.
    pub destination: (IpAddr, u16),
    /// MAC addresses of the previous hop and of the interface that gets the packets.
    pub macs: ([u8; 6], [u8; 6]),
    /// Bytes behind the UDP header.
    pub payload: usize,
}

impl Flows {
    /// Every source port of the first sender.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let ports = self.count.min(PORTS) as u16;
        self.first_port..self.first_port + ports
    }

    /// The frame of source port 0, as the router before the gateway sends it on.
    fn frame(&self) -> Vec<u8> {
        let datagram = build::udp((self.source, 0), self.destination, &vec![0; self.payload]);
        let header = build::Header { ttl: 63, ..build::Header::new(self.source, self.destination.0, proto::UDP) };
        build::ethernet(self.macs.1, self.macs.0, &header.packet(&datagram))
    }
}

/// The program that fills the packets, and the packet that it starts from.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
}

impl Generator {
    /// Loads the program.
    pub fn new(flows: &Flows) -> Result<Self> {
        Self::with(flows, Exit::Arrive)
    }

    fn with(flows: &Flows, exit: Exit) -> Result<Self> {
        let frame = flows.frame();
        let counter = sys::map(Kind::Array, 8, 1)?;
        let code = program::fill(&frame, flows.first_port, flows.count, counter.as_raw_fd(), exit)?;
        Ok(Self { program: sys::load(Hook::Xdp, &code).context("the packet generator")?, frame })
    }

    /// Repeats these frames in turn, which are alike but for their first 56 bytes.
    pub fn replay(frames: &[Vec<u8>]) -> Result<Self> {
        let frame = frames.first().context("no frame to repeat")?.clone();
        let (counter, heads) =
            (sys::map(Kind::Array, 8, 1)?, sys::map(Kind::Array, program::HEAD as u32, frames.len() as u32)?);
        for (number, frame) in (0_u32..).zip(frames) {
            let head = frame.get(..program::HEAD).context("a frame that is too short to be repeated")?;
            sys::update(&heads, &number.to_ne_bytes(), head)?;
        }
        let code = program::replay(frames.len() as u32, counter.as_raw_fd(), heads.as_raw_fd())?;
        Ok(Self { program: sys::load(Hook::Xdp, &code).context("the packet generator")?, frame })
    }

    /// Makes packets arrive at an interface, as skbs.
    pub fn into_load<'ns>(self, ns: &'ns Netns, interface: &str) -> Result<Load<'ns>> {
        Ok(Load { generator: self, ns, interface: ns.ifindex(interface)? })
    }

    /// Sends packets out of an interface as XDP frames. A veth's other end takes them as such if it has an XDP program.
    pub fn into_cable<'ns>(flows: &Flows, ns: &'ns Netns, interface: &str) -> Result<Load<'ns>> {
        let index = ns.ifindex(interface)?;
        Ok(Load { generator: Self::with(flows, Exit::Leave(index))?, ns, interface: index })
    }
}

/// A generator with the interface that its packets arrive at.
#[derive(Debug)]
pub struct Load<'ns> {
    generator: Generator,
    ns: &'ns Netns,
    interface: u32,
}

impl Load<'_> {
    /// Sends so many packets, all on one CPU; returns the time that it took. The next call goes on with the next flow.
    pub fn send(&self, packets: u32, cpu: Cpu) -> Result<Duration> {
        let Generator { program, frame } = &self.generator;
        self.ns.run(|| {
            own(cpu)?;
            sys::run_live(program, frame, self.interface, packets, BATCH)
        })?
    }
}

/// One of the CPUs that this process may use, counted from the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu(pub usize);

impl Cpu {
    /// Interrupts and other processes are on the first ones more often.
    pub const LAST: Self = Self(0);
}

/// Keeps this thread on a CPU, and others from it as far as a priority can: then the work that the kernel puts off is done by
/// this thread too, not by ksoftirqd, whose time would not be counted.
pub(crate) fn own(cpu: Cpu) -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).context("ask for the CPUs")?;
    let mut usable = (0..CpuSet::count()).rev().filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let number = usable.nth(cpu.0).with_context(|| format!("there are not {} CPUs", cpu.0 + 1))?;
    let mut cpus = CpuSet::new();
    cpus.set(number).context("number of the CPU")?;
    sched_setaffinity(this, &cpus).with_context(|| format!("stay on CPU {number}"))?;
    // SAFETY: setpriority(2) with integers only; 0 is this thread.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) }).context("raise the priority")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::checksum::{self, Verdict};
    use crate::packet::{Payload, parse_ethernet};

    #[test]
    fn a_frame_of_64_bytes_on_the_wire_with_right_checksums() {
        let flows = Flows {
            source: [10, 17, 0, 9].into(),
            first_port: 20_000,
            count: 1000,
            destination: ([172, 17, 0, 100].into(), 7007),
            macs: ([2; 6], [4; 6]),
            payload: 18,
        };
        let frame = flows.frame();
        assert_eq!(frame.len() + 4, 64);
        let Some(Payload::Ip(ip)) = parse_ethernet(&frame).map(|it| it.payload) else { panic!("no IP packet") };
        assert_eq!((ip.ttl, ip.ports()), (63, Some((0, 7007))));
        let found = checksum::check(&ip, &frame[14..], false);
        assert_eq!((found.header, found.transport), (Verdict::Right, Verdict::Right));
        assert_eq!(flows.ports().last(), Some(20_999));
    }
}
