//! Frames as they are on the wire: read, checked and made. Written apart from the product's own parser, so that one
//! mistake is not made twice.

pub mod build;
pub mod checksum;
mod fragment;
mod parse;
#[cfg(test)]
mod tests;
pub mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Family;

pub use self::fragment::fragments;
pub(crate) use self::parse::behind_tags;
pub use self::parse::{parse_ethernet, parse_ip};

/// EtherType of IPv4.
pub const ETH_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETH_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETH_IPV6: u16 = 0x86dd;

/// Protocol numbers that the lab knows.
pub mod proto {
    /// ICMP
    pub const ICMP: u8 = 1;
    /// TCP
    pub const TCP: u8 = 6;
    /// UDP
    pub const UDP: u8 = 17;
    /// IPv6 fragment header
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6
    pub const ICMPV6: u8 = 58;
    /// DCCP
    pub const DCCP: u8 = 33;
    /// GRE
    pub const GRE: u8 = 47;
    /// ESP
    pub const ESP: u8 = 50;
    /// SCTP
    pub const SCTP: u8 = 132;
    /// UDP-Lite
    pub const UDP_LITE: u8 = 136;
}

/// A parsed Ethernet frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Destination MAC.
    pub to: [u8; 6],
    /// Source MAC.
    pub from: [u8; 6],
    /// EtherType, behind a VLAN tag's place.
    pub ethertype: u16,
    /// What it carries.
    pub payload: Payload,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// An IP packet.
    Ip(Ip),
    /// ARP for IPv4 over Ethernet.
    Arp {
        /// 1 request, 2 reply.
        operation: u16,
        /// Sender protocol address.
        sender: Ipv4Addr,
        /// Target protocol address.
        target: Ipv4Addr,
    },
    /// Anything else, or cut short.
    Other,
}

/// An IP packet; offsets count from its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// The protocol behind options and extension headers.
    pub protocol: u8,
    /// Where that protocol's header begins.
    pub l4_offset: usize,
    /// The packet's length as its header says.
    pub length: usize,
    /// IPv4: Don't Fragment.
    pub dont_fragment: bool,
    /// Set if it is a fragment.
    pub fragment: Option<Fragment>,
    /// The transport header; `None` in fragments other than the first.
    pub transport: Option<Transport>,
    /// The packet that an ICMP error quotes.
    pub quoted: Option<Box<Self>>,
}

/// Where a fragment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Identification.
    pub id: u32,
    /// Offset in bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

/// A transport header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Flags, as in byte 13 of the header.
        flags: u8,
        /// Sequence number.
        sequence: u32,
    },
    /// UDP
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP or ICMPv6, by the packet's protocol.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier of an echo message.
        id: u16,
        /// Sequence number of an echo message; the next hop's MTU of an IPv4 "fragmentation needed".
        sequence: u16,
    },
    /// Another protocol, or cut short.
    Other,
}

impl Ip {
    /// The packet's version.
    pub const fn family(&self) -> Family {
        Family::of(self.source)
    }

    /// Source and destination port; an ICMP echo's identifier in both.
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match &self.transport {
            Some(Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination }) => {
                Some((*source, *destination))
            }
            Some(Transport::Icmp { id, .. }) => Some((*id, *id)),
            _ => None,
        }
    }

    /// Whether it is an ICMP or ICMPv6 message of this type.
    pub fn is_icmp(&self, kind: u8) -> bool {
        matches!(&self.transport, Some(Transport::Icmp { kind: it, .. }) if *it == kind)
    }
}

impl Frame {
    /// The IP packet in it.
    pub const fn ip(&self) -> Option<&Ip> {
        match &self.payload {
            Payload::Ip(ip) => Some(ip),
            _ => None,
        }
    }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn v4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    be32(bytes, at).map(Ipv4Addr::from)
}

pub(crate) fn v6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(octets.into())
}
