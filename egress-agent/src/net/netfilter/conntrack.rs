//! Tracked connections.

use std::{io, net::IpAddr};

use nix::libc::{AF_INET, AF_INET6, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};

use super::{
    Error, Netfilter,
    wire::{Messages, attributes, find, number},
};

/// Subsystem and messages.
const NEW: u16 = 0x100;
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;

/// Attributes, as in linux/netfilter/nfnetlink_conntrack.h.
mod cta {
    pub(super) const TUPLE_ORIG: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const STATUS: u16 = 3;
    pub(super) const PROTOINFO: u16 = 4;
    pub(super) const NAT_SRC: u16 = 6;
    pub(super) const TIMEOUT: u16 = 7;
    pub(super) const COUNTERS_ORIG: u16 = 9;
    pub(super) const COUNTERS_REPLY: u16 = 10;
    pub(super) const ZONE: u16 = 18;
    pub(super) const TUPLE_IP: u16 = 1;
    pub(super) const TUPLE_PROTO: u16 = 2;
    pub(super) const PROTO_NUM: u16 = 1;
    pub(super) const PROTO_SRC_PORT: u16 = 2;
    pub(super) const PROTO_DST_PORT: u16 = 3;
    /// Identifier, type and code of ICMP; of ICMPv6 three further on.
    pub(super) const PROTO_ICMP: u16 = 4;
    pub(super) const PROTO_ICMPV6: u16 = 7;
    pub(super) const PROTOINFO_TCP: u16 = 1;
    pub(super) const TCP_STATE: u16 = 1;
    pub(super) const TCP_FLAGS_ORIGINAL: u16 = 4;
    pub(super) const TCP_FLAGS_REPLY: u16 = 5;
    pub(super) const COUNTERS_PACKETS: u16 = 1;
    pub(super) const COUNTERS_BYTES: u16 = 2;
    pub(super) const NAT_PROTO: u16 = 3;
    pub(super) const NAT_PORT_MIN: u16 = 1;
    pub(super) const NAT_PORT_MAX: u16 = 2;
}

/// Bits of [`Tracked::status`].
pub mod status {
    /// The other side was heard.
    pub const SEEN_REPLY: u32 = 2;
    /// Not the first to be forgotten.
    pub const ASSURED: u32 = 4;
    /// In the table.
    pub const CONFIRMED: u32 = 8;
}

/// States of TCP.
pub mod tcp {
    /// The first SYN.
    pub const SYN_SENT: u8 = 1;
    /// Its answer.
    pub const SYN_RECV: u8 = 2;
    /// Both sides were heard.
    pub const ESTABLISHED: u8 = 3;
    /// One side sent FIN.
    pub const FIN_WAIT: u8 = 4;
    /// It was acknowledged.
    pub const CLOSE_WAIT: u8 = 5;
    /// Both sides sent FIN.
    pub const LAST_ACK: u8 = 6;
    /// It is over.
    pub const TIME_WAIT: u8 = 7;
    /// One side sent RST.
    pub const CLOSE: u8 = 8;
    /// SYN from both sides.
    pub const SYN_SENT2: u8 = 9;
    /// Flag: windows are not looked at.
    const BE_LIBERAL: u8 = 8;

    pub(super) const LIBERAL: [u8; 2] = [BE_LIBERAL, BE_LIBERAL];
}

/// What one direction's packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// IANA protocol number.
    pub proto: u8,
    /// Source port, or the identifier of an ICMP query.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Type of an ICMP query.
    pub icmp: u8,
}

/// A tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Of who opened it.
    pub orig: Tuple,
    /// Of the answers, as they arrive.
    pub reply: Tuple,
    /// Bits of [`status`].
    pub status: u32,
    /// Seconds that are left.
    pub timeout: u32,
    /// One of [`tcp`], if it is TCP.
    pub tcp: Option<u8>,
    /// Packets to and fro, where the kernel counts.
    pub packets: [u64; 2],
    /// Bytes to and fro.
    pub bytes: [u64; 2],
}

impl Netfilter {
    /// All connections of both families in the default zone.
    ///
    /// # Errors
    /// The kernel refuses the dump.
    pub fn tracked(&self) -> Result<Vec<Tracked>, Error> {
        let mut messages = Messages::default();
        messages.begin(GET, NLM_F_DUMP, 0, 0);
        let mut found = Vec::new();
        let listed = self.talk(messages, |_, body| found.extend(parse(body)));
        listed.map_err(|e| Error::new("listing tracked connections", e))?;
        Ok(found)
    }

