//! Header layouts as they are read: aligned as a whole, so that the compiler may load words. Fields are in network order.

use network_types::{eth::EtherType, ip::IpProto};

use super::Plain;
use crate::abi::family::Addr6;

/// Length of an Ethernet header without tags.
pub const ETHERNET: u32 = 14;
/// Offset of the EtherType.
pub const ETHERTYPE_AT: u32 = 12;
/// EtherType of IPv4, as a native number read from the wire.
pub const IPV4: u16 = EtherType::Ipv4 as u16;
/// EtherType of IPv6, likewise.
pub const IPV6: u16 = EtherType::Ipv6 as u16;

/// IANA protocol numbers.
pub mod proto {
    use super::IpProto;

    /// ICMP.
    pub const ICMP: u8 = IpProto::Icmp as u8;
    /// TCP.
    pub const TCP: u8 = IpProto::Tcp as u8;
    /// UDP.
    pub const UDP: u8 = IpProto::Udp as u8;
    /// ICMPv6.
    pub const ICMPV6: u8 = IpProto::Ipv6Icmp as u8;
    /// DCCP (RFC 4340).
    pub const DCCP: u8 = IpProto::Dccp as u8;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: u8 = 136;
    /// Authentication header (RFC 4302).
    pub const AH: u8 = 51;
    /// IPv6: nothing follows (RFC 8200 §4.7).
    pub const NO_NEXT: u8 = 59;
    /// OSPF (RFC 5340: over IPv6 its checksum covers the addresses).
    pub const OSPF: u8 = 89;
    /// PIM (RFC 7761 §4.9: likewise over IPv6).
    pub const PIM: u8 = 103;
    /// VRRP (RFC 9568 §5.2.8).
    pub const VRRP: u8 = 112;
    /// IPv6 mobility header (RFC 6275 §6.1.1).
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol (RFC 7401 §5.1.1).
    pub const HIP: u8 = 139;
    /// Shim6 (RFC 5533 §5.1).
    pub const SHIM6: u8 = 140;
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
    /// IPv6 routing header.
    pub const ROUTING: u8 = IpProto::Ipv6Route as u8;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = IpProto::Ipv6Opts as u8;
}

/// IPv4 header without options (RFC 791 §3.1).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Ipv4 {
    /// Version and header length in words.
    pub version_ihl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes from the IP header on.
    pub total_len: [u8; 2],
    /// Identification.
    pub id: [u8; 2],
    /// Flags and fragment offset.
    pub frag: [u8; 2],
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub proto: u8,
    /// Header checksum.
    pub csum: [u8; 2],
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
}

/// IPv6 header (RFC 8200 §3).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Ipv6 {
    /// Version, traffic class, flow label.
    pub version: [u8; 4],
    /// Bytes after this header.
    pub payload_len: [u8; 2],
    /// Type of the next header.
    pub next: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: Addr6,
    /// Destination.
    pub dst: Addr6,
}

/// TCP header without options (RFC 9293 §3.1).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// Source port.
    pub sport: [u8; 2],
    /// Destination port.
    pub dport: [u8; 2],
    /// Sequence number.
    pub seq: [u8; 4],
    /// Acknowledgement number.
    pub ack: [u8; 4],
    /// Header length in words, high four bits.
    pub offset: u8,
    /// CWR ECE URG ACK PSH RST SYN FIN.
    pub flags: u8,
    /// Window.
    pub window: [u8; 2],
    /// Checksum.
    pub csum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// UDP header (RFC 768) and ICMP header (RFC 792, RFC 4443): eight bytes that differ in meaning only.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct Short {
    /// UDP source port; ICMP type and code.
    pub first: [u8; 2],
    /// UDP destination port; ICMP checksum.
    pub second: [u8; 2],
    /// UDP length; ICMP echo identifier.
    pub third: [u8; 2],
    /// UDP checksum; ICMP echo sequence number.
    pub fourth: [u8; 2],
}

// SAFETY: byte fields only, sizes below are the sums of the fields.
unsafe impl Plain for Ipv4 {}
// SAFETY: as above.
unsafe impl Plain for Ipv6 {}
// SAFETY: as above.
unsafe impl Plain for Tcp {}
// SAFETY: as above.
unsafe impl Plain for Short {}

const _: () = {
    assert!(size_of::<Ipv4>() == 20);
    assert!(size_of::<Ipv6>() == 40);
    assert!(size_of::<Tcp>() == 20);
    assert!(size_of::<Short>() == 8);
};
