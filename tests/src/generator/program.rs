//! The XDP programs that fill a packet: pure.

use std::os::fd::RawFd;

use anyhow::{Context, Result};

use crate::packet::be16;
use crate::raw::op::{
    ADD, ADD_IMM, AND_IMM, ATOMIC_64, CALL, JUMP_IF_NOT_GREATER, JUMP_IF_NOT_ZERO, LOAD_WORD, MODULO_IMM_32, MOVE,
    MOVE_IMM, SHIFT_RIGHT_IMM, STORE_HALF, STORE_IMM_WORD, STORE_WORD, TO_BIG_ENDIAN, XOR_IMM,
};
use crate::raw::{Insn, XDP_DROP, XDP_PASS, give, helper, insn, map, write};

const FETCH_ADD: i32 = 1;

const IP: usize = 14;

/// A sender has so many ports; the next sender has another destination port too, so that no NAT runs out of ports.
pub(super) const PORT_BITS: u32 = 14;

/// Ethernet, IPv4 and UDP headers and some payload.
pub(super) const HEAD: usize = 56;

/// Where packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Up from the interface that they are said to have come by: as skbs.
    Arrive,
    /// Out by the interface of this number, as XDP frames.
    Leave(u32),
}

impl Exit {
    fn code(self) -> Vec<Insn> {
        match self {
            Self::Arrive => give(XDP_PASS).to_vec(),
            Self::Leave(index) => vec![
                insn(MOVE_IMM, 1, 0, 0, index as i32),
                insn(MOVE_IMM, 2, 0, 0, 0),
                insn(CALL, 0, 0, 0, helper::REDIRECT),
                insn(crate::raw::op::EXIT, 0, 0, 0, 0),
            ],
        }
    }
}

/// The next flow's number into register 7, and the start of the packet, which has at least `end` bytes, into register 2.
/// Register 6 holds the context. `counter` is an array map of one 64-bit word.
fn next(flows: u32, end: usize, counter: RawFd) -> Result<Vec<Insn>> {
    let mut code = vec![insn(MOVE, 6, 1, 0, 0), insn(STORE_IMM_WORD, 10, 0, -4, 0)];
    code.extend([insn(MOVE, 2, 10, 0, 0), insn(ADD_IMM, 2, 0, 0, -4)]);
    code.extend(map(1, counter));
    code.extend([insn(CALL, 0, 0, 0, helper::MAP_LOOKUP), insn(JUMP_IF_NOT_ZERO, 0, 0, 2, 0)]);
    code.extend(give(XDP_DROP));
    code.extend([
        insn(MOVE_IMM, 7, 0, 0, 1),
        insn(ATOMIC_64, 0, 7, 0, FETCH_ADD),
        insn(MODULO_IMM_32, 7, 0, 0, i32::try_from(flows)?),
    ]);
    code.extend(packet(end));
    Ok(code)
}

fn packet(end: usize) -> Vec<Insn> {
    let mut code = vec![
        insn(LOAD_WORD, 2, 6, 0, 0),
        insn(LOAD_WORD, 3, 6, 4, 0),
        insn(MOVE, 4, 2, 0, 0),
        insn(ADD_IMM, 4, 0, 0, end as i32),
        insn(JUMP_IF_NOT_GREATER, 4, 3, 2, 0),
    ];
    code.extend(give(XDP_DROP));
    code
}

/// Writes all headers anew (the kernel reuses packets as the gateway left them), with the next flow's source port and address
/// and the checksums that go with them.
pub(super) fn fill(frame: &[u8], first_port: u16, flows: u32, counter: RawFd, exit: Exit) -> Result<Vec<Insn>> {
    let v4 = frame.get(IP).context("an empty frame")? >> 4 == 4;
    let (udp, source) = if v4 { (IP + 20, IP + 14) } else { (IP + 40, IP + 22) };
    let end = udp + 8;
    let headers = frame.get(..end).context("a frame without all headers")?;
    let half = |at: usize| be16(frame, at).context("a frame without all headers");
    let mut code = next(flows, end, counter)?;
    code.extend([
        insn(MOVE, 8, 7, 0, 0),
        insn(SHIFT_RIGHT_IMM, 8, 0, 0, PORT_BITS as i32),
        insn(AND_IMM, 7, 0, 0, (1 << PORT_BITS) - 1),
        insn(ADD_IMM, 7, 0, 0, i32::from(first_port)),
    ]);
    code.extend(write(headers));
    store(&mut code, 7, udp, 0);
    store(&mut code, 8, udp + 2, half(udp + 2)?);
    store(&mut code, 8, source, half(source)?);
    code.extend([insn(ADD, 7, 8, 0, 0), insn(ADD, 7, 8, 0, 0)]);
    checksum(&mut code, 7, udp + 6, half(udp + 6)?);
    if v4 {
        checksum(&mut code, 8, IP + 10, half(IP + 10)?);
    }
    code.extend(exit.code());
    Ok(code)
}

/// Writes the next of `count` heads, each of [`HEAD`] bytes in the array map `heads`, over a packet's beginning.
pub(super) fn replay(count: u32, counter: RawFd, heads: RawFd) -> Result<Vec<Insn>> {
    let mut code = next(count, HEAD, counter)?;
    code.extend([insn(STORE_WORD, 10, 7, -4, 0), insn(MOVE, 2, 10, 0, 0), insn(ADD_IMM, 2, 0, 0, -4)]);
    code.extend(map(1, heads));
    code.extend([insn(CALL, 0, 0, 0, helper::MAP_LOOKUP), insn(JUMP_IF_NOT_ZERO, 0, 0, 2, 0)]);
    code.extend(give(XDP_DROP));
    code.extend(packet(HEAD));
    for at in (0..HEAD as i16).step_by(4) {
        code.extend([insn(LOAD_WORD, 3, 0, at, 0), insn(STORE_WORD, 2, 3, at, 0)]);
    }
    code.extend(give(XDP_PASS));
    Ok(code)
}

/// Writes `base` and the register's value at `at` of the packet.
fn store(code: &mut Vec<Insn>, register: u8, at: usize, base: u16) {
    code.extend([
        insn(MOVE, 0, register, 0, 0),
        insn(ADD_IMM, 0, 0, 0, i32::from(base)),
        insn(TO_BIG_ENDIAN, 0, 0, 0, 16),
        insn(STORE_HALF, 2, 0, at as i16, 0),
    ]);
}

/// Writes the checksum that is `was` where the register's value is added to what it sums up.
fn checksum(code: &mut Vec<Insn>, register: u8, at: usize, was: u16) {
    code.extend([
        insn(MOVE, 0, register, 0, 0),
        // The sum of everything else is the complement.
        insn(ADD_IMM, 0, 0, 0, i32::from(!was)),
        insn(MOVE, 3, 0, 0, 0),
        insn(SHIFT_RIGHT_IMM, 3, 0, 0, 16),
        insn(AND_IMM, 0, 0, 0, 0xffff),
        insn(ADD, 0, 3, 0, 0),
        insn(XOR_IMM, 0, 0, 0, 0xffff),
        insn(TO_BIG_ENDIAN, 0, 0, 0, 16),
        insn(STORE_HALF, 2, 0, at as i16, 0),
    ]);
}