    /// Makes a connection; its source becomes the destination of `reply`.
    ///
    /// # Errors
    /// The kernel refuses it: `EEXIST` if one of its tuples belongs to another connection.
    pub fn track(&self, connection: &Tracked) -> io::Result<()> {
        let mut messages = Messages::default();
        messages.begin(NEW, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, connection.orig.family(), 0);
        create(&mut messages, connection);
        self.talk(messages, |_, _| {})
    }

    /// Forgets a connection.
    ///
    /// # Errors
    /// The kernel refuses it: `ENOENT` if there is none.
    pub fn forget(&self, connection: &Tracked) -> io::Result<()> {
        let mut messages = Messages::default();
        messages.begin(DELETE, NLM_F_ACK, connection.orig.family(), 0);
        tuple(&mut messages, cta::TUPLE_ORIG, &connection.orig);
        self.talk(messages, |_, _| {})
    }
}

impl Tuple {
    fn family(&self) -> u8 {
        u8::try_from(if self.src.is_ipv4() { AF_INET } else { AF_INET6 }).unwrap_or(0)
    }
}

fn create(message: &mut Messages, connection: &Tracked) {
    let Tracked { orig, reply, .. } = connection;
    tuple(message, cta::TUPLE_ORIG, orig);
    // As it would be without translation: the kernel works out what it becomes.
    tuple(
        message,
        cta::TUPLE_REPLY,
        &Tuple { src: orig.dst, dst: orig.src, sport: orig.dport, dport: orig.sport, ..*reply },
    );
    message.put(cta::STATUS, &connection.status.to_be_bytes());
    message.put(cta::TIMEOUT, &connection.timeout.to_be_bytes());
    let (low, high) = if reply.dst.is_ipv4() { (1, 2) } else { (4, 5) };
    let ports = !is_bare(orig.proto);
    message.nest(cta::NAT_SRC, |nat| {
        address(nat, low, reply.dst);
        address(nat, high, reply.dst);
        if ports {
            nat.nest(cta::NAT_PROTO, |range| {
                range.put(cta::NAT_PORT_MIN, &reply.dport.to_be_bytes());
                range.put(cta::NAT_PORT_MAX, &reply.dport.to_be_bytes());
            });
        }
    });
    if let Some(state) = connection.tcp {
        message.nest(cta::PROTOINFO, |info| {
            info.nest(cta::PROTOINFO_TCP, |it| {
                it.put(cta::TCP_STATE, &[state]);
                it.put(cta::TCP_FLAGS_ORIGINAL, &tcp::LIBERAL);
                it.put(cta::TCP_FLAGS_REPLY, &tcp::LIBERAL);
            });
        });
    }
}

fn address(message: &mut Messages, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => message.put(kind, &address.octets()),
        IpAddr::V6(address) => message.put(kind, &address.octets()),
    };
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Protocols whose connections the kernel tells apart by addresses alone.
const fn is_bare(proto: u8) -> bool {
    !matches!(proto, ICMP | ICMPV6 | 6 | 17 | 33 | 47 | 132 | 136)
}

fn tuple(message: &mut Messages, kind: u16, tuple: &Tuple) {
    message.nest(kind, |it| {
        let first = if tuple.src.is_ipv4() { 1 } else { 3 };
        it.nest(cta::TUPLE_IP, |ip| {
            address(ip, first, tuple.src);
            address(ip, first + 1, tuple.dst);
        });
        it.nest(cta::TUPLE_PROTO, |proto| {
            proto.put(cta::PROTO_NUM, &[tuple.proto]);
            match tuple.proto {
                ICMP | ICMPV6 => {
                    let first = if tuple.proto == ICMP { cta::PROTO_ICMP } else { cta::PROTO_ICMPV6 };
                    // The answer's tuple has the identifier where a port to go to stands.
                    let id = if kind == cta::TUPLE_ORIG { tuple.sport } else { tuple.dport };
                    let icmp = if kind == cta::TUPLE_ORIG { tuple.icmp } else { answer(tuple.icmp) };
                    proto.put(first, &id.to_be_bytes()).put(first + 1, &[icmp]).put(first + 2, &[0]);
                }
                other if is_bare(other) => {}
                _ => {
                    proto.put(cta::PROTO_SRC_PORT, &tuple.sport.to_be_bytes());
                    proto.put(cta::PROTO_DST_PORT, &tuple.dport.to_be_bytes());
                }
            }
        });
    });
}

