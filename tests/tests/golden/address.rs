//! Protocols without ports: only the address changes, and what cannot bear that is dropped.

use anyhow::{Result, ensure};
use egress_tests::packet::proto;
use egress_tests::{Family, LabConfig};

use super::bench::{Mode, TTL, Way};
use super::shape::{Ends, bare};
use super::talk::Talk;
use super::{every, on_a_bench, on_a_lab};

/// IGMP, IPIP, EGP, IPv6, GRE, ESP, EIGRP, L2TP, an experiment.
const CARRIED: [u8; 9] = [2, 4, 8, 41, proto::GRE, proto::ESP, 88, 115, 253];

#[test]
fn addresses_are_translated() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Neigh, Mode::Stack], |bench, family| {
        let more: &[u8] = if family == Family::V4 { &[59, 89, 103, 135, 139, 140] } else { &[] };
        every(CARRIED.iter().chain(more), |protocol| {
            let mut talk = Talk::portless(bench, family)?;
            let shape = bare(*protocol);
            talk.out(&shape)?;
            talk.back(&shape)?;
            let short = bare(*protocol).named("one byte").changed(|it| it.truncate(1));
            talk.out(&short)?;
            talk.back(&short)
        })
    })
}

/// A checksum or an integrity value covers the addresses, or the protocol makes no sense behind a router.
#[test]
fn what_covers_its_addresses_is_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let numbers: &[u8] = match family {
            Family::V4 => &[51, 112, proto::ICMPV6],
            Family::V6 => &[51, 112, proto::ICMP, 59, 89, 103, 135, 139, 140],
        };
        let talk = Talk::portless(bench, family)?;
        every(numbers, |number| {
            let shape = bare(*number).changed(|it| it.resize(40, 0));
            talk.dropped(Way::Out, &shape, "protocol")
        })
    })
}

/// There is nothing but the remote to tell two hosts apart.
#[test]
fn one_host_per_remote_and_egress_address() -> Result<()> {
    let second = ["172.17.0.12/16", "fd00:172:17::12/64"];
    for extra in [0, 2] {
        let config = second[..extra].iter().try_fold(LabConfig::default(), |config, address| {
            Ok::<_, anyhow::Error>(config.egress(address.parse()?))
        })?;
        on_a_lab(config, &[Mode::Peer], |bench, family| {
            let (gre, server) = (bare(proto::GRE), (bench.lab.far.addr(family), 0));
            let pods = [bench.pod(family)?, bench.pod2(family)?];
            let [mut first, mut second] = pods.map(|pod| Talk::between(bench, (pod, 0), server));
            first.out(&gre)?;
            if extra == 0 {
                second.dropped(Way::Out, &gre, "ports_exhausted")?;
            } else {
                second.out(&gre)?;
                second.back(&gre)?;
                ensure!(first.outside()? != second.outside()?, "one address for two");
                let stranger = "10.17.0.200".parse()?;
                if family == Family::V4 {
                    Talk::between(bench, (stranger, 0), server).dropped(Way::Out, &gre, "ports_exhausted")?;
                }
            }
            first.back(&gre)?;
            // Another protocol is another flow.
            let mut esp = Talk::between(bench, (pods[1], 0), server);
            esp.out(&bare(proto::ESP))?;
            esp.back(&bare(proto::ESP))
        })?;
    }
    Ok(())
}

#[test]
fn nobody_gets_in_without_a_flow() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let (server, own) = ((bench.lab.far.addr(family), 0), (bench.lab.gateway.addr(family), 0));
        every(CARRIED, |protocol| {
            let packet = bare(protocol).packet(Ends { from: server, to: own }, TTL);
            bench.ensure_dropped(Way::In, &packet, "no_mapping")
        })
    })
}
