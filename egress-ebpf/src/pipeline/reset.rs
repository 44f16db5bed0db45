//! Answering a TCP segment that belongs to no flow with RST: it becomes the RST and goes back to where it came from.

use aya_ebpf::helpers::bpf_redirect;
use egress_common::{
    abi::flow::OUT,
    packet::{
        Failed, Packet,
        header::{ETHERNET, Tcp},
        parse::Parsed,
    },
    verdict::{Counter, Drop},
};

use super::{
    Arrived, Stack,
    answer::{RESETS, admitted, reshape},
    resume,
};
use crate::{
    count,
    ctx::{copied::Copied, skb::Skb},
    deliver::Macs,
};

/// `Steps::reset`.
#[inline(always)]
pub(crate) fn reset<F: Stack>(skb: Skb, dir: u32) -> i32 {
    let outbound = dir == u32::from(OUT);
    let dropped = count::drop(if outbound { Drop::Midflow } else { Drop::NoMapping });
    let Arrived { packet, config, now } = match resume::<F>() {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    if !admitted(RESETS, now) {
        count::add(Counter::ResetsWithheld, 1);
        return dropped;
    }
    match build::<F>(skb, packet) {
        Ok(()) => {
            count::add(Counter::ResetsSent, 1);
            let back = if outbound { config.internal_ifindex } else { config.external_ifindex };
            // SAFETY: the helper only notes the target.
            unsafe { bpf_redirect(back, 0) as i32 }
        }
        Err(Failed) => dropped,
    }
}

#[inline(always)]
fn build<F: Stack>(skb: Skb, packet: &Parsed<F>) -> Result<(), Failed> {
    let mut frame = Copied(skb);
    let macs: Macs = frame.read(0)?;
    let segment: Tcp = frame.read(packet.l4)?;
    let reset = F::rst(&packet.dst, &packet.src, &segment, packet.l4_len());
    reshape(skb, ETHERNET + size_of::<F::Reset>() as u32)?;
    frame.write(ETHERNET, reset)?;
    frame.write(0, Macs { to: macs.from, from: macs.to })
}
