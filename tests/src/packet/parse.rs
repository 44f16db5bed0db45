//! From bytes to [`Frame`] and [`Ip`].

use std::net::IpAddr;

use super::{ETH_ARP, ETH_IPV4, ETH_IPV6, Fragment, Frame, Ip, Payload, Transport, be16, be32, proto, v4_at, v6_at};

const VLAN_TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Reads an Ethernet frame; `None` if it has no whole Ethernet header.
pub fn parse_ethernet(bytes: &[u8]) -> Option<Frame> {
    let (ethertype, offset) = behind_tags(bytes)?;
    let packet = bytes.get(offset..)?;
    let payload = match ethertype {
        ETH_IPV4 | ETH_IPV6 => parse_ip(packet).map(Payload::Ip),
        ETH_ARP => parse_arp(packet),
        _ => None,
    };
    let to = bytes.get(..6)?.try_into().ok()?;
    let from = bytes.get(6..12)?.try_into().ok()?;
    Some(Frame { to, from, ethertype, payload: payload.unwrap_or(Payload::Other) })
}

/// The EtherType behind all VLAN tags, and where that which it names begins.
pub(crate) fn behind_tags(bytes: &[u8]) -> Option<(u16, usize)> {
    let (mut ethertype, mut offset) = (be16(bytes, 12)?, 14);
    while VLAN_TAGS.contains(&ethertype) {
        ethertype = be16(bytes, offset + 2)?;
        offset += 4;
    }
    Some((ethertype, offset))
}

/// Reads an IP packet, whole or cut short as in an ICMP error's quote; `None` if the IP header is not whole.
pub fn parse_ip(packet: &[u8]) -> Option<Ip> {
    match packet.first()? >> 4 {
        4 => parse_v4(packet),
        6 => parse_v6(packet),
        _ => None,
    }
}

fn parse_arp(packet: &[u8]) -> Option<Payload> {
    let (sender, target) = (v4_at(packet, 14)?, v4_at(packet, 24)?);
    Some(Payload::Arp { operation: be16(packet, 6)?, sender, target })
}

fn parse_v4(packet: &[u8]) -> Option<Ip> {
    let l4_offset = usize::from(packet[0] & 0xf) * 4;
    let flags = be16(packet, 6)?;
    let (more, offset) = (flags & 0x2000 != 0, (flags & 0x1fff) * 8);
    let ip = Ip {
        source: IpAddr::V4(v4_at(packet, 12)?),
        destination: IpAddr::V4(v4_at(packet, 16)?),
        ttl: packet[8],
        tos: packet[1],
        protocol: packet[9],
        l4_offset,
        length: usize::from(be16(packet, 2)?),
        dont_fragment: flags & 0x4000 != 0,
        fragment: (more || offset != 0).then_some(Fragment { id: u32::from(be16(packet, 4)?), offset, more }),
        transport: None,
        quoted: None,
    };
    Some(with_transport(ip, packet))
}

fn parse_v6(packet: &[u8]) -> Option<Ip> {
    let mut ip = Ip {
        source: IpAddr::V6(v6_at(packet, 8)?),
        destination: IpAddr::V6(v6_at(packet, 24)?),
        ttl: packet[7],
        tos: (be16(packet, 0)? >> 4) as u8,
        protocol: packet[6],
        l4_offset: 40,
        length: usize::from(be16(packet, 4)?) + 40,
        dont_fragment: true,
        fragment: None,
        transport: None,
        quoted: None,
    };
    // Hop-by-hop, routing and destination options count their length in units of 8 bytes behind the first (RFC 8200 §4).
    while let (Some(&next), Some(&units)) = (packet.get(ip.l4_offset), packet.get(ip.l4_offset + 1)) {
        match ip.protocol {
            0 | 43 | 60 => ip.l4_offset += (usize::from(units) + 1) * 8,
            proto::FRAGMENT => {
                let Some(field) = be16(packet, ip.l4_offset + 2) else { break };
                let id = be32(packet, ip.l4_offset + 4).unwrap_or_default();
                ip.fragment = Some(Fragment { id, offset: field & 0xfff8, more: field & 1 != 0 });
                ip.l4_offset += 8;
            }
            _ => break,
        }
        ip.protocol = next;
        if ip.fragment.is_some_and(|it| it.offset != 0) {
            break;
        }
    }
    Some(with_transport(ip, packet))
}

fn with_transport(mut ip: Ip, packet: &[u8]) -> Ip {
    if ip.fragment.is_some_and(|it| it.offset != 0) {
        return ip;
    }
    let l4 = packet.get(ip.l4_offset..).unwrap_or_default();
    let transport = match ip.protocol {
        proto::TCP => parse_tcp(l4),
        proto::UDP => be16(l4, 0).zip(be16(l4, 2)).map(|(source, destination)| Transport::Udp { source, destination }),
        proto::ICMP | proto::ICMPV6 => parse_icmp(l4),
        _ => None,
    };
    if let Some(Transport::Icmp { kind, .. }) = transport
        && is_error(ip.protocol, kind)
    {
        ip.quoted = l4.get(8..).and_then(parse_ip).map(Box::new);
    }
    ip.transport = Some(transport.unwrap_or(Transport::Other));
    ip
}

/// Quoted packets may end behind the ports (RFC 792: eight bytes), so flags may be missing.
fn parse_tcp(l4: &[u8]) -> Option<Transport> {
    let flags = l4.get(13).copied().unwrap_or_default();
    Some(Transport::Tcp { source: be16(l4, 0)?, destination: be16(l4, 2)?, flags, sequence: be32(l4, 4)? })
}

fn parse_icmp(l4: &[u8]) -> Option<Transport> {
    Some(Transport::Icmp { kind: *l4.first()?, code: *l4.get(1)?, id: be16(l4, 4)?, sequence: be16(l4, 6)? })
}

const fn is_error(protocol: u8, kind: u8) -> bool {
    match protocol {
        proto::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        _ => matches!(kind, 1..=4),
    }
}
