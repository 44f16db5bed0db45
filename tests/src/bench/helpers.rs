//! What the helpers cost that the data path calls, one by one.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail, ensure};
use egress_common::abi::event::Event;

use super::Plan;
use super::peers::Bed;
use super::programs::{SPREAD, Section, rounds};
use crate::Family;
use crate::lab::addresses::SERVER;
use crate::packet::proto;
use crate::raw::ring::Ring;
use crate::raw::sys::{self, Hook, Kind};
use crate::raw::{Insn, give, helper, insn, map, op};

/// Calls in a program.
const CALLS: usize = 16;
const REPEATS: u32 = 64;
/// An IPv4 header's checksum and a UDP header's, and the flags that go with an address in the latter.
const IP_SUM: i32 = 14 + 10;
const UDP_SUM: i32 = 14 + 20 + 6;
const PSEUDO_AND_MANGLED: i32 = 0x30;
const MANGLED_HALF: i32 = 0x22;
/// Where a key of 16 bytes stands on the stack, and 64 bytes below it; all are zero.
const KEY: i16 = -16;
const BLOCK: i16 = -80;
/// `struct bpf_fib_lookup` and `struct bpf_redir_neigh`.
const QUESTION: i32 = 64;
const NEXT_HOP: i32 = 20;
const AF_INET: i32 = 2;
/// Bytes of a record: an event of ours is as long.
const RECORD: i32 = size_of::<Event>() as i32;
/// A run writes 1,024 of them.
const RING: u32 = 1 << 18;
const NO_WAKEUP: i32 = 1;
const NO_EXIST: i32 = 1;

/// What a call costs, of so many in one program.
pub(super) fn costs(plan: &Plan, bed: &Bed<'_>) -> Result<Section> {
    let note = "Each is called 16 times in a TC program of its own; what an empty program takes is not in it. Everything is in the \
                first cache: a look-up in a large table costs a visit to memory more. What a redirect does after the program is \
                not in it, nor what a reader of the ring buffer does.";
    let mut section = Section::new("What the data path calls [ns/call]", &SPREAD, note);
    let (table, empty) = (sys::map(Kind::Hash(16), 32, 1024)?, sys::map(Kind::Hash(16), 32, 1024)?);
    sys::update(&table, &[0; 16], &[0; 32])?;
    let totals = sys::map(Kind::PerCpuArray, 256, 1)?;
    let ring = Ring::new(RING)?;
    let (table, empty, totals) = (table.as_raw_fd(), empty.as_raw_fd(), totals.as_raw_fd());
    let question = question(bed)?;
    ensure_found(bed, &question)?;
    let calls = [
        ("bpf_ktime_get_boot_ns", vec![call(helper::KTIME_GET_BOOT_NS)]),
        ("bpf_jiffies64", vec![call(helper::JIFFIES64)]),
        ("look-up, hash table, key of 16 bytes", look_up(table)),
        ("look-up, array of each CPU", look_up(totals)),
        ("atomic addition to what was found, beside its look-up in the array", [look_up(totals), add()].concat()),
        ("bpf_map_update_elem, hash table, key of 16 and value of 32 bytes, there already", update(table, 0)),
        (
            "bpf_map_update_elem and bpf_map_delete_elem, the same, not there before",
            [update(empty, NO_EXIST), delete(empty)].concat(),
        ),
        ("bpf_skb_load_bytes, 16 bytes", bytes(helper::SKB_LOAD_BYTES)),
        ("bpf_skb_store_bytes, 16 bytes", bytes(helper::SKB_STORE_BYTES)),
        ("bpf_csum_diff, 64 bytes added", csum_diff()),
        ("bpf_l3_csum_replace", sum(helper::L3_CSUM_REPLACE, IP_SUM, 0)),
        ("bpf_l4_csum_replace, address", sum(helper::L4_CSUM_REPLACE, UDP_SUM, PSEUDO_AND_MANGLED)),
        ("bpf_l4_csum_replace, port", sum(helper::L4_CSUM_REPLACE, UDP_SUM, MANGLED_HALF)),
        ("bpf_fib_lookup, from eth0 to the server, IPv4, with the six words of its question", question),
        ("bpf_ringbuf_reserve and bpf_ringbuf_submit without a wake-up, a record as of an event", record(ring.fd())),
        ("bpf_redirect", redirect(helper::REDIRECT)),
        ("bpf_redirect_peer", redirect(helper::REDIRECT_PEER)),
        ("bpf_redirect_neigh, with a next hop", redirect_neigh()),
    ];
    let nothing = time(plan, bed, &ring, &[])?;
    for (name, code) in calls {
        let values = time(plan, bed, &ring, &code.repeat(CALLS)).with_context(|| name.to_owned())?;
        let each = values.iter().zip(&nothing).map(|(all, none)| ((all - none) / CALLS as f64).max(0.0));
        section.spread(name, each.collect());
    }
    Ok(section)
}

/// A program with all of the stack at zero, and its context in register 6.
fn program(calls: &[Insn], end: &[Insn]) -> Result<OwnedFd> {
    let mut code = vec![insn(op::MOVE, 6, 1, 0, 0)];
    code.extend((BLOCK..0).step_by(4).map(|at| insn(op::STORE_IMM_WORD, 10, 0, at, 0)));
    code.extend([calls, end].concat());
    sys::load(Hook::Ingress, &code)
}

