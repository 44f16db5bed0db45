//! IPv4 options (RFC 791 §3.1): which of them a packet may take along through the gateway.

use super::{Packet, parse::malformed};
use crate::verdict::Drop;

/// Longest list of options in bytes.
const LONGEST: u32 = 40;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Whether none of the `len` bytes of options at `at` steers the packet or records the addresses on its way: those would be
/// inside addresses (RFC 7126 §4.3, §4.4, §4.6, §4.7: dropped by default).
#[inline(always)]
pub(super) fn acceptable<P: Packet>(packet: &P, at: u32, len: u32) -> Result<bool, Drop> {
    let mut i = 0;
    let mut bad = 0;
    for _ in 0..LONGEST {
        if i >= len {
            break;
        }
        let kind: u8 = packet.read(at + i).map_err(malformed)?;
        if kind == END {
            break;
        }
        let mut size = 1;
        if kind != NO_OPERATION {
            size = u32::from(packet.read::<u8>(at + i + 1).map_err(malformed)?);
            if size < 2 || i + size > len {
                return Err(Drop::Malformed);
            }
            let steers = matches!(kind, RECORD_ROUTE | TIMESTAMP | LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE);
            bad |= u32::from(steers);
        }
        i = packet.blur(i + size);
        bad = packet.blur(bad);
    }
    Ok(bad == 0)
}

#[cfg(test)]
mod tests;
