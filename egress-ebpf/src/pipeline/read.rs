//! Parsing what is not plain, once for all steps behind.

use egress_common::{
    packet::parse::{Kind, Parsed},
    verdict::Drop,
};

use super::{
    Stack,
    steps::{ERROR, NO_FLOW, READ},
};
use crate::{
    count,
    ctx::{copied::Copied, skb::Skb},
};

/// See `Steps::read`.
#[inline(always)]
pub(crate) fn read<F: Stack>(skb: Skb) -> i32 {
    let Some(slot) = F::packet() else { return count::drop(Drop::NotConfigured) };
    let packet = match parse::<F>(skb) {
        // SAFETY: the slot belongs to this CPU and has room for it.
        Ok(packet) => unsafe {
            slot.write(packet);
            &*slot
        },
        Err(reason) => return count::drop(reason),
    };
    if matches!(packet.kind, Kind::Error) { quote(skb, packet) } else { READ }
}

/// What is plain needs no copies, and was found intact on its way here.
#[inline(always)]
fn parse<F: Stack>(skb: Skb) -> Result<Parsed<F>, Drop> {
    match F::parse(&skb) {
        Ok(packet) if !matches!(packet.kind, Kind::Deep) => Ok(packet),
        _ if !F::intact(&Copied(skb), false) => Err(Drop::Malformed),
        _ => F::deep(&Copied(skb)),
    }
}

/// What an error is about, if it went to who sent that (RFC 5508 REQ-4, REQ-5); else it is of no flow.
#[inline(always)]
fn quote<F: Stack>(skb: Skb, error: &Parsed<F>) -> i32 {
    match (F::quoted(), F::quote(&Copied(skb), error)) {
        (Some(slot), Ok(quote)) if quote.src == error.dst => {
            // SAFETY: the slot belongs to this CPU and has room for it.
            unsafe { slot.write(quote) };
            ERROR
        }
        _ => NO_FLOW,
    }
}
