//! Whether an IP header is as it was sent. A router discards what is not (RFC 1812 §5.2.2); the kernel would, and these packets
//! go around it.

use super::{
    Packet,
    csum::{fold, fold_add, is_zero},
    header::ETHERNET,
};
use crate::abi::family::{Family, V4, V6};

/// A family whose headers can be checked.
pub trait Intact: Family {
    /// Whether the header checksum is right; `plain` if the packet is known to have no options. False also if the frame ends
    /// before the header does.
    fn intact<P: Packet>(packet: &P, plain: bool) -> bool;
}

impl Intact for V4 {
    #[inline(always)]
    fn intact<P: Packet>(packet: &P, plain: bool) -> bool {
        let Ok(head) = packet.read::<[u8; 20]>(ETHERNET) else { return false };
        let words = head.as_chunks::<4>().0;
        if plain {
            // The version is not 0.
            return is_zero(words.iter().fold(0, |sum, word| sum + u64::from(u32::from_ne_bytes(*word))));
        }
        let mut sum = words.iter().fold(0, |sum, word| fold_add(sum, u32::from_ne_bytes(*word)));
        let words = u32::from(head[0] & 0xf);
        for i in 5..15 {
            if i >= words {
                break;
            }
            let Ok(word) = packet.read::<u32>(ETHERNET + i * 4) else { return false };
            sum = packet.blur(fold_add(sum, word));
        }
        fold(sum) == u16::MAX
    }
}

impl Intact for V6 {
    /// IPv6 leaves that to the protocols (RFC 8200 §8.1).
    #[inline(always)]
    fn intact<P: Packet>(_: &P, _: bool) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::{
        packet::{header::proto, slice::Frame},
        testing::frame::{Ip, udp},
    };

    #[test]
    fn every_bit_counts() {
        for options in 0..=10 {
            let ip = Ip { extra: vec![1; options * 4], ..Ip::<V4>::any(proto::UDP) };
            let good = ip.frame(&udp(1, 2, b"data"));
            assert!(V4::intact(&Frame::new(&mut good.clone()), options == 0));
            for bit in 0..(20 + options * 4) * 8 {
                let mut bad = good.clone();
                bad[14 + bit / 8] ^= 1 << (bit % 8);
                // A changed length of the header changes what is summed up.
                if bit / 8 != 0 {
                    assert!(!V4::intact(&Frame::new(&mut bad), options == 0), "{options} {bit}");
                }
            }
            assert!(!V4::intact(&Frame::new(&mut good[..14 + 19 + options * 4].to_vec()), false));
        }
    }
}
