//! UDP's checksum, of which one value says that there is none.

use super::{super::*, whole::Case};
use crate::{
    abi::family::V6,
    packet::{csum, header::proto, slice::Frame},
};

/// UDP: for every port that the packet may get the sum is right and never 0, which would say "no checksum". Among 65536 ports
/// one makes the sum 0, so both zeros are met.
#[test]
fn udp_sum_for_every_port() {
    let base = Case {
        end: End::Source,
        proto: proto::UDP,
        own: ([10; 16], 4000),
        new: ([172, 17, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 0),
        other: ([8; 16], 53),
        ttl: 64,
        data: b"question".to_vec(),
        dress: std::vec::Vec::new(),
        unsummed: false,
        wrong: 0,
    };
    let original = base.build::<V6>(base.own, 64);
    let mut zeros = 0;
    for port in 0..=u16::MAX {
        let new = (base.new.0, port);
        let mut bytes = original.clone();
        rewrite(&mut Frame::new(&mut bytes), &base.to::<V6>(base.own, new, None)).unwrap();
        assert_eq!(bytes, base.build::<V6>(new, 64), "{port}");
        let sum = u16::from_be_bytes([bytes[60], bytes[61]]);
        assert_ne!(sum, 0, "{port}");
        zeros += u32::from(sum == u16::MAX);
    }
    assert_eq!(zeros, 1);
}

/// Every value of a checksum against differences of all magnitudes: 0 becomes 0xffff, 0 on the wire is left alone, and the way
/// back leads to where it began.
#[test]
fn udp_sum_of_every_value() {
    let differences = [0, 1, 2, 0x00ff, 0x0100, 0x7fff, 0x8000, 0xfffe, 0xffff, 0x1_0000, 0xffff_0000, u32::MAX];
    for diff in differences {
        for field in 0..=u16::MAX {
            let mut bytes = field.to_ne_bytes();
            let sum = crate::packet::L4Sum { at: 0, udp: true, pseudo: true };
            Frame::new(&mut bytes).sum_addr(sum, diff, false).unwrap();
            let new = u16::from_ne_bytes(bytes);
            if field == 0 {
                assert_eq!(new, 0);
                continue;
            }
            assert_ne!(new, 0, "{field:#x} {diff:#x}");
            assert!(new == csum::apply(field, diff) || new == u16::MAX && csum::apply(field, diff) == 0);
            Frame::new(&mut bytes).sum_addr(sum, !diff, false).unwrap();
            assert_eq!(u16::from_ne_bytes(bytes), field, "{diff:#x} and back");
        }
    }
}
