//! The same packets on both sides of the gateway, and in `flows`.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::packet::proto;

use crate::rig::{Directions, Flow};
use crate::wire::passed;

/// One way of a conversation at one place.
#[derive(Debug, Clone, Copy)]
struct Way {
    protocol: u8,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

impl Way {
    fn back(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }

    fn find<'a>(&self, frames: &'a [Captured], direction: Direction) -> Vec<&'a Captured> {
        let wanted = |ip: &&egress_tests::packet::Ip| {
            (ip.protocol, ip.source, ip.destination) == (self.protocol, self.from.0, self.to.0)
                && ip.ports() == Some((self.from.1, self.to.1))
        };
        passed(frames, direction).filter(|(_, ip)| wanted(ip)).map(|(it, _)| it).collect()
    }
}

/// Packets and IP bytes.
fn volume(frames: &[&Captured]) -> (u64, u64) {
    let length = |it: &&Captured| match (it.gso, it.ip()) {
        (None, Some(ip)) => ip.length as u64,
        _ => it.packet().len() as u64,
    };
    (frames.len() as u64, frames.iter().map(length).sum())
}

fn ttls(frames: &[&Captured]) -> Vec<u8> {
    let mut ttls: Vec<u8> = frames.iter().filter_map(|it| it.ip()).map(|ip| ip.ttl).collect();
    ttls.sort_unstable();
    ttls
}

fn number(protocol: &str) -> u8 {
    match protocol {
        "tcp" => proto::TCP,
        "udp" => proto::UDP,
        "icmp" => proto::ICMP,
        _ => proto::ICMPV6,
    }
}

/// Each flow's packets, with its ports and identifiers, passed on both sides in both directions, each with a TTL lower by
/// one behind the gateway; and the flow's numbers are theirs.
pub(crate) fn ensure_flows_tell_what_passed(flows: &[Flow], inside: &[Captured], outside: &[Captured]) -> Result<()> {
    for flow in flows {
        let protocol = number(&flow.protocol);
        let remote = |own| (flow.remote, flow.remote_port.unwrap_or(own));
        let way = |address, port| Way { protocol, from: (address, port), to: remote(port) };
        let (within, without) = (way(flow.inside, flow.inside_port), way(flow.egress, flow.egress_port));
        let out = (within.find(inside, Direction::Out), without.find(outside, Direction::In));
        let back = (without.back().find(outside, Direction::Out), within.back().find(inside, Direction::In));
        let (sent, received) = (volume(&out.0), volume(&back.0));
        ensure!(sent.0 > 0 && received.0 > 0, "{flow:?}: {sent:?} and {received:?} were seen");
        ensure!(volume(&out.1) == sent, "{flow:?}: {sent:?} inside, {:?} outside", volume(&out.1));
        ensure!(volume(&back.1) == received, "{flow:?}: {received:?} outside, {:?} inside", volume(&back.1));
        let told = (flow.packets, flow.bytes);
        let seen = (Directions { out: sent.0, inward: received.0 }, Directions { out: sent.1, inward: received.1 });
        ensure!(told == seen, "{flow:?}: seen were {seen:?}");
        for (before, after) in [out, back] {
            let lowered: Vec<u8> = ttls(&before).iter().map(|ttl| ttl - 1).collect();
            ensure!(ttls(&after) == lowered, "{flow:?}: TTL {:?} became {:?}", ttls(&before), ttls(&after));
        }
    }
    Ok(())
}

/// What is not translated between these two keeps everything but one of its TTL.
pub(crate) fn ensure_ttl_lowered_once(
    own: IpAddr,
    remote: IpAddr,
    inside: &[Captured],
    outside: &[Captured],
) -> Result<()> {
    let find = |frames: &[Captured], direction, from: IpAddr, to: IpAddr| -> Vec<u8> {
        let ours = passed(frames, direction).filter(|(_, ip)| (ip.source, ip.destination) == (from, to));
        ttls(&ours.map(|(it, _)| it).collect::<Vec<_>>())
    };
    for (before, after) in [
        (find(inside, Direction::Out, own, remote), find(outside, Direction::In, own, remote)),
        (find(outside, Direction::Out, remote, own), find(inside, Direction::In, remote, own)),
    ] {
        let lowered: Vec<u8> = before.iter().map(|ttl| ttl - 1).collect();
        ensure!(!before.is_empty() && after == lowered, "{own} and {remote}: TTL {before:?} became {after:?}");
    }
    Ok(())
}
