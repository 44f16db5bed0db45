//! The XDP program that fills a packet: pure, a list of instructions (linux/bpf.h, RFC 9669).

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
const STORE_IMM_WORD: u8 = 0x62;
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
const JUMP_IF_NOT_GREATER: u8 = 0xbd;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

const GET_PRANDOM_U32: i32 = 7;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

const IP: usize = 14;

/// Writes all headers anew (the kernel reuses packets as the gateway left them), with a random source port of the range and
/// the UDP checksum that goes with it.
pub(super) fn fill(frame: &[u8], first_port: u16, ports: u16) -> Result<Vec<Insn>> {
    let udp = IP + if frame.get(IP).context("an empty frame")? >> 4 == 4 { 20 } else { 40 };
    let end = udp + 8;
    let headers = frame.get(..end).context("a frame without all headers")?;
    let checksum = be16(frame, udp + 6).context("no checksum")?;
    let mut code = vec![
        insn(MOVE, 6, 1, 0, 0),
        insn(CALL, 0, 0, 0, GET_PRANDOM_U32),
        insn(MODULO_IMM_32, 0, 0, 0, i32::from(ports)),
        insn(ADD_IMM, 0, 0, 0, i32::from(first_port)),
        insn(MOVE, 7, 0, 0, 0),
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
    code.extend([
        insn(MOVE, 0, 7, 0, 0),
        insn(TO_BIG_ENDIAN, 0, 0, 0, 16),
        insn(STORE_HALF, 2, 0, udp as i16, 0),
        // The sum of everything but the port is the complement of the frame's checksum.
        insn(ADD_IMM, 7, 0, 0, i32::from(!checksum)),
        insn(MOVE, 0, 7, 0, 0),
        insn(SHIFT_RIGHT_IMM, 0, 0, 0, 16),
        insn(AND_IMM, 7, 0, 0, 0xffff),
        insn(ADD, 7, 0, 0, 0),
        insn(XOR_IMM, 7, 0, 0, 0xffff),
        insn(TO_BIG_ENDIAN, 7, 0, 0, 16),
        insn(STORE_HALF, 2, 7, (udp + 6) as i16, 0),
        insn(MOVE_IMM, 0, 0, 0, XDP_PASS),
        insn(EXIT, 0, 0, 0, 0),
    ]);
    Ok(code)
}
