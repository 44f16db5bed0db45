//! SCTP's checksum and chunks (RFC 9260).

/// The reflected polynomial of CRC32c.
const POLYNOMIAL: u32 = 0x82f6_3b78;

fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 })
    })
}

/// What the checksum of a packet should be; `None` if it is too short to have one.
pub(super) fn crc(packet: &[u8]) -> Option<u32> {
    packet.get(..12)?;
    Some(crc32c(packet.iter().enumerate().map(|(at, byte)| if (8..12).contains(&at) { 0 } else { *byte })))
}

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

/// A chunk: type, flags, length, value, and padding to four bytes.
pub(super) fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut chunk = [&[kind, flags], &length.to_be_bytes()[..], value].concat();
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// A packet of these chunks with its checksum.
pub(super) fn packet(source: u16, destination: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let header = [&source.to_be_bytes()[..], &destination.to_be_bytes(), &tag.to_be_bytes(), &[0; 4]].concat();
    let mut packet = [&header, chunks].concat();
    let crc = crc(&packet).unwrap_or_default();
    xor_checksum(&mut packet, crc);
    packet
}

/// RFC 3720 B.4.
#[test]
fn crc32c_of_32_zeros() {
    assert_eq!(crc32c([0; 32].into_iter()).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
}
