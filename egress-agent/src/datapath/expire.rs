//! Ending flows. User space only finds suspects; the `expire` program decides on what the table holds at that moment.

use std::time::Instant;

use anyhow::Result;
use aya::{Pod, programs::SchedClassifier};
use bytes::{BufMut, BytesMut};
use egress_common::{
    abi::{
        config::Timeouts,
        event::why,
        family::{V4, V6},
        flow::{FlowKey, FlowValue, IN, OUT, seen},
        order::{HEAD, MAX_KEYS},
    },
    conntrack::removal::{CLAIM_GRACE, RECLAIM_AFTER},
    packet::header::proto,
    policy::{Tables as Policy, translates},
};
use ipnet::IpNet;

use super::{
    flows::{Readable, Walk, walk},
    load::run_order,
    pace::{PART, Pace},
    pins::Pins,
};
use crate::spec::desired::Desired;

/// Whether a half may belong to a flow that ended, judged by this half alone: the shortest idle time that any state of the
/// whole flow could have. Reply halves are looked at for being orphans, dying ones for being left so.
fn suspect<A, F: Readable>(key: &FlowKey<A>, value: &FlowValue<F>, now: u32, timeouts: &Timeouts) -> bool {
    if value.word.dying() {
        return true;
    }
    let idle = now.wrapping_sub(value.last_seen);
    if idle > u32::MAX / 2 {
        return false;
    }
    let shortest = match key.proto {
        proto::TCP if value.word.seen & seen::RST != 0 => timeouts.tcp_closing,
        proto::TCP if value.word.seen & seen::FIN != 0 => timeouts.tcp_half_closed.min(timeouts.tcp_closing),
        proto::TCP => {
            let open = timeouts.tcp_opening.min(timeouts.tcp_established);
            open.min(timeouts.tcp_half_closed).min(timeouts.tcp_closing)
        }
        proto::UDP => timeouts.udp_unreplied.min(timeouts.udp_replied),
        proto::ICMP | proto::ICMPV6 => timeouts.icmp,
        _ => timeouts.other,
    };
    // A reply half alone is an orphan; most have their flow, so they are looked at as rarely as flows.
    idle >= if key.dir == IN { shortest.max(CLAIM_GRACE) } else { shortest }
}

/// The flow of a half that shows that it may be closed, idle for long enough that a new one could take its port over.
fn closed<F: Readable>(key: &FlowKey<F::Addr>, value: &FlowValue<F>, now: u32) -> Option<FlowKey<F::Addr>> {
    let idle = now.wrapping_sub(value.last_seen);
    if value.word.seen & (seen::FIN | seen::RST) == 0 || !(RECLAIM_AFTER..u32::MAX / 2).contains(&idle) {
        return None;
    }
    Some(if key.dir == OUT { *key } else { key.original(value.nat_addr, value.word.port) })
}

/// Suspects of each family after which a tick is over.
const MOST_SUSPECTS: usize = 16_384;

/// Looks for flows that ended, a part of the tables at each tick. What comes or goes while a round is under way may be seen in the
/// next one only; what stays is seen once in each.
pub struct Sweep {
    v4: Round<V4>,
    v6: Round<V6>,
}

impl Sweep {
    /// At the beginning of both tables, which have room for so many flows each.
    pub fn open(pins: &Pins, capacity: u32) -> Result<Self> {
        Ok(Self { v4: Round::open(pins, capacity)?, v6: Round::open(pins, capacity)? })
    }

    /// Looks at the next part; how many flows ended. `at` is when, for the pace, `now` the datapath's clock. In a family whose
    /// table is `pressed` closed flows make room.
    pub fn tick(
        &mut self,
        program: &SchedClassifier,
        at: Instant,
        now: u32,
        timeouts: &Timeouts,
        pressed: [bool; 2],
    ) -> Result<u32> {
        let v4 = self.v4.tick(program, at, now, timeouts, pressed[0])?;
        Ok(v4 + self.v6.tick(program, at, now, timeouts, pressed[1])?)
    }
}

/// A family's round.
struct Round<F: Readable> {
    walk: Walk<F>,
    pace: Pace,
}

impl<F> Round<F>
where
    F: Readable,
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    fn open(pins: &Pins, capacity: u32) -> Result<Self> {
        Ok(Self { walk: Walk::open(pins)?, pace: Pace::new(2 * capacity) })
    }

    fn tick(
        &mut self,
        program: &SchedClassifier,
        at: Instant,
        now: u32,
        timeouts: &Timeouts,
        pressed: bool,
    ) -> Result<u32> {
        if !self.pace.due(at) {
            return Ok(0);
        }
        let (mut seen, mut more, mut suspects, mut ended) = (0, true, Vec::new(), Vec::new());
        while more && seen < PART && suspects.len() + ended.len() < MOST_SUSPECTS {
            more = self.walk.batch(|key, value| {
                seen += 1;
                if suspect(key, value, now, timeouts) {
                    suspects.push(*key);
                } else if pressed {
                    ended.extend(closed::<F>(key, value, now));
                }
            })?;
        }
        self.pace.looked(seen as u32, !more);
        Ok(remove::<F>(program, &suspects, why::IDLE)? + remove::<F>(program, &ended, why::RECLAIMED)?)
    }
}

