//! What a router must not pass on, whatever flow it belongs to.

use anyhow::Result;
use egress_tests::Family;
use egress_tests::packet::proto;

use super::bench::{Mode, Way};
use super::errors::Error;
use super::errors_in::on_the_way;
use super::shape::{bare, data, syn, udp};
use super::talk::Talk;
use super::{every, on_a_bench};

/// RFC 1812 §5.2.2: a header that was damaged, with and without options, of a plain packet and of one that is not.
#[test]
fn ipv4_headers_with_a_wrong_checksum() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        if family == Family::V6 {
            return Ok(());
        }
        let by_udp = Talk::begun(bench, family, (4700, 443), &udp())?;
        let by_gre = Talk::begun(bench, family, (0, 0), &bare(proto::GRE))?;
        let optional = udp().headed(|it| it.options = vec![1, 1, 1, 0]);
        for (talk, shape, odd) in [(&by_udp, udp(), 0), (&by_udp, optional, 22), (&by_gre, bare(proto::GRE), 0)] {
            for way in [Way::Out, Way::In] {
                for ttl in [64, 1] {
                    let mut packet = talk.arriving(way, &shape, ttl)?;
                    packet[10] ^= 0x55;
                    bench.ensure_dropped(way, &packet, "malformed")?;
                    if odd != 0 {
                        let mut packet = talk.arriving(way, &shape, ttl)?;
                        packet[odd] ^= 0x01;
                        bench.ensure_dropped(way, &packet, "malformed")?;
                    }
                }
            }
        }
        Ok(())
    })
}

/// A redirect names a router on its sender's link (RFC 792): outside that would be an inside address, inside it means nothing.
#[test]
fn redirects() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        if family == Family::V6 {
            return Ok(());
        }
        let talk = Talk::begun(bench, family, (4701, 443), &syn())?;
        let (pod, router) = (bench.pod(family)?, on_the_way(family)?);
        every([Way::Out, Way::In], |way| {
            every(0..=3, |code| {
                let redirect = Error::new(5, code, &data()).rest([10, 17, 0, 1]);
                talk.error_dropped(way, if way == Way::Out { pod } else { router }, &redirect, "icmp_error")
            })
        })
    })
}

/// What has no ports is known by the quoted IP header alone.
#[test]
fn but_not_errors_about_short_packets_without_ports() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let router = on_the_way(family)?;
        every([0, 4, 7], |length| {
            let short = bare(253).changed(move |it| it.truncate(length));
            let talk = Talk::begun(bench, family, (0, 0), &short)?;
            talk.error(Way::In, router, &Error::unreachable(family == Family::V4, &short))
        })
    })
}
