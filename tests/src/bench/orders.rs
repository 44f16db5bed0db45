//! What the programs cost that carry no packets: the guard's look, and the agent's orders to `expire` and `import`.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::slice::from_raw_parts;

use anyhow::{Context, Result, ensure};
use aya::programs::SchedClassifier;
use egress_common::abi::event::why;
use egress_common::abi::family::V4;
use egress_common::abi::flow::{FlowKey, OUT, seen};
use egress_common::abi::order::{Carried, HEAD, MAX_FLOWS, MAX_KEYS, Taken, Wide};
use nix::time::{ClockId, clock_gettime};

use super::Plan;
use super::peers::Bed;
use super::programs::{REPEATS, SPREAD, Section, named, pin, rounds};
use crate::Family;
use crate::generator::{Cpu, own};
use crate::lab::addresses::{GATEWAY_OUTSIDE, mac};
use crate::packet::{build, proto};
use crate::raw::sys;

/// Nothing else uses it.
const PORT: u16 = 6500;
/// Orders of a round.
const ORDERS: u32 = 64;

/// All of it.
pub(super) fn orders(plan: &Plan, bed: &Bed<'_>) -> Result<Section> {
    let note = format!(
        "egw_guard: one packet, {REPEATS} times, ns/run. expire and import: IPv4, ns for each flow of an order of {MAX_KEYS} or \
         {MAX_FLOWS} flows, one run per system call, each order's flows other ones: they are written to the table by import a \
         moment before, so they are in a cache."
    );
    let mut section = Section::new("Guard and orders [ns/run or ns/flow]", &SPREAD, &note);
    let guard = SchedClassifier::from_pin(pin(bed, "egw_guard")?)?;
    for family in Family::BOTH {
        let server = bed.lab.server.addr(family);
        let outside = if family == Family::V4 { GATEWAY_OUTSIDE.0.into() } else { GATEWAY_OUTSIDE.1.into() };
        let pod = bed.lab.client("client1")?.addr(family);
        for (what, from) in [("from an own address, which passes", outside), ("from a Pod, which is dropped", pod)] {
            let frame = datagram(from, server);
            let values = rounds(plan, bed, guard.fd()?.as_fd(), "net1", REPEATS, |_| &frame)?;
            section.spread(format!("{}, a packet {what}", named("egw_guard", family)), values);
        }
    }
    let mut rows = Rows::default();
    for round in 0..plan.rounds as u32 {
        rows.round(plan, bed, round)?;
    }
    for (name, values) in rows.0 {
        section.spread(name, values);
    }
    Ok(section)
}

fn datagram(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let header = build::Header::new(from, to, proto::UDP);
    build::ethernet(mac::SERVER, mac::GATEWAY_OUTSIDE, &header.packet(&build::udp((from, PORT), (to, PORT), b"")))
}

const NEW: &str = "import, a flow that is new, each of 32";
const KNOWN: &str = "import, a flow that is known already, each of 32";
const LIVES: &str = "expire, a flow that is asked for and lives, each of 64";
const ENDS: &str = "expire, a flow that ends, each of 64";
const GONE: &str = "expire, a flow that is gone already, each of 64";

/// By name, one number a round.
struct Rows([(&'static str, Vec<f64>); 5]);

impl Default for Rows {
    fn default() -> Self {
        Self([NEW, KNOWN, LIVES, ENDS, GONE].map(|name| (name, Vec::new())))
    }
}

impl Rows {
    /// Flows come, stay and go.
    fn round(&mut self, plan: &Plan, bed: &Bed<'_>, round: u32) -> Result<()> {
        // A full table would refuse them.
        let orders = (plan.table / 16 / MAX_KEYS).clamp(1, ORDERS);
        let flows = made(bed, orders * MAX_KEYS, round)?;
        let keys: Vec<_> = flows.iter().map(|flow| flow.key).collect();
        let became = |taken: Taken, flows: usize| (flows as u32) << (8 * taken as u32);
        let import = |taken| each(bed, "import", &flows, MAX_FLOWS, 0, move |flows| became(taken, flows));
        let expire = |why, ended: bool| {
            each(bed, "expire", &keys, MAX_KEYS, why, move |keys| if ended { keys as u32 } else { 0 })
        };
        let found = [
            import(Taken::New)?,
            import(Taken::Known)?,
            expire(why::IDLE, false)?,
            expire(why::REVOKED, true)?,
            expire(why::REVOKED, false)?,
        ];
        for ((_, values), value) in self.0.iter_mut().zip(found) {
            values.push(value);
        }
        Ok(())
    }
}

/// Flows that nobody has: of a server that is not there.
fn made(bed: &Bed<'_>, count: u32, round: u32) -> Result<Vec<Carried<V4>>> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).context("CLOCK_BOOTTIME")?.tv_sec() as u32;
    let (IpAddr::V4(pod), egress) = (bed.lab.client("client1")?.addr(Family::V4), GATEWAY_OUTSIDE.0) else {
        anyhow::bail!("a Pod without IPv4");
    };
    let flow = |number: u32| {
        let [_, _, high, low] = number.to_be_bytes();
        let key = FlowKey {
            saddr: pod.octets(),
            daddr: [203, 0, high, low],
            sport: PORT + round as u16,
            dport: PORT,
            proto: proto::UDP,
            dir: OUT,
            zone: 0,
        };
        Carried {
            key,
            nat_addr: egress.octets(),
            port: 30_000 + round as u16,
            seen: [seen::ACK; 2],
            created: now,
            last_seen: [now; 2],
            packets: [Wide::from(1); 2],
            bytes: [Wide::from(64); 2],
        }
    };
    Ok((0..count).map(flow).collect())
}

/// Nanoseconds for each item of orders of so many, whose answer must be this.
fn each<T: Copy + Sync>(
    bed: &Bed<'_>,
    program: &str,
    items: &[T],
    most: u32,
    second: u8,
    answer: impl Fn(usize) -> u32 + Sync,
) -> Result<f64> {
    let pinned = SchedClassifier::from_pin(pin(bed, program)?)?;
    let orders: Vec<_> = items.chunks(most as usize).map(|items| (order(items, second), items.len())).collect();
    let index = bed.lab.gateway.ns.ifindex("eth0")?;
    bed.lab.gateway.ns.run(|| -> Result<f64> {
        own(Cpu::LAST)?;
        let mut sum = 0.0;
        for (order, items) in &orders {
            let ran = sys::run_tc(pinned.fd()?.as_fd(), order, index, 1)?;
            let expected = answer(*items);
            ensure!(ran.verdict == expected, "{program}: {:#x} of {items} flows instead of {expected:#x}", ran.verdict);
            sum += f64::from(ran.nanoseconds);
        }
        Ok(sum / items.len() as f64)
    })?
}

/// Its bytes: see `egress_common::abi::order`.
fn order<T: Copy>(items: &[T], second: u8) -> Vec<u8> {
    let mut bytes = vec![0, second, items.len() as u8];
    bytes.resize(HEAD as usize, 0);
    // SAFETY: items are keys or flows of an order, plain numbers without padding, read as the bytes they consist of.
    bytes.extend(unsafe { from_raw_parts(items.as_ptr().cast::<u8>(), size_of_val(items)) });
    bytes
}
