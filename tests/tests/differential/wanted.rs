//! Where the two gateways differ on purpose, or because the kernel is as it is. Everything else is a fault.

use super::program::{Flow, Kind, Side, Step};
use super::rename::carry;
use super::seen::Seen;
use super::world::Outcome;

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
        what: "redirects are translated",
        why: "the kernel's NAT drops every ICMP redirect; for our gateway it is one more error",
        explains: |step, _, ours, kernels| step.is(Kind::Redirect) && kernels.is_empty() && ours.len() == 1,
    },
    Wanted {
        what: "IPv6 fragments have another identification",
        why: "the kernel puts them together and cuts them anew; our gateway lets them pass as they are",
        explains: |step, flow, ours, kernels| {
            let without = |all: &[Seen]| all.iter().map(|it| Seen { id: None, ..it.clone() }).collect::<Vec<_>>();
            let sent = step.cut.as_ref().map(|it| it.id);
            flow.pod.address.is_ipv6() && ours.iter().all(|it| it.id == sent) && without(ours) == without(kernels)
        },
    },
    Wanted {
        what: "untranslated packets are forwarded as they are",
        why: "the kernel follows their flows too and drops what it calls invalid; our gateway only forwards them",
        explains: |step, flow, ours, kernels| flow.untranslated && kernels.is_empty() && as_sent(step, ours),
    },
    Wanted {
        what: "a FIN opens a flow",
        why: "the kernel calls it invalid; our gateway lost the flow, and the two ends want to be told of the end",
        explains: |step, _, ours, kernels| {
            step.is(Kind::MidFlow) && step.what.contains("flags 0x11") && kernels.is_empty() && ours.len() == 1
        },
    },
];

/// Whether only the packet itself came out, with a lower TTL.
fn as_sent(step: &Step, ours: &[Seen]) -> bool {
    let mut sent = step.packet.clone();
    if sent[0] >> 4 == 6 {
        sent[7] = sent[7].wrapping_sub(1);
    } else {
        let old = u16::from_be_bytes([sent[8], sent[9]]);
        sent[8] = sent[8].wrapping_sub(1);
        carry(&mut sent, 10, 0, old, old.wrapping_sub(0x100));
    }
    matches!(ours, [one] if one.side != step.side && one.packet == sent)
}

/// The entry that explains a difference.
pub(super) fn wanted(step: &Step, flow: &Flow, ours: &Outcome, kernels: &Outcome) -> Option<&'static Wanted> {
    let (Outcome::Seen(ours), Outcome::Seen(kernels)) = (ours, kernels) else { return None };
    WANTED.iter().find(|it| (it.explains)(step, flow, ours, kernels))
}
