//! Flows as the kernel's connection tracking has them, and ours as it wants them.

use std::{collections::BTreeSet, net::IpAddr};

use egress_common::{
    abi::{
        config::Timeouts,
        family::{Addr6, V4, V6},
        flow::{FlowKey, OUT, seen},
        order::{Carried, Wide},
    },
    conntrack::state::State,
    packet::header::proto,
};

use super::{flows::Readable, import::Flows};
use crate::net::netfilter::conntrack::{Tracked, Tuple, status, tcp};

/// Type of an echo request.
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;

/// Connections that the kernel translates to one of the addresses `egress`, as flows; those of the gateway itself, which has
/// the addresses `own`, stay the kernel's. The other number is that of connections translated to other addresses, or at
/// their destination.
pub fn carried(
    all: &[Tracked],
    egress: &[IpAddr],
    own: &BTreeSet<IpAddr>,
    now: u32,
    timeouts: &Timeouts,
) -> (Flows, u32) {
    let (mut flows, mut others) = (Flows::default(), 0);
    for it in all {
        if !translated(it, own) {
            continue;
        }
        if it.reply.src != it.orig.dst || !egress.contains(&it.reply.dst) {
            others += 1;
            continue;
        }
        match (it.orig.src, it.orig.dst, it.reply.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst), IpAddr::V4(egress)) => {
                flows.v4.push(flow(it, [src.octets(), dst.octets(), egress.octets()], now, timeouts));
            }
            (IpAddr::V6(src), IpAddr::V6(dst), IpAddr::V6(egress)) => {
                flows.v6.push(flow(it, [src, dst, egress].map(Addr6::from), now, timeouts));
            }
            _ => others += 1,
        }
    }
    flows.v4.sort_by_key(ended::<V4>);
    flows.v6.sort_by_key(ended::<V6>);
    (flows, others)
}

/// What lives comes first: the table may not have room for all.
fn ended<F: Readable>(flow: &Carried<F>) -> bool {
    State::of(flow.key.proto, flow.seen[0], flow.seen[1]) == State::Closed
}

/// Whether the kernel gives a connection another source that is not one of the gateway itself.
pub fn translated(it: &Tracked, own: &BTreeSet<IpAddr>) -> bool {
    it.reply.dst != it.orig.src && !own.contains(&it.orig.src)
}

fn flow<F: Readable>(
    it: &Tracked,
    [saddr, daddr, nat_addr]: [F::Addr; 3],
    now: u32,
    timeouts: &Timeouts,
) -> Carried<F> {
    let Tuple { proto, sport, dport, icmp, .. } = it.orig;
    let echo = matches!((proto, icmp), (proto::ICMP, ECHO) | (proto::ICMPV6, ECHO_V6));
    let (sport, dport, port) = match proto {
        proto::ICMP | proto::ICMPV6 => (sport, if echo { 0 } else { icmp.into() }, it.reply.dport),
        proto::TCP | proto::UDP | proto::SCTP | proto::DCCP | proto::UDP_LITE => (sport, dport, it.reply.dport),
        _ => (0, 0, 0),
    };
    let seen = showed(it);
    let ours = State::of(proto, seen[0], seen[1]).timeout(proto, timeouts);
    // It has as long to live as it had, but not longer than here.
    let last_seen = now.saturating_sub(ours.saturating_sub(it.timeout));
    Carried {
        key: FlowKey { saddr, daddr, sport, dport, proto, dir: OUT, zone: 0 },
        nat_addr,
        port,
        seen,
        // Nobody says since when it has had its port; not before now is what is known.
        created: now,
        last_seen: [last_seen; 2],
        packets: it.packets.map(Wide::from),
        bytes: it.bytes.map(Wide::from),
    }
}

/// What both sides must have shown.
const fn showed(it: &Tracked) -> [u8; 2] {
    use seen::{ACK, FIN, RST, SYN};
    match it.tcp {
        None => [ACK, if it.status & status::SEEN_REPLY != 0 { ACK } else { 0 }],
        Some(tcp::SYN_SENT) => [SYN, 0],
        Some(tcp::SYN_RECV) => [SYN, SYN | ACK],
        Some(tcp::SYN_SENT2) => [SYN, SYN],
        Some(tcp::FIN_WAIT | tcp::CLOSE_WAIT) => [SYN | ACK | FIN, SYN | ACK],
        Some(tcp::LAST_ACK | tcp::TIME_WAIT) => [SYN | ACK | FIN, SYN | ACK | FIN],
        Some(tcp::CLOSE) => [SYN | ACK | RST, SYN | ACK],
        Some(_) => [SYN | ACK, SYN | ACK],
    }
}

/// Our flows as connections for the kernel to go on with, and how many of them it cannot have: it holds SCTP and DCCP to what
/// their first packets said, which nobody here remembers.
pub fn tracked(flows: &Flows, now: u32, timeouts: &Timeouts) -> (Vec<Tracked>, u32) {
    let all = flows.v4.iter().map(|it| connection::<V4>(it, now, timeouts));
    let all = all.chain(flows.v6.iter().map(|it| connection::<V6>(it, now, timeouts)));
    let (mut tracked, mut others) = (Vec::new(), 0);
    for one in all {
        match one {
            Some(one) => tracked.push(one),
            None => others += 1,
        }
    }
    (tracked, others)
}

fn connection<F: Readable>(flow: &Carried<F>, now: u32, timeouts: &Timeouts) -> Option<Tracked> {
    let FlowKey { saddr, daddr, sport, dport, proto, .. } = flow.key;
    if matches!(proto, proto::SCTP | proto::DCCP) {
        return None;
    }
    let (src, dst, egress) = (F::ip(saddr), F::ip(daddr), F::ip(flow.nat_addr));
    let icmp = match (proto, u8::try_from(dport).unwrap_or(0)) {
        (proto::ICMP, 0) => ECHO,
        (proto::ICMPV6, 0) => ECHO_V6,
        (proto::ICMP | proto::ICMPV6, kind) => kind,
        _ => 0,
    };
    let dport = if icmp == 0 { dport } else { 0 };
    let state = State::of(proto, flow.seen[0], flow.seen[1]);
    let idle = now.saturating_sub(flow.last_seen[0].max(flow.last_seen[1]));
    let mut status = status::CONFIRMED;
    if flow.seen[1] != 0 {
        status |= status::SEEN_REPLY | if state == State::Opening { 0 } else { status::ASSURED };
    }
    let tcp = match state {
        State::Opening if flow.seen[1] == 0 => Some(tcp::SYN_SENT),
        State::Opening => Some(tcp::SYN_RECV),
        State::Established => Some(tcp::ESTABLISHED),
        State::Closing => Some(tcp::CLOSE_WAIT),
        State::Closed => Some(tcp::TIME_WAIT),
        State::Unreplied | State::Replied => None,
    };
    Some(Tracked {
        orig: Tuple { src, dst, proto, sport, dport, icmp },
        reply: Tuple { src: dst, dst: egress, proto, sport: dport, dport: flow.port, icmp },
        status,
        timeout: state.timeout(proto, timeouts).saturating_sub(idle).max(1),
        tcp,
        packets: [0; 2],
        bytes: [0; 2],
    })
}

#[cfg(test)]
mod tests;
