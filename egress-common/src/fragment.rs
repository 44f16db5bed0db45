//! Fragments: the first one has the ports, the others are told by what it was (RFC 6146 §3.4). Nothing is put together.
//!
//! Order does not matter (RFC 4787 REQ-14): what comes before the first fragment waits for it, within a budget of its own, so
//! that a flood of such fragments pushes out nothing but its like.

use crate::{
    abi::{
        family::Family,
        fragment::{Datagram, DatagramKey},
    },
    packet::parse::Parsed,
};

/// Seconds for which a datagram is remembered (RFC 6146 §4: at least 2).
pub const LIFETIME: u32 = 2;

/// The datagram that a fragment belongs to.
#[inline(always)]
pub const fn key<F: Family>(packet: &Parsed<F>, dir: u8) -> DatagramKey<F::Addr> {
    DatagramKey {
        saddr: packet.src,
        daddr: packet.dst,
        id: packet.piece.id,
        // Of an IPv6 fragment only the first knows it for sure.
        proto: if F::V6 { 0 } else { packet.proto },
        dir,
        index: 0,
    }
}

/// Whether what is remembered since then still counts at `now`.
#[inline(always)]
#[must_use]
pub const fn alive(since: u32, now: u32) -> bool {
    let age = now.wrapping_sub(since);
    // Another CPU's second may have begun earlier.
    age <= LIFETIME || age > u32::MAX / 2
}

/// What is remembered of a first fragment.
#[inline(always)]
pub fn remembered<F: Family>(packet: &Parsed<F>, fate: u8, now: u32) -> Datagram {
    Datagram {
        since: now,
        sport: packet.sport,
        dport: packet.dport,
        proto: packet.proto,
        fate,
        pad: 0,
        total: 0,
        bytes: u64::from(packet.piece.len),
    }
}

/// Whether a first fragment says the same as the one before it did: else one of them lies (RFC 1858 §4).
#[inline(always)]
pub fn agrees<F: Family>(datagram: &Datagram, packet: &Parsed<F>) -> bool {
    (datagram.sport, datagram.dport, datagram.proto) == (packet.sport, packet.dport, packet.proto)
}

/// Where a datagram stands after one more fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More are to come.
    Open,
    /// That was the last one missing: its identification may be used again.
    Whole,
    /// More than a datagram can be: some overlap.
    Excess,
}

/// How a later fragment takes a datagram on; `total` is what [`Datagram::total`] becomes.
#[inline(always)]
pub fn progress<F: Family>(datagram: &Datagram, packet: &Parsed<F>) -> (Progress, u32) {
    let bytes = datagram.bytes + u64::from(packet.piece.len);
    let total = if packet.piece.more { datagram.total } else { packet.piece.at + packet.piece.len };
    let progress = if bytes > 65535 {
        Progress::Excess
    } else if total != 0 && bytes >= u64::from(total) {
        Progress::Whole
    } else {
        Progress::Open
    };
    (progress, total)
}

#[cfg(test)]
mod tests;
