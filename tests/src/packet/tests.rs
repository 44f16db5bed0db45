use super::checksum::{Verdict, check, sum};
use super::*;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 17, 0, 9));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const A6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x17, 0, 0, 0, 0, 9));
const B6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10));

#[test]
fn the_sum_of_rfc_1071() {
    assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    assert_eq!(sum(&[1]), 0x100);
}

/// RFC 1071's example header as tcpdump prints it in many books.
#[test]
fn a_known_header_is_right_and_a_flipped_bit_is_not() {
    let mut packet = vec![
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
        0x00, 0xc7,
    ];
    let ip = parse_ip(&packet).unwrap();
    assert_eq!(check(&ip, &packet, false).header, Verdict::Right);
    packet[8] -= 1;
    assert_eq!(check(&ip, &packet, false).header, Verdict::Wrong { found: 0xb861, right: 0xb961 });
}

#[test]
fn made_packets_are_read_back_and_right() {
    for (a, b) in [(A, B), (A6, B6)] {
        let icmp = if a.is_ipv4() { proto::ICMP } else { proto::ICMPV6 };
        let payloads = [
            (proto::UDP, build::udp((a, 1000), (b, 2000), b"odd")),
            (proto::TCP, build::tcp((a, 1000), (b, 2000), (7, 9), 2, b"")),
            (icmp, build::echo_request(a, b, 5, 6, b"ping")),
            (proto::SCTP, transport::sctp((1000, 2000), 3, b"chunk")),
        ];
        for (protocol, payload) in payloads {
            let packet = build::Header::new(a, b, protocol).packet(&payload);
            let ip = parse_ip(&packet).unwrap();
            assert_eq!((ip.source, ip.destination, ip.protocol, ip.length), (a, b, protocol, packet.len()));
            assert!(check(&ip, &packet, false).are_real(), "{ip:?}");
            for at in ip.l4_offset..packet.len() {
                let mut bad = packet.clone();
                bad[at] ^= 0x10;
                assert!(!check(&ip, &bad, false).are_right(), "byte {at} of {protocol}");
            }
        }
    }
}

#[test]
fn an_unfinished_checksum_is_the_pseudo_headers() {
    let mut datagram = build::udp((A, 1), (B, 2), b"data");
    let pseudo = checksum::pseudo_header(A, B, proto::UDP, datagram.len());
    datagram[6..8].copy_from_slice(&pseudo.to_be_bytes());
    let packet = build::Header::new(A, B, proto::UDP).packet(&datagram);
    let ip = parse_ip(&packet).unwrap();
    assert_eq!(check(&ip, &packet, true).transport, Verdict::Unfinished);
    assert!(!check(&ip, &packet, false).are_right());
    let other = build::Header::new(B, B, proto::UDP).packet(&datagram);
    assert!(!check(&parse_ip(&other).unwrap(), &other, true).are_right());
}

#[test]
fn udp_without_a_checksum_is_fine_in_ipv4_only() {
    let mut datagram = build::udp((A, 1), (B, 2), b"data");
    datagram[6..8].fill(0);
    let packet = build::Header::new(A, B, proto::UDP).packet(&datagram);
    assert_eq!(check(&parse_ip(&packet).unwrap(), &packet, false).transport, Verdict::Absent);
    let packet = build::Header::new(A6, B6, proto::UDP).packet(&datagram);
    assert!(!check(&parse_ip(&packet).unwrap(), &packet, false).are_right());
}

#[test]
fn fragments_and_extension_headers() {
    let first = build::Header { fragment: Some((0, true)), id: 7, ..build::Header::new(A6, B6, proto::UDP) };
    let ip = parse_ip(&first.packet(&build::udp((A6, 1), (B6, 2), b"x"))).unwrap();
    assert_eq!(ip.fragment, Some(Fragment { id: 7, offset: 0, more: true }));
    assert_eq!(ip.ports(), Some((1, 2)));
    let later = build::Header { fragment: Some((1448, false)), ..first.clone() };
    let ip = parse_ip(&later.packet(b"12345678")).unwrap();
    assert_eq!((ip.protocol, ip.ports()), (proto::UDP, None));
    let options = build::Header {
        extensions: vec![(60, vec![0, 0, 1, 4, 0, 0, 0, 0])],
        ..build::Header::new(A6, B6, proto::UDP)
    };
    let packet = options.packet(&build::udp((A6, 1), (B6, 2), b"x"));
    let ip = parse_ip(&packet).unwrap();
    assert_eq!((ip.l4_offset, ip.ports()), (48, Some((1, 2))));
    assert!(check(&ip, &packet, false).are_real());
    let v4 = build::Header {
        fragment: Some((1480, true)),
        id: 9,
        dont_fragment: false,
        ..build::Header::new(A, B, proto::TCP)
    };
    let ip = parse_ip(&v4.packet(b"12345678")).unwrap();
    assert_eq!((ip.fragment, ip.dont_fragment), (Some(Fragment { id: 9, offset: 1480, more: true }), false));
}

#[test]
fn an_icmp_error_quotes() {
    for (a, b, kind) in [(A, B, 11), (A6, B6, 3)] {
        let quoted = build::Header::new(a, b, proto::UDP).packet(&build::udp((a, 1), (b, 2), b""));
        let icmp = if a.is_ipv4() { proto::ICMP } else { proto::ICMPV6 };
        let packet = build::Header::new(b, a, icmp).packet(&build::icmp(b, a, kind, 0, [0; 4], &quoted));
        let ip = parse_ip(&packet).unwrap();
        let inner = ip.quoted.as_ref().unwrap();
        assert_eq!((inner.source, inner.ports()), (a, Some((1, 2))));
        assert!(check(&ip, &packet, false).are_real());
    }
}

#[test]
fn arp() {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 16, 0, 1]);
    frame.extend([0, 0, 0, 0, 0, 0, 10, 16, 0, 12]);
    let payload = parse_ethernet(&frame).unwrap().payload;
    let expected = Payload::Arp { operation: 1, sender: [10, 16, 0, 1].into(), target: [10, 16, 0, 12].into() };
    assert_eq!(payload, expected);
}
