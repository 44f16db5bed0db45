//! Fragments that are dropped by name (RFC 1858, RFC 3128, RFC 5722, RFC 8200 §4.5).

use anyhow::Result;
use egress_tests::Family;

use super::bench::{Mode, TTL, Way};
use super::fragments::{cut, pattern};
use super::shape::{Ends, echo, sctp, syn, tcp, udp, udp_with};
use super::talk::Talk;
use super::{every, on_a_bench};

#[test]
fn tiny_first_fragments_are_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let by_tcp = Talk::begun(bench, family, (6400, 443), &syn())?;
        let by_udp = Talk::begun(bench, family, (6400, 443), &udp())?;
        let by_echo = Talk::begun(bench, family, (6400, 0), &echo(family == Family::V4).0)?;
        let long = tcp("TCP", 0x10, &pattern(80));
        let mut rows = vec![];
        rows.extend([8, 16].map(|end| (&by_tcp, long.piece(7, 0..end, true))));
        rows.push((&by_udp, udp().piece(7, 0..0, true)));
        rows.push((&by_echo, echo(family == Family::V4).0.piece(7, 0..0, true)));
        every(rows, |(talk, shape)| talk.dropped(Way::Out, &shape, "fragment"))?;
        every([8, 16], |end| by_tcp.dropped(Way::In, &long.piece(7, 0..end, true), "fragment"))
    })
}

/// A fragment that could write over the flags of the first.
#[test]
fn tcp_at_offset_8_is_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let mut talk = Talk::begun(bench, family, (6401, 443), &syn())?;
        let long = tcp("TCP", 0x10, &pattern(80));
        every(Way::BOTH, |way| talk.dropped(way, &long.piece(8, 8..100, false), "fragment"))?;
        for way in Way::BOTH {
            talk.go(way, &long.piece(8, 0..24, true))?;
            talk.dropped(way, &long.piece(8, 8..32, true), "fragment")?;
        }
        Ok(())
    })
}

/// Whose is it, if two say it is theirs?
#[test]
fn another_first_fragment_with_other_ports_is_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let shape = udp_with(&pattern(92));
        let server = (bench.lab.far.addr(family), 443);
        let pod = bench.pod(family)?;
        let mut talk = Talk::between(bench, (pod, 6402), server);
        let pieces = cut(&shape, 21, 100, &[48]);
        talk.out(&pieces[0])?;
        let other = pieces[0].packet(Ends { from: (pod, 6403), to: server }, TTL);
        bench.ensure_dropped(Way::Out, &other, "fragment")?;
        // The same one again is a duplicate.
        talk.out(&pieces[0])?;
        Ok(())
    })
}

#[test]
fn more_than_a_datagram_holds_is_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let shape = udp_with(&pattern(8000));
        let mut talk = Talk::begun(bench, family, (6404, 443), &udp())?;
        talk.out(&shape.piece(22, 0..1368, true))?;
        let again = shape.piece(22, 1368..2736, true);
        // 48 times 1368 is 65,664.
        for _ in 0..46 {
            talk.out(&again)?;
        }
        talk.dropped(Way::Out, &again, "fragment")
    })
}

#[test]
fn beyond_the_end_of_a_datagram_is_malformed() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let talk = Talk::begun(bench, family, (6405, 443), &udp())?;
        let shape = udp_with(&pattern(66_000)).named("beyond 65535");
        every(Way::BOTH, |way| {
            every([65_528..65_552, 65_528..65_536, 65_000..66_000], |bytes| {
                talk.dropped(way, &shape.piece(23, bytes, false), "malformed")
            })
        })
    })
}

/// A CRC over the whole datagram cannot be corrected in one piece of it.
#[test]
fn fragments_of_a_moved_sctp_port_are_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let server = (bench.lab.far.addr(family), 38415);
        let [mut first, mut second] =
            [bench.pod(family)?, bench.pod2(family)?].map(|pod| Talk::between(bench, (pod, 5000), server));
        first.out(&sctp())?;
        second.out(&sctp())?;
        let pieces = cut(&sctp().changed(|it| it.resize(100, 5)), 25, 100, &[48]);
        for way in Way::BOTH {
            pieces.iter().try_for_each(|it| first.go(way, it))?;
            second.dropped(way, &pieces[0], "fragment")?;
        }
        Ok(())
    })
}

/// RFC 8200 §4.5: all but the last are a multiple of 8 long.
#[test]
fn odd_middle_fragments_are_dropped_or_carried_as_they_are() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let mut talk = Talk::begun(bench, family, (6406, 443), &udp())?;
        let shape = udp_with(&pattern(92));
        let odd = shape.piece(24, 0..49, true);
        // The receiver refuses it in any case.
        talk.dropped(Way::Out, &odd, "malformed").or_else(|_| talk.out(&odd))
    })
}
