//! The XDP program that fills a packet: pure, a list of instructions (linux/bpf.h, RFC 9669).

use std::os::fd::RawFd;

use anyhow::{Context, Result};

use crate::packet::be16;

/// An instruction as the kernel wants it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: to | from << 4, offset, immediate }
}

const LOAD_WORD: u8 = 0x61;
const LOAD_IMM_64: u8 = 0x18;
const STORE_IMM_WORD: u8 = 0x62;
const ATOMIC_64: u8 = 0xdb;
const STORE_IMM_HALF: u8 = 0x6a;
const STORE_HALF: u8 = 0x6b;
const ADD_IMM: u8 = 0x07;
const ADD: u8 = 0x0f;
const AND_IMM: u8 = 0x57;
const SHIFT_RIGHT_IMM: u8 = 0x77;
const MODULO_IMM_32: u8 = 0x94;
const XOR_IMM: u8 = 0xa7;
const MOVE_IMM: u8 = 0xb7;
const MOVE: u8 = 0xbf;
const TO_BIG_ENDIAN: u8 = 0xdc;
const JUMP_IF_NOT_ZERO: u8 = 0x55;
const JUMP_IF_NOT_GREATER: u8 = 0xbd;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

const MAP_LOOKUP: i32 = 1;
const PSEUDO_MAP_FD: u8 = 1;
const FETCH_ADD: i32 = 1;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

const IP: usize = 14;

/// A sender has so many ports; the next sender has another destination port too, so that no NAT runs out of ports.
pub(super) const PORT_BITS: u32 = 14;

/// Writes all headers anew (the kernel reuses packets as the gateway left them), with the next flow's source port and address
/// and the checksums that go with them. `counter` is an array map of one 64-bit word.
pub(super) fn fill(frame: &[u8], first_port: u16, flows: u32, counter: RawFd) -> Result<Vec<Insn>> {
    let v4 = frame.get(IP).context("an empty frame")? >> 4 == 4;
    let (udp, source) = if v4 { (IP + 20, IP + 14) } else { (IP + 40, IP + 22) };
    let end = udp + 8;
    let headers = frame.get(..end).context("a frame without all headers")?;
    let half = |at: usize| be16(frame, at).context("a frame without all headers");
    let mut code = vec![
        insn(MOVE, 6, 1, 0, 0),
        insn(STORE_IMM_WORD, 10, 0, -4, 0),
        insn(MOVE, 2, 10, 0, 0),
        insn(ADD_IMM, 2, 0, 0, -4),
        insn(LOAD_IMM_64, 1, PSEUDO_MAP_FD, 0, counter),
        insn(0, 0, 0, 0, 0),
        insn(CALL, 0, 0, 0, MAP_LOOKUP),
        insn(JUMP_IF_NOT_ZERO, 0, 0, 2, 0),
        insn(MOVE_IMM, 0, 0, 0, XDP_DROP),
        insn(EXIT, 0, 0, 0, 0),
        insn(MOVE_IMM, 7, 0, 0, 1),
        insn(ATOMIC_64, 0, 7, 0, FETCH_ADD),
        insn(MODULO_IMM_32, 7, 0, 0, i32::try_from(flows)?),
        insn(MOVE, 8, 7, 0, 0),
        insn(SHIFT_RIGHT_IMM, 8, 0, 0, PORT_BITS as i32),
        insn(AND_IMM, 7, 0, 0, (1 << PORT_BITS) - 1),
        insn(ADD_IMM, 7, 0, 0, i32::from(first_port)),
        insn(LOAD_WORD, 2, 6, 0, 0),
        insn(LOAD_WORD, 3, 6, 4, 0),
        insn(MOVE, 4, 2, 0, 0),
        insn(ADD_IMM, 4, 0, 0, end as i32),
        insn(JUMP_IF_NOT_GREATER, 4, 3, 2, 0),
        insn(MOVE_IMM, 0, 0, 0, XDP_DROP),
        insn(EXIT, 0, 0, 0, 0),
    ];
    let (words, rest) = headers.as_chunks::<4>();
    for (number, word) in words.iter().enumerate() {
        code.push(insn(STORE_IMM_WORD, 2, 0, (number * 4) as i16, i32::from_ne_bytes(*word)));
    }
    if let [high, low] = rest {
        let half = i32::from(u16::from_ne_bytes([*high, *low]));
        code.push(insn(STORE_IMM_HALF, 2, 0, (words.len() * 4) as i16, half));
    }
    store(&mut code, 7, udp, 0);
    store(&mut code, 8, udp + 2, half(udp + 2)?);
    store(&mut code, 8, source, half(source)?);
    code.extend([insn(ADD, 7, 8, 0, 0), insn(ADD, 7, 8, 0, 0)]);
    checksum(&mut code, 7, udp + 6, half(udp + 6)?);
    if v4 {
        checksum(&mut code, 8, IP + 10, half(IP + 10)?);
    }
    code.extend([insn(MOVE_IMM, 0, 0, 0, XDP_PASS), insn(EXIT, 0, 0, 0, 0)]);
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