/// Cuts the flows whose egress address is gone or that would not be translated any more; how many.
pub fn revoke(pins: &Pins, program: &SchedClassifier, desired: &Desired) -> Result<u32> {
    Ok(revoke_family::<V4>(pins, program, desired)? + revoke_family::<V6>(pins, program, desired)?)
}

fn revoke_family<F>(pins: &Pins, program: &SchedClassifier, desired: &Desired) -> Result<u32>
where
    F: Readable,
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    let mut gone = Vec::new();
    walk::<F>(pins, |key, value| {
        let kept = desired.egress.contains(&F::ip(value.nat_addr))
            && translates::<F>(&Wanted(desired), &key.saddr, &key.daddr);
        if key.dir == OUT && !kept {
            gone.push(*key);
        }
    })?;
    remove::<F>(program, &gone, why::REVOKED)
}

/// Policy read from the desired state instead of the maps.
struct Wanted<'a>(&'a Desired);

impl<F: Readable> Policy<F> for Wanted<'_> {
    fn no_snat(&self, addr: &F::Addr) -> bool {
        let addr = F::ip(*addr);
        self.0.no_snat.iter().any(|net: &IpNet| net.contains(&addr))
    }

    fn selected(&self, addr: &F::Addr) -> bool {
        self.0.selected.contains(&F::ip(*addr))
    }
}

fn remove<F>(program: &SchedClassifier, keys: &[FlowKey<F::Addr>], why: u8) -> Result<u32>
where
    F: Readable,
    FlowKey<F::Addr>: Pod,
{
    let mut removed = 0;
    for keys in keys.chunks(MAX_KEYS as usize) {
        removed += run_order(program, &order::<F>(keys, why))?;
    }
    Ok(removed)
}

/// The bytes of an order, see [`egress_common::abi::order`].
fn order<F>(keys: &[FlowKey<F::Addr>], why: u8) -> BytesMut
where
    F: Readable,
    FlowKey<F::Addr>: Pod,
{
    let mut bytes = BytesMut::with_capacity(HEAD as usize + size_of_val(keys));
    bytes.put_u8(u8::from(F::V6));
    bytes.put_u8(why);
    bytes.put_u8(u8::try_from(keys.len()).unwrap_or(u8::MAX));
    bytes.put_bytes(0, HEAD as usize - bytes.len());
    for key in keys {
        // SAFETY: a Pod without padding, read as the bytes it consists of.
        let raw =
            unsafe { std::slice::from_raw_parts(std::ptr::from_ref(key).cast::<u8>(), size_of::<FlowKey<F::Addr>>()) };
        bytes.put_slice(raw);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use egress_common::{
        abi::flow::{FlowKey4, Word},
        conntrack::state::State,
    };

    use super::*;

    fn key(proto: u8, dir: u8) -> FlowKey4 {
        FlowKey4 { saddr: [1; 4], daddr: [2; 4], sport: 1, dport: 2, proto, dir, zone: 0 }
    }

    fn half(seen: u8) -> FlowValue<V4> {
        FlowValue::new([3; 4], Word { seen, ..Word::default() }, 100)
    }

    /// Whichever timeout is the shortest: no half of a flow whose time has come is passed over.
    #[test]
    fn whose_time_has_come_is_suspected() {
        let mut all = [1000; 8];
        for n in 0..8 {
            all[n] = 20;
            let [tcp_opening, tcp_established, tcp_half_closed, tcp_closing, udp_unreplied, udp_replied, icmp, other] =
                all;
            let timeouts = Timeouts {
                tcp_opening,
                tcp_established,
                tcp_half_closed,
                tcp_closing,
                udp_unreplied,
                udp_replied,
                icmp,
                other,
            };
            for proto in [proto::TCP, proto::UDP, proto::ICMP, proto::SCTP] {
                for (out, back) in (0..16).flat_map(|out| (0..16).map(move |back| (out, back))) {
                    let idle = State::of(proto, out, back).timeout(proto, &timeouts);
                    for (dir, seen) in [(OUT, out), (IN, back)] {
                        let ends = suspect(&key(proto, dir), &half(seen), 100 + idle, &timeouts);
                        assert!(ends, "{proto} {out} {back} after {idle} seconds, {timeouts:?}");
                    }
                }
            }
            all[n] = 1000;
        }
    }
}
