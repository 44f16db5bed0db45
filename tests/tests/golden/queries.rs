//! ICMP queries: identifier, address, checksum. Each kind of query is a flow of its own.

use anyhow::{Result, ensure};
use egress_tests::packet::build;

use super::bench::{Mode, TTL, Way};
use super::shape::{echo, icmp_of, query};
use super::talk::Talk;
use super::{every, on_a_bench};

/// Requests with their replies, and what stands behind identifier and sequence.
const V4: [(u8, u8, &[u8]); 4] =
    [(8, 0, b"ping"), (13, 14, &[1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]), (15, 16, b""), (17, 18, &[0; 4])];

#[test]
fn queries_are_translated() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Neigh, Mode::Stack], |bench, family| {
        let v4 = bench.pod(family)?.is_ipv4();
        let kinds = if v4 { V4.to_vec() } else { vec![(128, 129, &b"ping"[..])] };
        every(kinds, |(request, reply, payload)| {
            let mut talk = Talk::new(bench, family, 78, 0)?;
            talk.out(&query(request, false, payload))?;
            talk.back(&query(reply, true, payload))?;
            talk.out(&query(request, false, payload))
        })
    })
}

/// One identifier for several kinds of queries: an answer finds its own question only.
#[test]
fn kinds_of_queries_do_not_share_a_flow() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        if !bench.pod(family)?.is_ipv4() {
            return Ok(());
        }
        let mut talk = Talk::new(bench, family, 0xffff, 0)?;
        talk.out(&query(13, false, &[0; 12]))?;
        let outside = talk.outside()?;
        for (reply, payload) in [(16, &b""[..]), (18, &[0; 4])] {
            let packet = query(reply, true, payload).packet(outside.back(), TTL);
            bench.ensure_dropped(Way::In, &packet, "icmp_type")?;
        }
        talk.back(&query(14, true, &[0; 12]))
    })
}

/// Types that ask for nothing that could be answered through a translation.
#[test]
fn other_messages_are_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let talk = Talk::new(bench, family, 79, 0)?;
        let v4 = bench.pod(family)?.is_ipv4();
        let kinds: &[u8] = if v4 {
            &[0, 1, 2, 6, 7, 9, 10, 14, 16, 18, 19, 30, 37, 40, 41, 42, 43, 253, 254, 255]
        } else {
            &[0, 5, 100, 101, 127, 129, 138, 139, 140, 141, 144, 151, 155, 160, 200, 255]
        };
        every(kinds, |kind| {
            let shape = super::shape::Shape::new(&format!("ICMP type {kind}"), icmp_of(talk.inside), move |it| {
                build::icmp(it.from.0, it.to.0, *kind, 0, [0, 79, 0, 1], b"1234567890ab")
            });
            talk.dropped(Way::Out, &shape, "icmp_type")
        })
    })
}

/// The identifier of an echo is the Pod's own; two Pods may have the same.
#[test]
fn equal_identifiers_are_told_apart() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let server = (bench.lab.far.addr(family), 0);
        let (request, reply) = echo(server.0.is_ipv4());
        let pods = [bench.pod(family)?, bench.pod2(family)?];
        let mut talks = pods.map(|pod| Talk::between(bench, (pod, 4711), server));
        talks.iter_mut().try_for_each(|it| it.out(&request))?;
        ensure!(talks[0].outside()? != talks[1].outside()?, "one identifier for two");
        talks.iter().try_for_each(|it| it.back(&reply))
    })
}
