//! The order in which ports are tried for a new flow.

use crate::{
    abi::{
        config::{Config, flags},
        family::Address,
        flow::FlowKey,
    },
    ecmp::hash::Hasher,
    packet::header::proto,
};

/// Ports tried per egress address: at 90 % use 0.9^64 = 0.1 % find none.
pub const TRIES: u32 = 64;

/// Lowest and highest port (or ICMP identifier) for new flows of a protocol.
#[inline(always)]
#[must_use]
pub const fn range(config: &Config, protocol: u8) -> (u32, u32) {
    match protocol {
        proto::ICMP | proto::ICMPV6 => (0, config.icmp_max as u32),
        _ if has_ports(protocol) => (config.port_min as u32, config.port_max as u32),
        // No ports: the address alone is claimed.
        _ => (0, 0),
    }
}

/// Whether a flow of this protocol takes a port or an identifier.
#[inline(always)]
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        proto::TCP | proto::UDP | proto::UDP_LITE | proto::DCCP | proto::SCTP | proto::ICMP | proto::ICMPV6
    )
}

/// A keyed random start and step through the range (RFC 6056 §3.3.4, double hashing). Steps are so short that all candidates
/// lie within one round: none comes twice unless the range has fewer ports than are tried.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    min: u32,
    span: u32,
    start: u32,
    step: u32,
    keep: u32,
}

/// Marks that no port is preferred.
const NONE: u32 = u32::MAX;

impl Ports {
    /// The sequence for the flow with this outbound key. `now` (its low 24 bits) is in the hash, so that a retry a second later
    /// tries others.
    #[inline(always)]
    pub fn new<A: Address>(config: &Config, key: &FlowKey<A>, now: u32) -> Self {
        let ports = u64::from(key.sport) | u64::from(key.dport) << 16 | u64::from(key.proto) << 32;
        let hasher = Hasher::<1, 3>::new(&config.port_key).addresses(&key.saddr, &key.daddr);
        let hash = hasher.word(ports | u64::from(now) << 40).finish();
        let (min, max) = range(config, key.proto);
        let span = max.saturating_sub(min) + 1;
        let longest = if span < TRIES { 1 } else { span / TRIES };
        let sport = u32::from(key.sport);
        // SCTP: what keeps its port needs no new CRC, and its fragments can be translated.
        let wanted = config.flags & flags::PRESERVE_PORT != 0 || key.proto == proto::SCTP;
        let keep = wanted && sport >= min && sport <= max;
        #[expect(clippy::cast_possible_truncation, reason = "two halves of the hash")]
        let (low, high) = (hash as u32, (hash >> 32) as u32);
        let keep = if keep { sport } else { NONE };
        Self { min, span, start: scaled(low, span), step: 1 + scaled(high, longest), keep }
    }

    /// How many candidates are worth a try.
    #[inline(always)]
    #[must_use]
    pub const fn count(&self) -> u32 {
        if self.span < TRIES { self.span } else { TRIES }
    }

    /// The `i`-th candidate.
    #[inline(always)]
    #[must_use]
    pub const fn nth(&self, i: u32) -> u16 {
        let port = match i {
            0 if self.keep != NONE => self.keep,
            // Most flows get the first, which needs no division.
            0 => self.min + self.start,
            _ => self.min + self.start.wrapping_add(i.wrapping_mul(self.step)) % self.span,
        };
        #[expect(clippy::cast_possible_truncation, reason = "min + span is at most 65536")]
        let port = port as u16;
        port
    }
}

/// A number below `room`, as evenly spread as the hash (Lemire 2019).
#[inline(always)]
const fn scaled(hash: u32, room: u32) -> u32 {
    ((hash as u64 * room as u64) >> 32) as u32
}

#[cfg(test)]
mod tests;
