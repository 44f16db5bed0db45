//! The model: a packet as a function of its two ends and its TTL. What the datapath makes of a packet is the same function
//! of other ends; nothing of the product's own code is used for it.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::rc::Rc;

use egress_tests::packet::build::{self, Header};
use egress_tests::packet::{proto, transport};

/// An address and a port; ICMP queries have their identifier there, other protocols 0.
pub(super) type Side = (IpAddr, u16);

/// Where a packet is from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) from: Side,
    pub(super) to: Side,
}

impl Ends {
    /// Those of an answer.
    pub(super) const fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) header: Header,
    l4: Rc<dyn Fn(Ends) -> Vec<u8>>,
    part: Range<usize>,
}

/// Of odd length, because checksums must bear that.
const TEXT: &[u8] = b"a golden packet";
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Shape {
    /// A protocol's packet with this after the IP header.
    pub(super) fn new(name: &str, protocol: u8, l4: impl Fn(Ends) -> Vec<u8> + 'static) -> Self {
        let header = Header::new(NOWHERE, NOWHERE, protocol);
        Self { name: name.to_owned(), header, l4: Rc::new(l4), part: 0..usize::MAX }
    }

    /// The packet.
    pub(super) fn packet(&self, ends: Ends, ttl: u8) -> Vec<u8> {
        let l4 = (self.l4)(ends);
        let part = self.part.start.min(l4.len())..self.part.end.min(l4.len());
        Header { source: ends.from.0, destination: ends.to.0, ttl, ..self.header.clone() }.packet(&l4[part])
    }

    /// With another name.
    pub(super) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// With another IP header.
    pub(super) fn headed(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }

    /// With other bytes behind the IP header.
    pub(super) fn changed(self, change: impl Fn(&mut Vec<u8>) + 'static) -> Self {
        let l4 = Rc::clone(&self.l4);
        let changed = move |ends| {
            let mut bytes = l4(ends);
            change(&mut bytes);
            bytes
        };
        Self { l4: Rc::new(changed), ..self }
    }

    /// With these IPv4 options.
    pub(super) fn options(self, options: &[u8]) -> Self {
        self.headed(|it| it.options = options.to_vec())
    }

    /// With these IPv6 extension headers.
    pub(super) fn extensions(self, chain: &[(u8, Vec<u8>)]) -> Self {
        self.headed(|it| it.extensions = chain.to_vec())
    }

    /// A fragment of it: these bytes behind the IP header.
    pub(super) fn piece(&self, id: u32, bytes: Range<usize>, more: bool) -> Self {
        let name =
            format!("{}, fragment {}..{}{}", self.name, bytes.start, bytes.end, if more { "" } else { ", last" });
        let offset = bytes.start as u16;
        let cut = self.clone().named(&name).headed(|it| {
            (it.fragment, it.id, it.dont_fragment) = (Some((offset, more)), id, false);
        });
        Self { part: bytes, ..cut }
    }

    /// Where in the transport header the sender's port or identifier is.
    pub(super) const fn port_at(&self) -> Option<usize> {
        match self.header.protocol {
            proto::TCP | proto::UDP | proto::UDP_LITE | proto::DCCP | proto::SCTP => Some(0),
            proto::ICMP | proto::ICMPV6 => Some(4),
            _ => None,
        }
    }
}

/// The family's ICMP.
pub(super) const fn icmp_of(ends: Ends) -> u8 {
    if ends.from.0.is_ipv4() { proto::ICMP } else { proto::ICMPV6 }
}

pub(super) fn udp_with(payload: &[u8]) -> Shape {
    let payload = payload.to_vec();
    Shape::new("UDP", proto::UDP, move |it| build::udp(it.from, it.to, &payload))
}

pub(super) fn udp() -> Shape {
    udp_with(TEXT)
}

/// RFC 768: no checksum.
pub(super) fn udp_unsummed() -> Shape {
    udp().named("UDP without checksum").changed(|it| it[6..8].fill(0))
}

pub(super) fn tcp(name: &str, flags: u8, payload: &[u8]) -> Shape {
    let payload = payload.to_vec();
    Shape::new(name, proto::TCP, move |it| build::tcp(it.from, it.to, (0x1000, 0x2000), flags, &payload))
}

pub(super) fn syn() -> Shape {
    tcp("TCP SYN", 2, b"")
}

pub(super) fn data() -> Shape {
    tcp("TCP data", 0x18, TEXT)
}

pub(super) fn udp_lite(coverage: u16) -> Shape {
    let name = format!("UDP-Lite covering {coverage}");
    Shape::new(&name, proto::UDP_LITE, move |it| transport::udp_lite(it.from, it.to, coverage, TEXT))
}

pub(super) fn dccp(kind: u8, coverage: u8) -> Shape {
    let name = format!("DCCP type {kind} covering {coverage}");
    Shape::new(&name, proto::DCCP, move |it| transport::dccp(it.from, it.to, kind, coverage, TEXT))
}

pub(super) fn sctp() -> Shape {
    let chunk = transport::sctp_data(TEXT);
    Shape::new("SCTP", proto::SCTP, move |it| transport::sctp((it.from.1, it.to.1), 0x0102_0304, &chunk))
}

/// An ICMP query (identifier of the sender) or its reply (identifier of the receiver).
pub(super) fn query(kind: u8, reply: bool, payload: &[u8]) -> Shape {
    let payload = payload.to_vec();
    let protocol = if kind >= 128 { proto::ICMPV6 } else { proto::ICMP };
    Shape::new(&format!("ICMP type {kind}"), protocol, move |it| {
        let [high, low] = if reply { it.to.1 } else { it.from.1 }.to_be_bytes();
        build::icmp(it.from.0, it.to.0, kind, 0, [high, low, 0, 7], &payload)
    })
}

/// Echo request and reply of a family.
pub(super) fn echo(v4: bool) -> (Shape, Shape) {
    let (request, reply) = if v4 { (8, 0) } else { (128, 129) };
    (query(request, false, TEXT), query(reply, true, TEXT))
}

/// A protocol of which only addresses are known.
pub(super) fn bare(protocol: u8) -> Shape {
    Shape::new(&format!("protocol {protocol}"), protocol, |_| [&[0, 0, 8, 0][..], TEXT, &[0x5a; 13]].concat())
}
