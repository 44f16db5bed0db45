//! IPv6 extension headers (RFC 8200 §4): the way from the IP header to the protocol's.

use super::{
    Packet,
    header::{Short, proto},
    parse::{Piece, malformed},
};
use crate::verdict::Drop;

/// Extension headers that are walked; no sane packet has as many.
pub(super) const MOST_HEADERS: u32 = 8;

/// RFC 5095: to be dropped, whatever it says.
const ROUTING_TYPE_0: u8 = 0;

/// Where a chain leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The protocol.
    pub(super) proto: u8,
    /// Offset of its header; of a later fragment, of its data.
    pub(super) l4: u32,
    /// From the fragment header.
    pub(super) piece: Piece,
    /// There is a header that the gateway does not take along.
    pub(super) refused: bool,
}

/// Walks from the header with number `first` at `at`; the packet ends at `end`.
#[inline(always)]
pub(super) fn chain<P: Packet>(packet: &P, first: u8, at: u32, end: u32) -> Result<Chain, Drop> {
    let mut found = Chain { proto: first, l4: at, piece: Piece::default(), refused: false };
    let (mut refused, mut more, mut fragments) = (0, 0, 0);
    if !extends(first) {
        return Ok(found);
    }
    // The way out stands last: old kernels (6.1) refuse a loop whose end falls through into its beginning.
    for i in 0..MOST_HEADERS {
        let header: Short = packet.read(found.l4).map_err(malformed)?;
        let len = if found.proto == proto::FRAGMENT { 8 } else { (u32::from(header.first[1]) + 1) * 8 };
        if found.l4 + len > end {
            return Err(Drop::Malformed);
        }
        match found.proto {
            proto::FRAGMENT => {
                let field = u16::from_be_bytes(header.second);
                let [a, b, c, d] = [header.third[0], header.third[1], header.fourth[0], header.fourth[1]];
                found.piece.id = u32::from_be_bytes([a, b, c, d]);
                found.piece.at = u32::from(field & !7);
                found.piece.len = end - found.l4 - len;
                more = u32::from(field & 1);
                refused |= fragments;
                fragments = 1;
            }
            // The checksum covers the last address of the list, and the answer comes from there.
            proto::ROUTING => refused |= u32::from(header.second[0] == ROUTING_TYPE_0 || header.second[1] != 0),
            proto::HOP_BY_HOP => refused |= u32::from(i != 0),
            _ => {}
        }
        found.proto = header.first[0];
        found.l4 = packet.blur(found.l4 + len);
        (found.piece.id, found.piece.at) = (packet.blur(found.piece.id), packet.blur(found.piece.at));
        found.piece.len = packet.blur(found.piece.len);
        (refused, more, fragments) = (packet.blur(refused), packet.blur(more), packet.blur(fragments));
        found.refused = refused != 0;
        found.piece.more = more != 0;
        if !extends(found.proto) || found.piece.at != 0 {
            return Ok(found);
        }
    }
    found.refused = true;
    Ok(found)
}

#[inline(always)]
const fn extends(number: u8) -> bool {
    matches!(number, proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION | proto::FRAGMENT)
}

#[cfg(test)]
mod tests;
