//! The classic pcap file format.

use std::time::UNIX_EPOCH;

use super::Captured;

const MAGIC: u32 = 0xa1b2_c3d4;
const LINKTYPE_ETHERNET: u32 = 1;
const SNAP_LENGTH: u32 = 262_144;

/// A file header and a record per frame, in this machine's byte order, times in microseconds.
pub(super) fn encode(frames: &[Captured]) -> Vec<u8> {
    let mut file = MAGIC.to_ne_bytes().to_vec();
    file.extend(2_u16.to_ne_bytes());
    file.extend(4_u16.to_ne_bytes());
    for word in [0, 0, SNAP_LENGTH, LINKTYPE_ETHERNET] {
        file.extend(word.to_ne_bytes());
    }
    for frame in frames {
        let at = frame.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = frame.bytes.len() as u32;
        for word in [at.as_secs() as u32, at.subsec_micros(), length, length] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(&frame.bytes);
    }
    file
}
