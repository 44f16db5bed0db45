//! Where the two gateways differ on purpose, or because the kernel is as it is. Everything else is a fault.

use egress_tests::Family;
use egress_tests::lab::addresses::{GATEWAY_OUTSIDE, OVERLAY_ROUTER};
use egress_tests::packet::{parse_ip, proto};

use super::program::{Endpoint, Flow, Kind, Side, Step};
use super::rename::{Rename, carry};
use super::seen::{Seen, Sum, forget_crc};
use super::world::Outcome;
use crate::wire::of;

/// A difference and why it is right.
pub(super) struct Wanted {
    pub(super) what: &'static str,
    pub(super) why: &'static str,
    /// Whether it explains what our gateway and the kernel's made of the step.
    pub(super) explains: fn(&Step, &Flow, ours: &[Seen], kernels: &[Seen]) -> bool,
}

pub(super) const WANTED: &[Wanted] = &[
    Wanted {
        what: "unsolicited packets get no answer",
        why: "the kernel delivers them to the gateway's own sockets and refuses; our gateway drops what has no flow",
        explains: |step, _, ours, kernels| {
            step.is(Kind::Unsolicited) && ours.is_empty() && kernels.iter().all(|it| it.side == Side::Outside)
        },
    },
    Wanted {
        what: "not translated",
        why: "checksums cover the addresses, or options steer and record: the kernel lets out what nobody will accept",
        explains: |step, flow, ours, _| step.is(Kind::NotTranslatable) && !flow.untranslated && ours.is_empty(),
    },
    Wanted {
        what: "IPv6 fragments stay as they are",
        why: "the kernel puts them together, cuts them anew if need be, and takes the header of atomic ones away",
        explains: |step, flow, ours, kernels| {
            let whole = |it: &Seen| Seen { id: None, fragmented: false, ..it.clone() };
            let same = ours.iter().map(whole).eq(kernels.iter().map(whole));
            let as_sent = |it: &Seen| it.fragmented && it.id == step.cut.as_ref().map(|it| it.id);
            flow.pod.address.is_ipv6() && same && ours.iter().all(as_sent)
        },
    },
    Wanted {
        what: "routers inside do not show",
        why: "an error about untranslated traffic has their address as its source, which is nobody's business outside",
        explains: |step, flow, ours, _| {
            let [ours] = ours else { return false };
            flow.untranslated && step.is(Kind::ErrorFromInside) && hides_router(step, ours)
        },
    },
    Wanted {
        what: "untranslated packets are forwarded as they are",
        why: "the kernel follows their flows too and drops what it calls invalid; our gateway only forwards them",
        explains: |step, flow, ours, kernels| flow.untranslated && kernels.is_empty() && as_sent(step, ours),
    },
    Wanted {
        what: "a wrong SCTP checksum stays wrong",
        why: "the kernel's NAT computes it anew and so hides that the packet was damaged",
        explains: |step, flow, ours, kernels| {
            let ([ours], [kernels]) = (ours, kernels) else { return false };
            let right = Seen { checksums: (ours.checksums.0, Sum::Right), ..ours.clone() };
            flow.protocol == proto::SCTP
                && step.is(Kind::WrongChecksum)
                && ours.checksums.1 == Sum::Wrong
                && right == *kernels
        },
    },
    Wanted {
        what: "answers of our own are plain",
        why: "the kernel copies some bits of the TOS into them, lets them be cut, and makes up IPv6 flow labels",
        explains: |step, _, ours, kernels| {
            let ([ours], [kernels]) = (ours, kernels) else { return false };
            let answered = step.side == Side::Outside && (step.is(Kind::LastHop) || step.is(Kind::TooBig));
            answered && is_plain(&ours.packet) && plain(ours) == plain(kernels)
        },
    },
    Wanted {
        what: "a FIN opens a flow",
        why: "the kernel calls it invalid; our gateway lost the flow, and the two ends want to be told of the end",
        explains: |step, _, ours, kernels| {
            step.is(Kind::MidFlow) && step.what.contains("flags 0x11") && kernels.is_empty() && ours.len() == 1
        },
    },
];

/// The packet with a lower TTL and otherwise as it was sent.
fn forwarded(step: &Step) -> Vec<u8> {
    let mut packet = step.packet.clone();
    if packet[0] >> 4 == 6 {
        packet[7] = packet[7].wrapping_sub(1);
    } else {
        let old = u16::from_be_bytes([packet[8], packet[9]]);
        packet[8] = packet[8].wrapping_sub(1);
        carry(&mut packet, 10, 0, old, old.wrapping_sub(0x100));
    }
    forget_crc(&mut packet);
    packet
}

/// Whether only the packet itself came out.
fn as_sent(step: &Step, ours: &[Seen]) -> bool {
    matches!(ours, [one] if one.side != step.side && one.packet == forwarded(step))
}

/// Network control and Don't Fragment, or no flow label.
fn is_plain(packet: &[u8]) -> bool {
    if packet[0] >> 4 == 6 { packet[..4] == [0x60, 0, 0, 0] } else { packet[1] == 0xc0 && packet[6] == 0x40 }
}

/// Without what makes an answer plain.
fn plain(answer: &Seen) -> Seen {
    let mut packet = answer.packet.clone();
    if packet[0] >> 4 == 6 {
        packet[1..4].fill(0);
    } else {
        (packet[1], packet[6]) = (0xc0, 0x40);
        packet[10..12].fill(0);
    }
    Seen { packet, ..answer.clone() }
}

/// Whether it is what the overlay's router said, with an egress address in the place of the router's.
fn hides_router(step: &Step, ours: &Seen) -> bool {
    let Some(own) = parse_ip(&ours.packet).map(|ip| ip.source) else { return false };
    let family = Family::of(own);
    let end = |address| Endpoint { address, port: 0 };
    let mut packet = ours.packet.clone();
    // No packet of protocol 255 is quoted.
    let rename = Rename { protocol: 255, from: end(own), to: end(of(OVERLAY_ROUTER, family)) };
    rename.apply(&mut packet);
    own == of(GATEWAY_OUTSIDE, family) && ours.side == Side::Outside && packet == forwarded(step)
}

/// The entry that explains a difference.
pub(super) fn wanted(step: &Step, flow: &Flow, ours: &Outcome, kernels: &Outcome) -> Option<&'static Wanted> {
    let (Outcome::Seen(ours), Outcome::Seen(kernels)) = (ours, kernels) else { return None };
    WANTED.iter().find(|it| (it.explains)(step, flow, ours, kernels))
}
