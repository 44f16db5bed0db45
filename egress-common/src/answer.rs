//! ICMP errors that the gateway sends itself, about packets from outside that cannot reach their Pod. The kernel must not: to
//! it they are for one of its own addresses.
//!
//! They come from the egress address and quote the packet as it arrived (RFC 5508 §7.2), so they show nothing inside.

use crate::{
    abi::family::{Addr6, Family, V4, V6},
    packet::{
        Plain,
        csum::{fold, fold_add},
        header::{Ipv4, Ipv6, Short, proto},
        parse::{Kind, Parsed},
    },
};

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// TTL or hop limit at its end.
    Expired,
    /// Longer than this MTU, and may not be fragmented.
    TooBig(u32),
}

/// Errors, and RST ([`crate::reset`]), per second and CPU, in the long run (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f).
pub const RATE: u64 = 1000;
/// As many may come at once.
pub const BURST: u64 = 100;

const INTERVAL_NS: u64 = 1_000_000_000 / RATE;

/// Whether one more may be sent `now` (nanoseconds), given when the ones before are paid for (GCRA, ITU-T I.371); when this one
/// will be.
#[inline(always)]
#[must_use]
pub const fn admit(paid_ns: u64, now_ns: u64) -> Option<u64> {
    let debt = paid_ns.saturating_sub(now_ns);
    // A clock that was moved back must not silence the gateway.
    let debt = if debt > 2 * BURST * INTERVAL_NS { 0 } else { debt };
    if debt > (BURST - 1) * INTERVAL_NS { None } else { Some(now_ns + debt + INTERVAL_NS) }
}

/// Whether a packet may be answered by an error: not another error, and of IPv4 datagrams only the first fragment
/// (RFC 1122 §3.2.2, RFC 4443 §2.4 e).
#[inline(always)]
pub fn answerable<F: Family>(packet: &Parsed<F>) -> bool {
    !matches!(packet.kind, Kind::Error) && (F::V6 || packet.piece.at == 0)
}

/// IP and ICMP header of an error.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Head<I> {
    /// IP.
    pub ip: I,
    /// Type, code, checksum, then the MTU or zero.
    pub icmp: Short,
}

// SAFETY: bytes only.
unsafe impl Plain for Head<Ipv4> {}
// SAFETY: bytes only.
unsafe impl Plain for Head<Ipv6> {}

/// A family's errors.
pub trait Answering: Family {
    /// Both headers.
    type Head: Plain;
    /// Most bytes of the packet that an error quotes.
    const QUOTE: u32;
    /// The headers of an error from `from` to `to` before `quote` bytes that sum up to `sum`.
    fn head(answer: Answer, from: &Self::Addr, to: &Self::Addr, quote: u32, sum: u32) -> Self::Head;
}

/// TTL and hop limit of what the gateway sends.
const TTL: u8 = 64;

#[inline(always)]
fn icmp(kind: u8, code: u8, mtu: u32) -> Short {
    let [a, b, c, d] = mtu.to_be_bytes();
    Short { first: [kind, code], second: [0; 2], third: [a, b], fourth: [c, d] }
}

/// The message's checksum, `sum` being that over everything else that it covers.
#[inline(always)]
fn seal(icmp: &mut Short, sum: u32) {
    let words = [icmp.first, icmp.third, icmp.fourth];
    let mut total = sum;
    for word in words {
        total = fold_add(total, u32::from(u16::from_ne_bytes(word)));
    }
    icmp.second = (!fold(total)).to_ne_bytes();
}

impl Answering for V4 {
    type Head = Head<Ipv4>;
    /// The whole message has at most 576 bytes (RFC 1812 §4.3.2.3).
    const QUOTE: u32 = 548;

    #[inline(always)]
    fn head(answer: Answer, from: &[u8; 4], to: &[u8; 4], quote: u32, sum: u32) -> Self::Head {
        let mut icmp = match answer {
            Answer::Expired => icmp(11, 0, 0),
            // RFC 1191 §4: the MTU stands in the low half.
            Answer::TooBig(mtu) => icmp(3, 4, mtu & 0xffff),
        };
        seal(&mut icmp, sum);
        // Internetwork control (RFC 1812 §4.3.2.5).
        Head { ip: ip4(0xc0, proto::ICMP, size_of::<Short>() as u32 + quote, from, to), icmp }
    }
}

/// The IPv4 header of what the gateway sends, before `len` bytes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 576")]
pub(crate) fn ip4(tos: u8, proto: u8, len: u32, from: &[u8; 4], to: &[u8; 4]) -> Ipv4 {
    let mut ip = Ipv4 {
        version_ihl: 0x45,
        tos,
        total_len: ((V4::HEADER + len) as u16).to_be_bytes(),
        // Atomic: needs no identification of its own (RFC 6864 §4.1).
        id: [0; 2],
        frag: 0x4000_u16.to_be_bytes(),
        ttl: TTL,
        proto,
        csum: [0; 2],
        src: *from,
        dst: *to,
    };
    let words = [[ip.version_ihl, ip.tos], ip.total_len, ip.frag, [ip.ttl, ip.proto]];
    let mut total = 0;
    for word in words {
        total = fold_add(total, u32::from(u16::from_ne_bytes(word)));
    }
    for addr in [from, to] {
        total = fold_add(total, u32::from_ne_bytes(*addr));
    }
    ip.csum = (!fold(total)).to_ne_bytes();
    ip
}

impl Answering for V6 {
    type Head = Head<Ipv6>;
    /// The whole message has at most the least MTU of IPv6 (RFC 4443 §2.4 c).
    const QUOTE: u32 = 1232;

    #[inline(always)]
    fn head(answer: Answer, from: &Addr6, to: &Addr6, quote: u32, sum: u32) -> Self::Head {
        let mut icmp = match answer {
            Answer::Expired => icmp(3, 0, 0),
            Answer::TooBig(mtu) => icmp(2, 0, mtu),
        };
        let len = size_of::<Short>() as u32 + quote;
        let mut total = fold_add(sum, fold_add(len.to_be(), u32::from(proto::ICMPV6).to_be()));
        for addr in [from, to] {
            for word in addr.octets.as_chunks::<4>().0 {
                total = fold_add(total, u32::from_ne_bytes(*word));
            }
        }
        seal(&mut icmp, total);
        Head { ip: ip6(proto::ICMPV6, len, from, to), icmp }
    }
}

/// The IPv6 header of what the gateway sends, before `len` bytes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 1240")]
pub(crate) const fn ip6(next: u8, len: u32, from: &Addr6, to: &Addr6) -> Ipv6 {
    Ipv6 {
        version: [0x60, 0, 0, 0],
        payload_len: (len as u16).to_be_bytes(),
        next,
        hop_limit: TTL,
        src: *from,
        dst: *to,
    }
}

#[cfg(test)]
mod tests;
