//! A whole connection, each step's output the next one's input.

use anyhow::{Context, Result, ensure};
use egress_tests::Family;

use super::bench::{Mode, Way};
use super::errors::Error;
use super::on_a_bench;
use super::shape::{data, syn, tcp, udp};
use super::talk::Talk;
use crate::rig::{Flow, flows};

fn flow(bench: &super::bench::Bench<'_>, talk: &Talk<'_, '_>, protocol: &str) -> Result<Flow> {
    let (address, port) = talk.inside.from;
    let found = flows(bench.lab)?.into_iter();
    let mut found = found.filter(|it| (it.inside, it.inside_port, &*it.protocol) == (address, port, protocol));
    found.next().context("no flow")
}

#[test]
fn a_connection_from_syn_to_its_last_fin() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Neigh, Mode::Stack], |bench, family| {
        let mut talk = Talk::new(bench, family, 4700, 443)?;
        let ack = tcp("TCP ACK", 0x10, b"");
        let fin = tcp("TCP FIN", 0x11, b"");
        talk.out(&syn())?;
        talk.back(&tcp("TCP SYN ACK", 0x12, b""))?;
        talk.out(&ack)?;
        talk.out(&data())?;
        talk.back(&data())?;
        ensure!(flow(bench, &talk, "tcp")?.state == "established");
        talk.out(&fin)?;
        ensure!(flow(bench, &talk, "tcp")?.state == "closing");
        talk.back(&data())?;
        talk.back(&fin)?;
        talk.out(&ack)?;
        let flow = flow(bench, &talk, "tcp")?;
        ensure!(flow.state == "closed" && (flow.packets.out, flow.packets.inward) == (5, 4), "{flow:?}");
        Ok(())
    })
}

/// Errors about a connection are passed on, but are no part of it (RFC 5508 REQ-3 and 5, RFC 5927).
#[test]
fn errors_leave_the_flow_as_it_is() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Stack], |bench, family| {
        let router = bench.lab.router.addr(family);
        let v4 = family == Family::V4;
        let big = if v4 { Error::new(3, 4, &data()) } else { Error::new(2, 0, &data()) };
        let mut talk = Talk::begun(bench, family, (4701, 443), &syn())?;
        talk.back(&tcp("TCP SYN ACK", 0x12, b""))?;
        talk.out(&data())?;
        let before = flow(bench, &talk, "tcp")?;
        talk.error(Way::In, router, &big.rest([0, 0, 5, 0]))?;
        talk.error(Way::In, router, &Error::unreachable(v4, &data()))?;
        talk.error(Way::Out, talk.inside.from.0, &Error::unreachable(v4, &data()))?;
        let after = flow(bench, &talk, "tcp")?;
        ensure!(
            (&after.packets, &after.bytes, &after.state) == (&before.packets, &before.bytes, &before.state),
            "{after:?}"
        );
        talk.out(&data())?;
        // After the end, too: the reply may still be on its way.
        talk.out(&tcp("TCP RST", 4, b""))?;
        talk.error(Way::In, router, &Error::unreachable(v4, &data()))
    })
}

/// One packet out, an error back, and no answer: the flow stays unanswered.
#[test]
fn an_error_is_no_reply() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let talk = Talk::begun(bench, family, (4702, 53), &udp())?;
        talk.error(Way::In, bench.lab.far.addr(family), &Error::unreachable(family == Family::V4, &udp()))?;
        let flow = flow(bench, &talk, "udp")?;
        ensure!(flow.state == "unreplied" && flow.packets.inward == 0, "{flow:?}");
        Ok(())
    })
}
