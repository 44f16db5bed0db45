//! What the helpers cost that the data path calls, one by one.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use anyhow::Result;

use super::Plan;
use super::peers::Bed;
use super::programs::{SPREAD, Section, rounds};
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
/// Where a key of 16 bytes stands on the stack.
const KEY: i16 = -16;

/// What a call costs, of so many in one program.
pub(super) fn costs(plan: &Plan, bed: &Bed<'_>) -> Result<Section> {
    let note = "Each is called 16 times in a program of its own; what an empty program takes is not in it. Everything is in the \
                first cache: a look-up in a large table costs a visit to memory more.";
    let mut section = Section::new("What the data path calls [ns/call]", &SPREAD, note);
    let table = sys::map(Kind::Hash(16), 32, 1024)?;
    sys::update(&table, &[0; 16], &[0; 32])?;
    let totals = sys::map(Kind::PerCpuArray, 256, 1)?;
    let (table, totals) = (table.as_raw_fd(), totals.as_raw_fd());
    let calls = [
        ("bpf_ktime_get_boot_ns", vec![call(helper::KTIME_GET_BOOT_NS)]),
        ("look-up, hash table, key of 16 bytes", look_up(table)),
        ("look-up, array of each CPU", look_up(totals)),
        ("atomic addition to what was found, beside its look-up in the array", [look_up(totals), add()].concat()),
        ("bpf_l3_csum_replace", sum(helper::L3_CSUM_REPLACE, IP_SUM, 0)),
        ("bpf_l4_csum_replace, address", sum(helper::L4_CSUM_REPLACE, UDP_SUM, PSEUDO_AND_MANGLED)),
        ("bpf_l4_csum_replace, port", sum(helper::L4_CSUM_REPLACE, UDP_SUM, MANGLED_HALF)),
        ("bpf_redirect_peer", redirect()),
    ];
    let nothing = time(plan, bed, &[])?;
    for (name, code) in calls {
        let values = time(plan, bed, &code.repeat(CALLS))?;
        let each = values.iter().zip(&nothing).map(|(all, none)| ((all - none) / CALLS as f64).max(0.0));
        section.spread(name, each.collect());
    }
    Ok(section)
}

fn time(plan: &Plan, bed: &Bed<'_>, calls: &[Insn]) -> Result<Vec<f64>> {
    let mut code = vec![insn(op::MOVE, 6, 1, 0, 0)];
    code.extend((0..4).map(|word| insn(op::STORE_IMM_WORD, 10, 0, KEY + 4 * word, 0)));
    code.extend(calls);
    code.extend(give(0));
    let program = sys::load(Hook::Ingress, &code)?;
    // A checksum of 0 in UDP would be left as it is.
    let frame = vec![1; 60];
    rounds(plan, bed, program.as_fd(), "eth0", REPEATS, |_| &frame)
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

fn redirect() -> Vec<Insn> {
    vec![insn(op::MOVE_IMM, 1, 0, 0, 1), insn(op::MOVE_IMM, 2, 0, 0, 0), call(helper::REDIRECT_PEER)]
}
