//! ICMP errors as the model makes them: about a shape, cut somewhere.

use std::net::IpAddr;

use egress_tests::packet::build::{self, Header};
use egress_tests::packet::parse_ip;

use super::shape::{Ends, Shape, icmp_of};

/// An ICMP error about a packet.
#[derive(Clone)]
pub(super) struct Error {
    kind: u8,
    code: u8,
    rest: [u8; 4],
    quoted: Shape,
    /// Bytes of the quoted packet's L4, or all.
    l4: Option<usize>,
    /// Behind the quote: RFC 4884 padding and objects.
    extension: Vec<u8>,
    /// Of the error's own header.
    header: Option<fn(&mut Header)>,
}

/// TTL in quotes.
const QUOTED_TTL: u8 = 1;

impl Error {
    /// About this packet, quoted whole.
    pub(super) fn new(kind: u8, code: u8, quoted: &Shape) -> Self {
        Self { kind, code, rest: [0; 4], quoted: quoted.clone(), l4: None, extension: Vec::new(), header: None }
    }

    /// "Port unreachable" of the family.
    pub(super) fn unreachable(v4: bool, quoted: &Shape) -> Self {
        if v4 { Self::new(3, 3, quoted) } else { Self::new(1, 4, quoted) }
    }

    /// With this in the four bytes behind the checksum: MTU, pointer, gateway.
    pub(super) fn rest(self, rest: [u8; 4]) -> Self {
        Self { rest, ..self }
    }

    /// Quoting no more than so many bytes behind the quoted packet's IP headers.
    pub(super) fn cut(self, l4: usize) -> Self {
        Self { l4: Some(l4), ..self }
    }

    /// With bytes behind the quote.
    pub(super) fn extended(self, extension: &[u8]) -> Self {
        Self { extension: extension.to_vec(), ..self }
    }

    /// With another header of its own.
    pub(super) fn headed(self, change: fn(&mut Header)) -> Self {
        Self { header: Some(change), ..self }
    }

    pub(super) fn name(&self) -> String {
        let cut = self.l4.map_or_else(String::new, |it| format!(", {it} bytes of L4"));
        format!("ICMP {}/{} about {}{cut}", self.kind, self.code, self.quoted.name)
    }

    /// The packet: from and to, and the ends of what it quotes.
    pub(super) fn packet(&self, (from, to): (IpAddr, IpAddr), quoted: Ends, ttl: u8) -> Vec<u8> {
        let mut quote = self.quoted.packet(quoted, QUOTED_TTL);
        if let Some(l4) = self.l4 {
            // Later fragments have no L4 to count from; the parser still says where their bytes begin.
            let offset = parse_ip(&quote).map_or(0, |it| it.l4_offset);
            quote.truncate(offset + l4);
        }
        quote.extend(&self.extension);
        let message = build::icmp(from, to, self.kind, self.code, self.rest, &quote);
        let mut header = Header { ttl, ..Header::new(from, to, icmp_of(quoted)) };
        if let Some(change) = self.header {
            change(&mut header);
        }
        header.packet(&message)
    }
}

/// Every type and code that is assigned: IANA's ICMP and ICMPv6 parameters.
pub(super) fn kinds(v4: bool) -> Vec<(u8, u8)> {
    let ranges: &[(u8, u8)] =
        if v4 { &[(3, 15), (4, 0), (11, 1), (12, 2)] } else { &[(1, 8), (2, 0), (3, 1), (4, 10)] };
    // A code that nobody has assigned goes the same way.
    ranges.iter().flat_map(|&(kind, last)| (0..=last).chain([255]).map(move |code| (kind, code))).collect()
}
