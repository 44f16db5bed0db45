//! SCTP's checksum where it is (RFC 9260 §3.1).

/// The checksum that is there.
pub(super) fn found(packet: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(packet.get(8..12)?.try_into().ok()?))
}

/// Changes the checksum by this much.
pub(super) fn xor_checksum(packet: &mut [u8], change: u32) {
    if let Some(found) = found(packet) {
        packet[8..12].copy_from_slice(&(found ^ change).to_le_bytes());
    }
}