/// Type of the answer to an ICMP query.
const fn answer(query: u8) -> u8 {
    match query {
        8 => 0,
        other => other + 1,
    }
}

fn parse(body: &[u8]) -> Option<Tracked> {
    if find(body, cta::ZONE).is_some_and(|zone| number(zone) != 0) {
        return None;
    }
    let (orig, reply) = (parse_tuple(find(body, cta::TUPLE_ORIG)?)?, parse_tuple(find(body, cta::TUPLE_REPLY)?)?);
    let word = |kind| find(body, kind).and_then(|value| u32::try_from(number(value)).ok()).unwrap_or_default();
    let count = |side, kind| find(body, side).and_then(|counters| find(counters, kind)).map_or(0, number);
    let counts = |kind| [count(cta::COUNTERS_ORIG, kind), count(cta::COUNTERS_REPLY, kind)];
    let tcp = find(body, cta::PROTOINFO).and_then(|info| find(find(info, cta::PROTOINFO_TCP)?, cta::TCP_STATE));
    Some(Tracked {
        orig,
        // The identifier of an answer is the one that it goes to.
        reply: if is_icmp(reply.proto) { Tuple { dport: reply.sport, sport: 0, ..reply } } else { reply },
        status: word(cta::STATUS),
        timeout: word(cta::TIMEOUT),
        tcp: tcp.and_then(|state| state.first().copied()),
        packets: counts(cta::COUNTERS_PACKETS),
        bytes: counts(cta::COUNTERS_BYTES),
    })
}

const fn is_icmp(proto: u8) -> bool {
    matches!(proto, ICMP | ICMPV6)
}

fn parse_tuple(bytes: &[u8]) -> Option<Tuple> {
    let ip = |value: &[u8]| -> Option<IpAddr> {
        <[u8; 4]>::try_from(value).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
    };
    let mut addresses = attributes(find(bytes, cta::TUPLE_IP)?).filter_map(|(_, value)| ip(value));
    let (src, dst) = (addresses.next()?, addresses.next()?);
    let protocol = find(bytes, cta::TUPLE_PROTO)?;
    let proto = *find(protocol, cta::PROTO_NUM)?.first()?;
    let short = |kind| find(protocol, kind).and_then(|value| u16::try_from(number(value)).ok());
    let icmp = if proto == ICMP { cta::PROTO_ICMP } else { cta::PROTO_ICMPV6 };
    Some(Tuple {
        src,
        dst,
        proto,
        sport: short(cta::PROTO_SRC_PORT).or_else(|| short(icmp)).unwrap_or_default(),
        dport: short(cta::PROTO_DST_PORT).unwrap_or_default(),
        icmp: find(protocol, icmp + 1).and_then(|value| value.first().copied()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(proto: u8, ports: (u16, u16), icmp: (u8, u8)) -> Tracked {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let orig =
            Tuple { src: ip("10.17.0.9"), dst: ip("1.1.1.1"), proto, sport: ports.0, dport: ports.1, icmp: icmp.0 };
        let reply =
            Tuple { src: orig.dst, dst: ip("172.17.0.11"), sport: ports.1, dport: ports.0 + 1, icmp: icmp.1, ..orig };
        let (packets, bytes) = ([0; 2], [0; 2]);
        Tracked { orig, reply, status: 14, timeout: 77, tcp: (proto == 6).then_some(3), packets, bytes }
    }

    /// What is sent says the same as what is read, but for the translation, which is in an attribute of its own.
    #[test]
    fn tuples_and_state() {
        for it in [connection(6, (4000, 443), (0, 0)), connection(1, (99, 0), (8, 8)), connection(50, (0, 0), (0, 0))] {
            let mut message = Messages::default();
            message.begin(NEW, 0, 2, 0);
            create(&mut message, &it);
            let bytes = message.finish(1);
            let body = &bytes[20..];
            let read = parse(body).unwrap();
            assert_eq!((read.orig, read.status, read.timeout, read.tcp), (it.orig, 14, 77, it.tcp));
            assert_eq!((read.reply.src, read.reply.dst), (it.orig.dst, it.orig.src));
            assert_eq!(read.reply.dport, it.orig.sport);
            let nat = find(body, cta::NAT_SRC).unwrap();
            assert_eq!(find(nat, 1), Some([172, 17, 0, 11].as_slice()));
            let port = find(nat, cta::NAT_PROTO).and_then(|range| find(range, cta::NAT_PORT_MIN)).map(number);
            assert_eq!(port, (it.orig.proto != 50).then_some(u64::from(it.reply.dport)));
        }
    }
}
