//! What came out of a gateway, in a form in which two gateways can be compared.

use std::fmt;

use egress_tests::capture::Captured;
use egress_tests::packet::checksum::{Verdict, check, sum};
use egress_tests::packet::transport::sctp_checksum;
use egress_tests::packet::{Fragment, parse_ip, proto};

use super::fragments::Whole;
use super::program::{Side, hex};
use super::rename::{carry, is_error, word};
use super::sctp;

/// One packet that the gateway sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) side: Side,
    /// Destination and source MAC.
    pub(super) macs: ([u8; 6], [u8; 6]),
    /// Outside: the egress endpoint was the flow's, and the Pod's was put in its place.
    pub(super) named: bool,
    /// Whether it came in fragments.
    pub(super) fragmented: bool,
    /// The identification of the fragments.
    pub(super) id: Option<u32>,
    /// Header and transport checksum, before the Pod's endpoint was put in place.
    pub(super) checksums: (Sum, Sum),
    /// The packet up to its length, in the Pod's terms; SCTP checksums are not in it.
    pub(super) packet: Vec<u8>,
}

/// How a checksum is, whatever it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    Right,
    Wrong,
    Absent,
    Unknown,
}

impl From<Verdict> for Sum {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Right => Self::Right,
            Verdict::Unfinished | Verdict::Wrong { .. } => Self::Wrong,
            Verdict::Absent => Self::Absent,
            Verdict::Unknown => Self::Unknown,
        }
    }
}

/// The checksums as they are on the wire.
fn checksums(packet: &[u8]) -> (Sum, Sum) {
    let Some(ip) = parse_ip(packet) else { return (Sum::Unknown, Sum::Unknown) };
    let verdicts = check(&ip, packet, false);
    let l4 = packet.get(ip.l4_offset..ip.length).unwrap_or_default();
    let transport = match (ip.protocol, &ip.fragment, l4.get(6..8)) {
        (proto::SCTP, None, _) if sctp_checksum(l4) == sctp::found(l4) => Sum::Right,
        (proto::SCTP, None, _) => Sum::Wrong,
        (proto::UDP, None, Some([0, 0])) => Sum::Absent,
        _ => verdicts.transport.into(),
    };
    (verdicts.header.into(), transport)
}

/// Zero in the place of an SCTP checksum: how it is was noted. A quote is cut, so nobody can tell what its own should be;
/// the kernel writes what would be right if it were not.
pub(super) fn forget_crc(packet: &mut [u8]) {
    let Some(ip) = parse_ip(packet) else { return };
    if ip.protocol == proto::SCTP && matches!(ip.fragment, None | Some(Fragment { offset: 0, .. })) {
        if let Some(crc) = packet.get_mut(ip.l4_offset + 8..ip.l4_offset + 12) {
            crc.fill(0);
        }
    } else if let Some(quoted) = ip.quoted.as_ref().filter(|it| it.protocol == proto::SCTP) {
        let at = ip.l4_offset + 8 + quoted.l4_offset + 8;
        let Some(crc) = packet.get_mut(at..at + 4) else { return };
        let old = sum(crc);
        crc.fill(0);
        carry(packet, ip.l4_offset + 2, ip.protocol, old, 0);
    }
}

impl Seen {
    /// Of a captured frame and its packet; `rename` puts the Pod's endpoint in place and says whether it was the flow's.
    /// An ICMP error that is the gateway's own `answer` has an identification of its choice.
    pub(super) fn of(
        (frame, whole): (Captured, Whole),
        side: Side,
        answer: bool,
        rename: impl Fn(&mut [u8]) -> bool,
    ) -> Option<Self> {
        let ethernet = frame.frame.as_ref()?;
        let mut packet = whole.packet;
        let checksums = checksums(&packet);
        let named = rename(&mut packet);
        let ip = parse_ip(&packet)?;
        if answer && ip.source.is_ipv4() && is_error(&ip) {
            let old = word(&packet, 4)?;
            packet[4..6].fill(0);
            carry(&mut packet, 10, 0, old, 0);
        }
        forget_crc(&mut packet);
        Some(Self {
            side,
            macs: (ethernet.to, ethernet.from),
            named,
            fragmented: whole.id.is_some(),
            id: whole.id.or_else(|| ip.fragment.map(|it| it.id)),
            checksums,
            packet,
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, named, fragmented, id, checksums, packet, macs } = self;
        write!(f, "{side:?} to {} ", hex(&macs.0))?;
        match parse_ip(packet) {
            Some(ip) => write!(
                f,
                "{} > {} {} ttl {} tos {:x} length {} {:?}",
                ip.source, ip.destination, ip.protocol, ip.ttl, ip.tos, ip.length, ip.transport
            )?,
            None => f.write_str("no IP")?,
        }
        write!(f, " named {named} fragmented {fragmented} id {id:?} checksums {checksums:?}\n      {}", hex(packet))
    }
}
