//! Whatever the bytes are: no panic, and what the parsers say is what they say and lies within the packet.

use egress_common::{
    abi::family::{V4, V6},
    packet::{
        deep::Deep,
        header::proto,
        parse::{Kind, Parsed},
        quote::Quoted,
        slice::Frame,
        transport::least,
    },
    verdict::Drop,
};

use crate::{
    frame::{Build, IP, read16},
    quote, walk,
};

/// Segment size of the super-packets.
const GSO: u32 = 1448;

/// Parses the bytes as each family, as a packet and as a super-packet.
pub fn check(bytes: &[u8]) {
    family::<V4>(bytes);
    family::<V6>(bytes);
}

fn family<F: Build + Deep + Quoted>(bytes: &[u8]) {
    let mut copy = bytes.to_vec();
    for gso_size in [0, GSO] {
        let frame = Frame { bytes: &mut copy, gso_size };
        let (plain, deep) = (F::parse(&frame).map(Fields), F::deep(&frame).map(Fields));
        // What the plain one knows, the other says, too.
        if !matches!(plain, Ok(Fields(Parsed { kind: Kind::Deep, .. }))) {
            assert_eq!(plain, deep);
        }
        if let Ok(Fields(parsed)) = deep {
            holds(bytes, gso_size, &parsed);
            if parsed.kind == Kind::Error {
                quote::holds(&mut copy, gso_size, &parsed);
            }
        }
    }
    // What is behind the packet (padding of a short Ethernet frame) decides nothing.
    if let Some(len) = said::<F>(bytes).filter(|len| IP + len < bytes.len()) {
        let whole = F::deep(&Frame::new(&mut copy)).map(Fields);
        copy.truncate(IP + len.max(F::HEADER as usize));
        assert_eq!(whole, F::deep(&Frame::new(&mut copy)).map(Fields), "bytes behind it matter");
    }
}

/// Length of the packet as its IP header has it.
fn said<F: Build>(bytes: &[u8]) -> Option<usize> {
    let (at, more) = if F::V6 { (IP + 4, F::HEADER as usize) } else { (IP + 2, 0) };
    Some(usize::from(read16(bytes.get(at..at + 2)?)) + more)
}

fn holds<F: Build>(bytes: &[u8], gso_size: u32, parsed: &Parsed<F>) {
    let (len, header) = (parsed.len as usize, F::HEADER as usize);
    let ip = &bytes[IP..IP + len];
    if gso_size == 0 {
        assert_eq!((Some(len), parsed.wire_len), (said::<F>(bytes), parsed.len));
    } else {
        assert_eq!(len, bytes.len() - IP);
    }
    let address = size_of::<F::Addr>();
    assert_eq!(parsed.src.as_ref(), &ip[F::SRC as usize..][..address]);
    assert_eq!(parsed.dst.as_ref(), &ip[F::DST as usize..][..address]);
    assert_eq!(parsed.ttl, if F::V6 { ip[7] } else { ip[8] });
    assert_eq!(parsed.may_fragment, !F::V6 && ip[6] & 0x40 == 0);
    let l4_at = parsed.l4 as usize - IP;
    assert!(l4_at >= header);
    let l4 = &ip[l4_at..];
    assert_eq!(parsed.l4_len() as usize, l4.len());
    if !F::V6 {
        assert_eq!(parsed.kind == Kind::Other(Drop::Options), walk::steers(ip));
    }
    if let Kind::Other(why) = parsed.kind {
        assert!(matches!(why, Drop::Protocol | Drop::Options | Drop::Fragment | Drop::IcmpType), "{why:?}");
        return;
    }
    assert_eq!((parsed.proto, l4_at), if F::V6 { walk::chain(ip) } else { (ip[9], usize::from(ip[0] & 0xf) * 4) });
    let piece = parsed.piece;
    assert!(!piece.is_fragment() || piece.at as usize + l4.len() <= 65535);
    assert_eq!(parsed.kind == Kind::Tail, piece.at != 0);
    if !matches!(parsed.kind, Kind::Tail | Kind::Bare) {
        assert!(l4.len() >= least::<F>(parsed.proto) as usize);
    }
    let ports = (parsed.sport, parsed.dport);
    match parsed.kind {
        Kind::Ports => {
            assert_eq!(ports, (read16(l4), read16(&l4[2..])));
            let l4_header = l4_header(parsed, l4, gso_size);
            if gso_size != 0 && matches!(parsed.proto, proto::TCP | proto::UDP) {
                assert_eq!(parsed.wire_len as usize, l4_at + l4_header + gso_size as usize);
            }
        }
        Kind::Query => assert_eq!(parsed.sport, read16(&l4[4..])),
        Kind::Answer => assert_eq!(parsed.dport, read16(&l4[4..])),
        Kind::Error => assert!(!piece.more && parsed.proto == F::ICMP),
        Kind::LinkControl => assert!(F::V6 && !piece.more),
        Kind::Bare | Kind::Tail => assert_eq!(ports, (0, 0)),
        Kind::Deep | Kind::Other(_) => panic!("the full parser says {:?}", parsed.kind),
    }
}

/// Length of a header with ports, which is there as a whole.
fn l4_header<F: Build>(parsed: &Parsed<F>, l4: &[u8], gso_size: u32) -> usize {
    let header = match parsed.proto {
        proto::TCP => usize::from(l4[12] >> 4) * 4,
        proto::UDP => {
            let said = usize::from(read16(&l4[4..]));
            assert!(gso_size != 0 || said >= 8 && (said <= l4.len() || parsed.piece.more));
            8
        }
        proto::UDP_LITE | proto::DCCP | proto::SCTP => 8,
        other => panic!("protocol {other} has no ports"),
    };
    assert!(header >= if parsed.proto == proto::TCP { 20 } else { 8 } && header <= l4.len());
    header
}

/// A parsed packet to compare.
#[derive(Debug)]
struct Fields<F: Build>(Parsed<F>);

impl<F: Build> PartialEq for Fields<F> {
    fn eq(&self, other: &Self) -> bool {
        let fields = |Self(parsed): &Self| {
            let Parsed { src, dst, kind, proto, sport, dport, seen, ttl, may_fragment, len, wire_len, l4, piece } =
                *parsed;
            (src, dst, kind, (proto, sport, dport), (seen, ttl, may_fragment), (len, wire_len), (l4, piece))
        };
        fields(self) == fields(other)
    }
}
