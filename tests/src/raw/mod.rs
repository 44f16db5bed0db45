//! BPF programs as lists of instructions (linux/bpf.h, RFC 9669), and the system calls that load, attach and run them: the few
//! that tests and benchmark need are shorter than a second build of BPF objects would be.

pub(crate) mod ring;
pub(crate) mod sys;

/// An instruction as the kernel wants it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

pub(crate) const fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: to | from << 4, offset, immediate }
}

pub(crate) mod op {
    pub(crate) const LOAD_WORD: u8 = 0x61;
    pub(crate) const LOAD_IMM_64: u8 = 0x18;
    pub(crate) const STORE_WORD: u8 = 0x63;
    pub(crate) const STORE_IMM_WORD: u8 = 0x62;
    pub(crate) const ATOMIC_64: u8 = 0xdb;
    pub(crate) const STORE_IMM_HALF: u8 = 0x6a;
    pub(crate) const STORE_HALF: u8 = 0x6b;
    pub(crate) const ADD_IMM: u8 = 0x07;
    pub(crate) const ADD: u8 = 0x0f;
    pub(crate) const AND_IMM: u8 = 0x57;
    pub(crate) const SHIFT_RIGHT_IMM: u8 = 0x77;
    pub(crate) const MODULO_IMM_32: u8 = 0x94;
    pub(crate) const XOR_IMM: u8 = 0xa7;
    pub(crate) const MOVE_IMM: u8 = 0xb7;
    pub(crate) const MOVE: u8 = 0xbf;
    pub(crate) const TO_BIG_ENDIAN: u8 = 0xdc;
    pub(crate) const JUMP_IF_NOT_ZERO: u8 = 0x55;
    pub(crate) const JUMP_IF_NOT_GREATER: u8 = 0xbd;
    pub(crate) const CALL: u8 = 0x85;
    pub(crate) const EXIT: u8 = 0x95;
}

/// Numbers of helpers.
pub(crate) mod helper {
    pub(crate) const MAP_LOOKUP: i32 = 1;
    pub(crate) const MAP_UPDATE: i32 = 2;
    pub(crate) const MAP_DELETE: i32 = 3;
    pub(crate) const SKB_STORE_BYTES: i32 = 9;
    pub(crate) const L3_CSUM_REPLACE: i32 = 10;
    pub(crate) const L4_CSUM_REPLACE: i32 = 11;
    pub(crate) const REDIRECT: i32 = 23;
    pub(crate) const SKB_LOAD_BYTES: i32 = 26;
    pub(crate) const CSUM_DIFF: i32 = 28;
    pub(crate) const FIB_LOOKUP: i32 = 69;
    pub(crate) const JIFFIES64: i32 = 118;
    pub(crate) const KTIME_GET_BOOT_NS: i32 = 125;
    pub(crate) const RINGBUF_RESERVE: i32 = 131;
    pub(crate) const RINGBUF_SUBMIT: i32 = 132;
    pub(crate) const REDIRECT_NEIGH: i32 = 152;
    pub(crate) const REDIRECT_PEER: i32 = 155;
}

/// In the source register of [`op::LOAD_IMM_64`]: the number is a map's descriptor.
pub(crate) const PSEUDO_MAP_FD: u8 = 1;
pub(crate) const XDP_DROP: i32 = 1;
pub(crate) const XDP_PASS: i32 = 2;

/// The descriptor of a map into a register.
pub(crate) const fn map(to: u8, fd: i32) -> [Insn; 2] {
    [insn(op::LOAD_IMM_64, to, PSEUDO_MAP_FD, 0, fd), insn(0, 0, 0, 0, 0)]
}

/// Ends with a number.
pub(crate) const fn give(value: i32) -> [Insn; 2] {
    [insn(op::MOVE_IMM, 0, 0, 0, value), insn(op::EXIT, 0, 0, 0, 0)]
}

/// Writes bytes, an even number of them, to the packet that starts where register 2 says.
pub(crate) fn write(bytes: &[u8]) -> Vec<Insn> {
    let (words, rest) = bytes.as_chunks::<4>();
    let at = |number: usize| (number * 4) as i16;
    let whole = words.iter().enumerate();
    let mut code: Vec<_> =
        whole.map(|(number, word)| insn(op::STORE_IMM_WORD, 2, 0, at(number), i32::from_ne_bytes(*word))).collect();
    if let [high, low] = rest {
        code.push(insn(op::STORE_IMM_HALF, 2, 0, at(words.len()), u16::from_ne_bytes([*high, *low]).into()));
    }
    code
}
