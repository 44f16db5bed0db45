//! [`crc32c::diff`] as a global function: verified once, run for SCTP only.

use egress_common::packet::crc32c;

/// See [`crc32c::diff`].
#[inline(always)]
pub(crate) fn diff(from: [u8; 2], to: [u8; 2], behind: u32) -> u32 {
    crc_diff(u32::from(u16::from_ne_bytes(from)) << 16 | u32::from(u16::from_ne_bytes(to)), behind)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn crc_diff(ports: u32, behind: u32) -> u32 {
    crc32c::diff(((ports >> 16) as u16).to_ne_bytes(), (ports as u16).to_ne_bytes(), behind)
}