fn time(plan: &Plan, bed: &Bed<'_>, ring: &Ring, calls: &[Insn]) -> Result<Vec<f64>> {
    let program = program(calls, &give(0))?;
    // A checksum of 0 in UDP would be left as it is.
    let frame = vec![1; 60];
    let next = |_| {
        ring.skip();
        &frame
    };
    rounds(plan, bed, program.as_fd(), "eth0", REPEATS, next)
}

/// An answer that is none would be quicker.
fn ensure_found(bed: &Bed<'_>, question: &[Insn]) -> Result<()> {
    let program = program(question, &[insn(op::EXIT, 0, 0, 0, 0)])?;
    let index = bed.lab.gateway.ns.ifindex("eth0")?;
    let ran = bed.lab.gateway.ns.run(|| sys::run_tc(program.as_fd(), &[1; 60], index, 1))??;
    ensure!(ran.verdict == 0, "bpf_fib_lookup finds no way to the server: it says {}", ran.verdict);
    Ok(())
}

const fn call(number: i32) -> Insn {
    insn(op::CALL, 0, 0, 0, number)
}

fn look_up(table: RawFd) -> Vec<Insn> {
    let mut code = vec![insn(op::MOVE, 2, 10, 0, 0), insn(op::ADD_IMM, 2, 0, 0, KEY.into())];
    code.extend(map(1, table));
    code.push(call(helper::MAP_LOOKUP));
    code
}

fn add() -> Vec<Insn> {
    vec![
        insn(op::JUMP_IF_NOT_ZERO, 0, 0, 2, 0),
        insn(op::MOVE_IMM, 0, 0, 0, 0),
        insn(op::EXIT, 0, 0, 0, 0),
        insn(op::MOVE_IMM, 1, 0, 0, 1),
        insn(op::ATOMIC_64, 0, 1, 0, 0),
    ]
}

fn sum(number: i32, at: i32, flags: i32) -> Vec<Insn> {
    let mut code = vec![insn(op::MOVE, 1, 6, 0, 0)];
    code.extend(
        [(2, at), (3, 0), (4, 1), (5, flags)].map(|(register, value)| insn(op::MOVE_IMM, register, 0, 0, value)),
    );
    code.push(call(number));
    code
}

/// A number into a register, or the address of something on the stack.
const fn number(register: u8, value: i32) -> Insn {
    insn(op::MOVE_IMM, register, 0, 0, value)
}

fn address(register: u8, at: i16) -> [Insn; 2] {
    [insn(op::MOVE, register, 10, 0, 0), insn(op::ADD_IMM, register, 0, 0, at.into())]
}

fn update(table: RawFd, flags: i32) -> Vec<Insn> {
    let mut code = [address(2, KEY), address(3, BLOCK)].concat();
    code.push(number(4, flags));
    code.extend(map(1, table));
    code.push(call(helper::MAP_UPDATE));
    code
}

fn delete(table: RawFd) -> Vec<Insn> {
    let mut code = address(2, KEY).to_vec();
    code.extend(map(1, table));
    code.push(call(helper::MAP_DELETE));
    code
}

fn bytes(helper: i32) -> Vec<Insn> {
    let mut code = vec![insn(op::MOVE, 1, 6, 0, 0), number(2, 14)];
    code.extend(address(3, KEY));
    code.extend([number(4, 16), number(5, 0), call(helper)]);
    code
}

fn csum_diff() -> Vec<Insn> {
    let mut code = vec![number(1, 0), number(2, 0)];
    code.extend(address(3, BLOCK));
    code.extend([number(4, 64), number(5, 0), call(helper::CSUM_DIFF)]);
    code
}

/// What the answer overwrites is written each time.
fn question(bed: &Bed<'_>) -> Result<Vec<Insn>> {
    let (IpAddr::V4(pod), server) = (bed.lab.client("client1")?.addr(Family::V4), SERVER.0) else {
        bail!("a Pod without IPv4");
    };
    let word = |at: i16, value: i32| insn(op::STORE_IMM_WORD, 10, 0, BLOCK + at, value);
    let mut code = vec![
        // Family and protocol; ports and length; interface; type of service; source and destination.
        word(0, i32::from_ne_bytes([AF_INET as u8, proto::UDP, 0, 0])),
        word(4, 0),
        word(8, bed.lab.gateway.ns.ifindex("eth0")? as i32),
        word(12, 0),
        word(16, i32::from_ne_bytes(pod.octets())),
        word(32, i32::from_ne_bytes(server.octets())),
        insn(op::MOVE, 1, 6, 0, 0),
    ];
    code.extend(address(2, BLOCK));
    code.extend([number(3, QUESTION), number(4, 0), call(helper::FIB_LOOKUP)]);
    Ok(code)
}

fn record(ring: RawFd) -> Vec<Insn> {
    let mut code = map(1, ring).to_vec();
    code.extend([
        number(2, RECORD),
        number(3, 0),
        call(helper::RINGBUF_RESERVE),
        insn(op::JUMP_IF_NOT_ZERO, 0, 0, 2, 0),
        number(0, 0),
        insn(op::EXIT, 0, 0, 0, 0),
        insn(op::MOVE, 1, 0, 0, 0),
        number(2, NO_WAKEUP),
        call(helper::RINGBUF_SUBMIT),
    ]);
    code
}

fn redirect(helper: i32) -> Vec<Insn> {
    vec![number(1, 1), number(2, 0), call(helper)]
}

fn redirect_neigh() -> Vec<Insn> {
    let mut code = vec![number(1, 1)];
    code.extend(address(2, BLOCK));
    code.extend([number(3, NEXT_HOP), number(4, 0), call(helper::REDIRECT_NEIGH)]);
    code
}
