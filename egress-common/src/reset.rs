//! TCP RST that the gateway sends itself, in answer to a segment that belongs to no connection (RFC 9293 §3.10.7.1).

use crate::{
    abi::family::{Addr6, Family, V4, V6},
    answer::{ip4, ip6},
    packet::{
        Plain,
        csum::{fold, fold_add},
        header::{Ipv4, Ipv6, Tcp, proto},
    },
};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Length of the header and so of the segment.
const LENGTH: u32 = size_of::<Tcp>() as u32;

/// IP and TCP header of a RST.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Reset<I> {
    /// IP.
    pub ip: I,
    /// TCP.
    pub tcp: Tcp,
}

// SAFETY: bytes only.
unsafe impl Plain for Reset<Ipv4> {}
// SAFETY: bytes only.
unsafe impl Plain for Reset<Ipv6> {}

/// A family's RST.
pub trait Resetting: Family {
    /// The whole packet.
    type Reset: Plain;
    /// The answer to a segment with this header, which with what follows it is `len` bytes long; `from` is where that went.
    fn rst(from: &Self::Addr, to: &Self::Addr, segment: &Tcp, len: u32) -> Self::Reset;
}

/// The RST without its checksum: what the segment acknowledged comes next, or the segment is acknowledged.
#[inline(always)]
fn answer(segment: &Tcp, len: u32) -> Tcp {
    let acknowledges = segment.flags & ACK != 0;
    let data = len.saturating_sub(u32::from(segment.offset >> 4) * 4);
    let counted = u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
    let next = u32::from_be_bytes(segment.seq).wrapping_add(data).wrapping_add(counted);
    Tcp {
        sport: segment.dport,
        dport: segment.sport,
        seq: if acknowledges { segment.ack } else { [0; 4] },
        ack: if acknowledges { [0; 4] } else { next.to_be_bytes() },
        offset: 5 << 4,
        flags: if acknowledges { RST } else { RST | ACK },
        window: [0; 2],
        csum: [0; 2],
        urgent: [0; 2],
    }
}

/// Fills the checksum in, `sum` being that over both addresses.
#[inline(always)]
fn seal(tcp: &mut Tcp, sum: u32) {
    let mut total = fold_add(sum, fold_add(LENGTH.to_be(), u32::from(proto::TCP).to_be()));
    for word in [tcp.seq, tcp.ack] {
        total = fold_add(total, u32::from_ne_bytes(word));
    }
    for half in [tcp.sport, tcp.dport, [tcp.offset, tcp.flags]] {
        total = fold_add(total, u32::from(u16::from_ne_bytes(half)));
    }
    tcp.csum = (!fold(total)).to_ne_bytes();
}

impl Resetting for V4 {
    type Reset = Reset<Ipv4>;

    #[inline(always)]
    fn rst(from: &[u8; 4], to: &[u8; 4], segment: &Tcp, len: u32) -> Self::Reset {
        let mut tcp = answer(segment, len);
        seal(&mut tcp, fold_add(u32::from_ne_bytes(*from), u32::from_ne_bytes(*to)));
        Reset { ip: ip4(0, proto::TCP, LENGTH, from, to), tcp }
    }
}

impl Resetting for V6 {
    type Reset = Reset<Ipv6>;

    #[inline(always)]
    fn rst(from: &Addr6, to: &Addr6, segment: &Tcp, len: u32) -> Self::Reset {
        let mut tcp = answer(segment, len);
        let mut sum = 0;
        for addr in [from, to] {
            for word in addr.octets.as_chunks::<4>().0 {
                sum = fold_add(sum, u32::from_ne_bytes(*word));
            }
        }
        seal(&mut tcp, sum);
        Reset { ip: ip6(proto::TCP, LENGTH, from, to), tcp }
    }
}

#[cfg(test)]
mod tests;
