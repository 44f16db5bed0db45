//! Many runs of the programs, quickly: frames are made once and only their addresses and ports are changed. The checksums of
//! TCP and UDP become wrong by that, which nothing on the way looks at.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use egress_tests::Lab;
use egress_tests::lab::addresses::mac;
use egress_tests::packet::{build, proto};
use egress_tests::testrun::Verdict;

use crate::rig::pins;

/// Both programs of a gateway.
pub(super) struct Programs {
    out: SchedClassifier,
    inward: SchedClassifier,
    /// `struct __sk_buff` with the interface that packets come by.
    contexts: [[u8; 192]; 2],
}

/// One frame of TCP or UDP without payload.
#[derive(Clone)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    v4: bool,
}

impl Frame {
    /// From outside if `inward`. `flags` of TCP, or none for UDP.
    pub(super) fn new(from: IpAddr, to: IpAddr, flags: Option<u8>, inward: bool) -> Self {
        let (from, to) = ((from, 1), (to, 1));
        let (protocol, payload) = match flags {
            Some(flags) => (proto::TCP, build::tcp(from, to, (1, 1), flags, b"")),
            None => (proto::UDP, build::udp(from, to, b"new")),
        };
        let header = build::Header { ttl: 63, ..build::Header::new(from.0, to.0, protocol) };
        let (to, by) = if inward { (mac::GATEWAY_OUTSIDE, mac::ROUTER) } else { (mac::GATEWAY_INSIDE, mac::OVERLAY) };
        Self { bytes: build::ethernet(to, by, &header.packet(&payload)), v4: from.0.is_ipv4() }
    }

    /// With these ports.
    pub(super) fn ports(&mut self, from: u16, to: u16) -> &[u8] {
        let at = if self.v4 { 34 } else { 54 };
        self.bytes[at..at + 2].copy_from_slice(&from.to_be_bytes());
        self.bytes[at + 2..at + 4].copy_from_slice(&to.to_be_bytes());
        &self.bytes
    }

    /// The last two bytes of its source.
    pub(super) fn source(&mut self, last: u16) {
        let at = if self.v4 { 28 } else { 36 };
        self.bytes[at..at + 2].copy_from_slice(&last.to_be_bytes());
        if self.v4 {
            self.bytes[24..26].fill(0);
            let words = self.bytes[14..34].chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(it[1]));
            let sum: u32 = words.sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            self.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// The end of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ran {
    pub(super) verdict: Verdict,
    /// Inside the program.
    pub(super) took: Duration,
}

impl Ran {
    pub(super) fn sent(&self) -> bool {
        self.verdict == Verdict::Redirect
    }
}

impl Programs {
    pub(super) fn open(lab: &Lab) -> Result<Self> {
        let folder = pins(lab)?.join("progs");
        let context = |interface| -> Result<[u8; 192]> {
            let mut context = [0; 192];
            context[40..44].copy_from_slice(&lab.gateway.ns.ifindex(interface)?.to_ne_bytes());
            Ok(context)
        };
        Ok(Self {
            out: SchedClassifier::from_pin(folder.join("egw_out"))?,
            inward: SchedClassifier::from_pin(folder.join("egw_in"))?,
            contexts: [context("eth0")?, context("net1")?],
        })
    }

    /// A packet from inside. To be called in the gateway's namespace.
    pub(super) fn out(&self, frame: &[u8]) -> Result<Ran> {
        self.run(false, frame, None)
    }

    /// The same; also the address and port (of IPv4 or IPv6 without options) that it left with.
    pub(super) fn out_as(&self, frame: &[u8]) -> Result<(Ran, u16)> {
        let mut room = [0; 128];
        let ran = self.run(false, frame, Some(&mut room))?;
        let at = if frame[12..14] == [0x08, 0] { 34 } else { 54 };
        Ok((ran, u16::from_be_bytes([room[at], room[at + 1]])))
    }

    /// A packet from outside.
    pub(super) fn inward(&self, frame: &[u8]) -> Result<Ran> {
        self.run(true, frame, None)
    }

    fn run(&self, inward: bool, frame: &[u8], room: Option<&mut [u8]>) -> Result<Ran> {
        let (program, context) =
            if inward { (&self.inward, &self.contexts[1]) } else { (&self.out, &self.contexts[0]) };
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: room,
            ctx_in: Some(context),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).context("run the program")?;
        Ok(Ran { verdict: Verdict::of(result.return_value), took: result.duration })
    }

    /// Runs it until next hops are known, which the first packets do without.
    pub(super) fn warm_up(&self, frame: &[u8]) -> Result<()> {
        for _ in 0..200 {
            if self.out(frame)?.sent() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        ensure!(false, "the first flow does not open");
        Ok(())
    }
}
