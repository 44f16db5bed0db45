//! The ways from the IP header to the protocol's, gone once more.

use egress_common::packet::header::proto;

use crate::frame::read16;

/// Protocol behind IPv6 extension headers, and where it begins.
#[must_use]
pub fn chain(ip: &[u8]) -> (u8, usize) {
    let (mut next, mut at) = (ip[6], 40);
    while let proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION | proto::FRAGMENT = next {
        let fragment = next == proto::FRAGMENT;
        let tail = fragment && read16(&ip[at + 2..]) & !7 != 0;
        next = ip[at];
        at += if fragment { 8 } else { 8 + usize::from(ip[at + 1]) * 8 };
        if tail {
            break;
        }
    }
    (next, at)
}

/// Whether there is an IPv4 option that steers the packet or records its way; all are well-formed, or the parser should not have
/// let them pass.
#[must_use]
pub fn steers(ip: &[u8]) -> bool {
    let mut options = &ip[20..usize::from(ip[0] & 0xf) * 4];
    let mut steers = false;
    while let [kind, rest @ ..] = options {
        options = match kind {
            0 => break,
            1 => rest,
            kind => {
                let len = usize::from(rest[0]);
                assert!(len >= 2 && len <= options.len(), "option {kind} of {len} bytes");
                // Record route, timestamp, loose and strict source route.
                steers |= matches!(kind, 7 | 68 | 131 | 137);
                &options[len..]
            }
        };
    }
    steers
}
