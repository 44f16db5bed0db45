//! Packets of made-up flows, run through the programs on two CPUs at the same time.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use aya::Pod;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use egress_common::abi::event::why;
use egress_common::abi::family::{V4, V6};
use egress_common::abi::flow::{FlowKey, FlowValue, OUT};
use egress_common::abi::order::HEAD;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::gateway::pins;
use crate::gateway::table::Table;
use crate::lab::addresses::mac;
use crate::packet::build::{self, Header};
use crate::packet::{ETH_IPV6, Transport, parse_ip, proto};
use crate::testrun::Program;
use crate::{Family, Lab};

/// Remote ports; those above are of connections that last.
pub(super) const PORTS: u16 = 64;
/// Inside ports: few, so that both CPUs often want the same flow.
const INSIDE: u16 = 700;
const ETHERNET: usize = 14;
const SYN: u8 = 2;
const FIN_ACK: u8 = 17;
const RST: u8 = 4;
const SYN_ACK: u8 = 18;
const ACK: u8 = 16;

/// The programs, and who talks to whom.
pub(super) struct Churn<'lab> {
    out: Program<'lab>,
    inward: Program<'lab>,
    ends: [(IpAddr, IpAddr); 2],
}

pub(super) fn prepare(lab: &Lab) -> Result<Churn<'_>> {
    let open = |name: &str, side| Program::open(&lab.gateway.ns, &pins(lab)?.join("progs").join(name), side);
    let pod = lab.client("pod2")?;
    let ends = Family::BOTH.map(|family| (pod.addr(family), lab.server.addr(family)));
    Ok(Churn { out: open("egw_out", "eth0")?, inward: open("egw_in", "net1")?, ends })
}

/// xorshift64*: the same numbers each time, which two CPUs mix anew each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u16) -> u16 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 48) % u64::from(limit)) as u16
    }
}

impl Churn<'_> {
    /// Lets flows come and go until it is told to stop; how many packets that took.
    pub(super) fn drive(&self, cpu: usize, stop: &AtomicBool) -> Result<u64> {
        let mut numbers = Numbers(0x9e37_79b9 + cpu as u64);
        let mut packets = 0;
        self.out.inside(|| {
            let mut cpus = CpuSet::new();
            cpus.set(cpu)?;
            sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("bind to CPU {cpu}"))?;
            while !stop.load(Ordering::Relaxed) {
                packets += self.conversation(&mut numbers)?;
            }
            Ok(packets)
        })?
    }

    /// A packet from inside, and if it was translated some back and forth.
    fn conversation(&self, numbers: &mut Numbers) -> Result<u64> {
        let (inside, remote) = self.ends[usize::from(numbers.below(2))];
        let (from, to) = ((inside, 1024 + numbers.below(INSIDE)), (remote, 1 + numbers.below(PORTS)));
        let kind = numbers.below(8);
        let (protocol, first) = match kind {
            0 if inside.is_ipv4() => (proto::ICMP, build::echo_request(inside, remote, from.1, 1, b"churn")),
            0 => (proto::ICMPV6, build::echo_request(inside, remote, from.1, 1, b"churn")),
            1 => (proto::GRE, vec![0; 8]),
            2 | 3 => (proto::UDP, build::udp(from, to, b"churn")),
            _ => (proto::TCP, build::tcp(from, to, (1, 0), SYN, b"")),
        };
        let send = |l4: &[u8]| self.out.here_once(&outward(from.0, to.0, protocol, l4));
        let ran = send(&first)?;
        let Some(egress) = translated(&ran.frame, inside).filter(|_| kind > 1) else { return Ok(1) };
        let mut packets = 1;
        let answer = |flags: u8| {
            let l4 =
                if kind < 4 { build::udp(to, egress, b"churn") } else { build::tcp(to, egress, (1, 2), flags, b"") };
            let packet = Header::new(to.0, egress.0, protocol).packet(&l4);
            self.inward.here_once(&build::ethernet(mac::GATEWAY_OUTSIDE, mac::SERVER, &packet))
        };
        let says = |flags: u8| send(&build::tcp(from, to, (2, 2), flags, b""));
        match kind {
            3 => {
                answer(0)?;
                packets += 1;
            }
            4 | 5 => {
                answer(SYN_ACK)?;
                says(ACK)?;
                says(FIN_ACK)?;
                answer(FIN_ACK)?;
                packets += 4;
            }
            6 => {
                answer(RST)?;
                packets += 1;
            }
            _ => {}
        }
        Ok(packets)
    }
}

fn outward(from: IpAddr, to: IpAddr, protocol: u8, l4: &[u8]) -> Vec<u8> {
    build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, &Header::new(from, to, protocol).packet(l4))
}

/// The egress address and port that a packet has got, if it has.
fn translated(frame: &[u8], inside: IpAddr) -> Option<(IpAddr, u16)> {
    let ip = parse_ip(frame.get(ETHERNET..)?)?;
    let port = match ip.transport? {
        Transport::Tcp { source, .. } | Transport::Udp { source, .. } => source,
        _ => return None,
    };
    let v6 = frame.get(12..14)? == ETH_IPV6.to_be_bytes();
    (ip.source != inside && ip.source.is_ipv6() == v6).then_some((ip.source, port))
}

/// Revokes flows that happen to come first in the tables, until it is told to stop.
pub(super) fn revoke(lab: &Lab, stop: &AtomicBool) -> Result<()> {
    let expire = SchedClassifier::from_pin(pins(lab)?.join("progs/expire"))?;
    while !stop.load(Ordering::Relaxed) {
        for order in [some::<V4>(lab)?, some::<V6>(lab)?].into_iter().flatten() {
            let options = TestRunOptions { data_in: Some(&order), repeat: 1, ..TestRunOptions::new() };
            expire.test_run(options).context("run program expire")?;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

/// An order to revoke a few flows that are not meant to last, see [`egress_common::abi::order`].
fn some<F: Table>(lab: &Lab) -> Result<Option<Vec<u8>>>
where
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    let keys = F::open(lab)?.keys().take(32).filter_map(Result::ok).collect::<Vec<_>>();
    let keys: Vec<_> = keys.into_iter().filter(|key| key.dir == OUT && key.dport <= PORTS).collect();
    if keys.is_empty() {
        return Ok(None);
    }
    let mut order = vec![u8::from(F::V6), why::REVOKED, keys.len() as u8];
    order.resize(HEAD as usize, 0);
    for key in &keys {
        // SAFETY: a Pod without padding, read as the bytes it consists of.
        let raw = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(key).cast::<u8>(), size_of_val(key)) };
        order.extend_from_slice(raw);
    }
    Ok(Some(order))
}
