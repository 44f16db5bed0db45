//! The header around what is said, and everything that may be odd about a packet besides.

use std::collections::BTreeSet;
use std::net::IpAddr;

use egress_tests::Family;
use egress_tests::packet::build::Header;
use egress_tests::packet::proto;

use super::program::{Cut, Kind, Link, Side};
use super::random::Random;
use super::rename::carry;
use super::sctp;

/// A packet and how it is sent.
#[derive(Debug, Clone)]
pub(super) struct Shaped {
    pub(super) header: Header,
    pub(super) l4: Vec<u8>,
    pub(super) kinds: BTreeSet<Kind>,
    pub(super) cut: Option<Cut>,
    pub(super) link: Link,
}

/// A multiple of 4 bytes each: nothing, router alert (RFC 2113), security (RFC 1108), one that nobody knows.
const OPTIONS: [&[u8]; 5] = [
    &[1, 1, 1, 1],
    &[148, 4, 0, 0],
    &[1, 148, 4, 0, 0, 1, 1, 0],
    &[130, 11, 0xab, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x9e, 4, 1, 2],
];

/// Hop-by-hop with padding and with router alert, destination options with padding and with one that nobody knows and
/// that may be skipped, and a routing header that has done its work.
const EXTENSIONS: [(u8, &[u8]); 5] = [
    (0, &[0, 0, 1, 4, 0, 0, 0, 0]),
    (0, &[0, 0, 5, 2, 0, 0, 1, 0]),
    (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
    (60, &[0, 1, 0x1e, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 0]),
    (43, &[0, 2, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
];

/// Bytes of the largest fragment: with all headers it fits every link.
const LARGEST: usize = 1120;

impl Shaped {
    /// A plain packet with a random TTL and TOS.
    pub(super) fn new(random: &mut Random, from: IpAddr, to: IpAddr, protocol: u8, l4: Vec<u8>) -> Self {
        let header = Header {
            ttl: random.pick(&[2, 3, 63, 64, 128, 255]),
            // Without a congestion mark: a datagram may not have several.
            tos: random.pick(&[0, 0, 0x10, 0xb8, 0xfc]),
            id: u32::from(random.word()),
            dont_fragment: random.chance(50),
            ..Header::new(from, to, protocol)
        };
        Self { header, l4, kinds: BTreeSet::new(), cut: None, link: Link::Plain }
    }

    /// Makes it odd in none, one or more ways.
    pub(super) fn odd(mut self, random: &mut Random, side: Side) -> Self {
        let family = Family::of(self.header.source);
        let mut may = |percent| random.chance(percent);
        let (zero, wrong) = (may(15), may(8));
        let (options, extensions) = (may(15), may(15));
        // Half a handshake of SCTP is invalid for the kernel.
        let last_hop = may(4) && self.header.protocol != proto::SCTP;
        let (fragments, atomic) = (may(20), may(5));
        let (tag, padding) = (may(5), may(8));
        if zero && self.header.protocol == proto::UDP {
            self.kinds.insert(Kind::ZeroChecksum);
            self.l4[6..8].fill(0);
        } else if wrong {
            self.spoil_checksum();
        }
        if options && family == Family::V4 {
            self.kinds.insert(Kind::Options);
            self.header.options = random.pick(&OPTIONS).to_vec();
        }
        if extensions && family == Family::V6 {
            self.kinds.insert(Kind::Extensions);
            let chosen =
                EXTENSIONS.iter().filter(|_| random.chance(35)).map(|(number, bytes)| (*number, bytes.to_vec()));
            self.header.extensions = chosen.collect();
            // Hop-by-hop options stand first and once.
            let mut first = true;
            self.header.extensions.retain(|it| it.0 != 0 || std::mem::take(&mut first));
        }
        if last_hop {
            self.kinds.insert(Kind::LastHop);
            self.header.ttl = random.pick(&[0, 1]);
        }
        // The kernel would answer about the whole datagram, our gateway about its first fragment.
        if fragments && self.header.protocol != proto::SCTP && !last_hop {
            self.cut_up(random);
        } else if atomic && family == Family::V6 && !last_hop && self.header.protocol != proto::SCTP {
            self.kinds.insert(Kind::Atomic);
            self.cut =
                Some(Cut { id: random.next() as u32, sizes: Vec::new(), order: vec![0], early: random.chance(50) });
        }
        if tag {
            self.kinds.insert(Kind::PriorityTag);
            self.link = Link::PriorityTag;
        } else if padding && side == Side::Inside {
            self.kinds.insert(Kind::Padding);
            self.link = Link::Padding(random.between(1, 20));
        }
        self
    }

    fn spoil_checksum(&mut self) {
        let (at, protocol) = match self.header.protocol {
            proto::TCP => (16, proto::TCP),
            it @ (proto::UDP | proto::UDP_LITE) => (6, it),
            it @ (proto::ICMP | proto::ICMPV6) => (2, it),
            proto::SCTP => {
                self.kinds.insert(Kind::WrongChecksum);
                return sctp::xor_checksum(&mut self.l4, 0x1234_5678);
            }
            _ => return,
        };
        self.kinds.insert(Kind::WrongChecksum);
        carry(&mut self.l4, at, protocol, 0, 0x1234);
    }

    /// Into pieces, of which the first has the whole L4 header.
    fn cut_up(&mut self, random: &mut Random) {
        let mut left = self.l4.len();
        let mut sizes = Vec::new();
        // The first one has all headers (RFC 7112); that of TCP has 32 bytes here, or 40.
        let early = random.chance(30);
        let mut least = 5 + if early { self.header.extensions.iter().map(|it| it.1.len() / 8).sum() } else { 0 };
        while sizes.len() < 6 && left >= (least + 1) * 8 {
            let size = random.between(least, ((left - 1) / 8).min(LARGEST / 8)) * 8;
            sizes.push(size);
            left -= size;
            least = 1;
        }
        if sizes.is_empty() || left > LARGEST {
            return;
        }
        let mut order: Vec<usize> = (0..=sizes.len()).collect();
        match random.below(10) {
            0..2 => order.reverse(),
            2..4 => (1..order.len()).rev().for_each(|at| order.swap(at, random.below(at + 1))),
            _ => {}
        }
        self.kinds.insert(Kind::Fragments);
        self.header.dont_fragment = false;
        self.cut = Some(Cut { id: random.next() as u32, sizes, order, early });
    }
}
