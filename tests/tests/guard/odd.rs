//! Odd packets from the inside: each is dropped under its name, or left to a kernel that does not forward it.

use std::net::IpAddr;

use anyhow::Result;
use egress_tests::Family;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;

use crate::wire::{header, icmp};

/// What it is, the IP packet, and the drop that it is counted as; none if it is the kernel's to refuse.
pub(super) type Odd = (String, Vec<u8>, Option<&'static str>);

/// Packets of a client to a server that cannot be translated.
pub(super) fn packets(own: IpAddr, server: IpAddr) -> Result<Vec<Odd>> {
    let family = Family::of(own);
    let mut all = protocols(own, server);
    all.extend(fragments(own, server));
    all.extend(messages(own, server));
    all.extend(malformed(own, server));
    all.extend(addresses(own, server)?);
    all.extend(if family == Family::V4 { options(own, server) } else { extensions(own, server) });
    let reset = build::tcp((own, 4000), (server, 443), (1, 1), 4, b"");
    all.push(("RST".into(), header(own, server, proto::TCP).packet(&reset), Some("rst_no_flow")));
    Ok(all)
}

/// Their checksum covers the addresses, or they never leave their link.
fn protocols(own: IpAddr, server: IpAddr) -> Vec<Odd> {
    let numbers: &[u8] =
        if own.is_ipv4() { &[51, 112, proto::ICMPV6] } else { &[51, 59, 89, 103, 112, 135, 139, 140, proto::ICMP] };
    // Where a header is expected, its first two bytes are a next header and a length.
    let packet = |number| header(own, server, number).packet(&[&[59, 0][..], &[0x11; 38]].concat());
    numbers.iter().map(|it| (format!("protocol {it}"), packet(*it), Some("protocol"))).collect()
}

fn fragments(own: IpAddr, server: IpAddr) -> Vec<Odd> {
    let family = Family::of(own);
    let packet = |protocol, offset, more, payload: &[u8]| {
        let fragment = Some((offset, more));
        Header { fragment, dont_fragment: false, id: 9, ..header(own, server, protocol) }.packet(payload)
    };
    let segment = build::tcp((own, 4000), (server, 443), (1, 0), 2, &[0x22; 64]);
    let quoted = header(server, own, proto::UDP).packet(&build::udp((server, 53), (own, 4000), b""));
    let error = build::icmp(own, server, if family == Family::V4 { 3 } else { 1 }, 0, [0; 4], &quoted);
    let end = packet(proto::UDP, 65_528, false, &[0x22; 64]);
    [
        ("a first fragment of 8 bytes of TCP", packet(proto::TCP, 0, true, &segment[..8]), "fragment"),
        ("a first fragment of 16 bytes of TCP", packet(proto::TCP, 0, true, &segment[..16]), "fragment"),
        ("TCP from byte 8 on", packet(proto::TCP, 8, true, &segment[8..48]), "fragment"),
        ("a first fragment of nothing", packet(proto::UDP, 0, true, &[]), "fragment"),
        ("a fragment of an error", packet(icmp(family), 0, true, &error[..24]), "fragment"),
        ("a fragment beyond the end", end, "malformed"),
    ]
    .into_iter()
    .map(|(name, packet, drop)| (name.to_owned(), packet, Some(drop)))
    .collect()
}

fn messages(own: IpAddr, server: IpAddr) -> Vec<Odd> {
    let family = Family::of(own);
    let quoted = header(server, own, proto::UDP).packet(&build::udp((server, 53), (own, 4000), b""));
    let message =
        |kind: u8| header(own, server, icmp(family)).packet(&build::icmp(own, server, kind, 0, [0; 4], &quoted));
    // Errors about no flow; answers that nobody asked for, and what has no translation.
    let (errors, others): (&[u8], &[u8]) = match family {
        Family::V4 => (&[3, 4, 5, 11, 12], &[0, 1, 9, 10, 14, 16, 18, 42]),
        Family::V6 => (&[1, 2, 3, 4], &[100, 129, 138, 160, 200]),
    };
    let list = |kinds: &[u8], reason| -> Vec<Odd> {
        kinds.iter().map(|kind| (format!("ICMP type {kind}"), message(*kind), Some(reason))).collect()
    };
    let mut all = [list(errors, "icmp_error"), list(others, "icmp_type")].concat();
    if family == Family::V6 {
        // Discovery is the kernel's, which would forward what is for somebody else.
        all.extend(list(&[130, 131, 132, 133, 134, 135, 136, 137, 143], "icmp_type"));
    }
    all
}

fn malformed(own: IpAddr, server: IpAddr) -> Vec<Odd> {
    let v4 = own.is_ipv4();
    let datagram = build::udp((own, 4000), (server, 53), b"a datagram");
    let whole = header(own, server, proto::UDP).packet(&datagram);
    let changed = |at: usize, bytes: &[u8]| {
        let mut packet = whole.clone();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let cut = |protocol, length| header(own, server, protocol).packet(&[0x33; 40][..length]);
    let segment = |offset: u8| {
        let mut segment = build::tcp((own, 4000), (server, 443), (1, 0), 2, b"");
        segment[12] = offset << 4;
        header(own, server, proto::TCP).packet(&segment)
    };
    let length = if v4 { 2 } else { 4 };
    let mut all = vec![
        ("longer than its frame", changed(length, &1000_u16.to_be_bytes())),
        ("of another version", changed(0, &[0x55])),
        ("UDP cut short", cut(proto::UDP, 7)),
        ("TCP cut short", cut(proto::TCP, 19)),
        ("echo cut short", cut(icmp(Family::of(own)), 7)),
        ("UDP longer than its packet", changed(if v4 { 24 } else { 44 }, &20_u16.to_be_bytes())),
        ("UDP shorter than its header", changed(if v4 { 24 } else { 44 }, &7_u16.to_be_bytes())),
        ("TCP data offset 4", segment(4)),
        ("TCP data offset 0", segment(0)),
        ("TCP data offset 15", segment(15)),
        ("IP header cut short", whole[..if v4 { 19 } else { 39 }].to_vec()),
        ("one byte", whole[..1].to_vec()),
    ];
    if v4 {
        all.push(("header length 4", changed(0, &[0x44])));
        all.push(("header length 0", changed(0, &[0x40])));
        all.push(("shorter than its header", changed(length, &19_u16.to_be_bytes())));
    } else {
        all.push(("shorter than a UDP header", changed(length, &4_u16.to_be_bytes())));
    }
    all.into_iter().map(|(name, packet)| (name.to_owned(), packet, Some("malformed"))).collect()
}

/// Addresses that are not forwarded (RFC 1122 §3.2.1.3, RFC 3927 §2.7, RFC 4291 §2.5.6).
fn addresses(own: IpAddr, server: IpAddr) -> Result<Vec<Odd>> {
    let v4 = own.is_ipv4();
    let to: &[_] = match v4 {
        true => &[
            ("169.254.9.9", Some("guard")),
            ("224.0.0.5", None),
            ("239.1.2.3", None),
            ("255.255.255.255", None),
            ("172.17.255.255", Some("no_mapping")),
        ],
        false => &[("fe80::9", None), ("ff02::1", None), ("ff05::2", None), ("ff0e::99", None), ("::1", None)],
    };
    let from: &[_] = match v4 {
        true => &[
            ("169.254.9.9", Some("guard")),
            ("127.0.0.1", None),
            ("0.0.0.0", None),
            ("224.0.0.5", None),
            ("255.255.255.255", None),
        ],
        false => &[("fe80::9", None), ("::1", None), ("::", None), ("ff02::1", None), ("ff0e::99", None)],
    };
    let packet =
        |from, to| header(from, to, proto::UDP).packet(&build::udp((from, 4000), (to, 53), b"never forwarded"));
    let to = to.iter().map(|(it, drop)| Ok((format!("to {it}"), packet(own, it.parse()?), *drop)));
    let from = from.iter().map(|(it, drop)| Ok((format!("from {it}"), packet(it.parse()?, server), *drop)));
    to.chain(from).collect()
}

/// Options that steer packets or record addresses, and lists that contradict themselves.
fn options(own: IpAddr, server: IpAddr) -> Vec<Odd> {
    let datagram = build::udp((own, 4000), (server, 53), b"with options");
    let packet =
        |options: &[u8]| Header { options: options.to_vec(), ..header(own, server, proto::UDP) }.packet(&datagram);
    let mut beyond = packet(&[1, 1, 1, 0]);
    beyond[0] = 0x4f;
    let mut all = vec![("header length 15 of a short packet".to_owned(), beyond, Some("malformed"))];
    for (name, option, drop) in [
        ("record route", &[7, 7, 4, 0, 0, 0, 0, 0][..], "options"),
        ("loose source route", &[131, 7, 4, 172, 17, 0, 1, 0], "options"),
        ("strict source route", &[137, 7, 4, 172, 17, 0, 1, 0], "options"),
        ("timestamp", &[68, 8, 5, 0, 0, 0, 0, 0], "options"),
        ("a source route behind harmless ones", &[148, 4, 0, 0, 1, 131, 7, 4, 172, 17, 0, 1], "options"),
        ("an option of length 0", &[148, 0, 0, 0], "malformed"),
        ("an option of length 1", &[148, 1, 0, 0], "malformed"),
        ("an option beyond the header", &[148, 5, 0, 0], "malformed"),
        ("an option without a length", &[1, 1, 1, 148], "malformed"),
    ] {
        all.push((name.to_owned(), packet(option), Some(drop)));
    }
    all
}

/// Routing headers that still steer, or could, and more headers than anybody needs.
fn extensions(own: IpAddr, server: IpAddr) -> Vec<Odd> {
    let datagram = build::udp((own, 4000), (server, 53), b"with extensions");
    let packet = |extensions: &[(u8, Vec<u8>)]| {
        Header { extensions: extensions.to_vec(), ..header(own, server, proto::UDP) }.packet(&datagram)
    };
    let padding = vec![0, 0, 1, 4, 0, 0, 0, 0];
    let routing =
        |kind: u8, left: u8| vec![0, 2, kind, left, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2];
    [
        ("routing header type 0", vec![(43, routing(0, 0))]),
        ("routing header type 0 with a segment", vec![(43, routing(0, 1))]),
        ("a segment left", vec![(43, routing(4, 1))]),
        ("a segment left behind others", vec![(0, padding.clone()), (60, padding.clone()), (43, routing(3, 1))]),
        ("nine headers", vec![(60, padding); 9]),
    ]
    .into_iter()
    .map(|(name, chain)| (name.to_owned(), packet(&chain), Some("options")))
    .collect()
}
