//! IPv4 options, IPv6 extension headers and atomic fragments pass as they are, with the packet behind them translated.

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::packet::build::Header;
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{NEEDS, PORT, stat};
use crate::talk::{Talk, Way};
use crate::wire::{agent, drops, ensure_clean, holds};

/// What may stand between the IP header and the datagram.
fn between(family: Family) -> Vec<(&'static str, Header)> {
    let address = std::net::IpAddr::from([0, 0, 0, 0]);
    let plain = || Header::new(address, address, 0);
    let options = |bytes: &[u8]| Header { options: bytes.to_vec(), ..plain() };
    let chain = |extensions: Vec<(u8, Vec<u8>)>| Header { extensions, ..plain() };
    let padding = || vec![0, 0, 1, 4, 0, 0, 0, 0];
    // Of 24 bytes, of an unknown type, with an option that says "skip me".
    let long = || [&[0, 2, 0x1e, 0x10][..], &[7; 16], &[1, 2, 0, 0]].concat();
    match family {
        Family::V4 => vec![
            ("no operation", options(&[1, 1, 1, 0])),
            ("router alert", options(&[148, 4, 0, 0])),
            ("security", options(&[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            ("forty bytes", options(&[[30, 38].as_slice(), &[9; 36], &[1, 0]].concat())),
        ],
        Family::V6 => vec![
            ("hop-by-hop options", chain(vec![(0, padding())])),
            ("destination options", chain(vec![(60, long())])),
            ("a routing header at its end", chain(vec![(43, vec![0, 0, 253, 0, 0, 0, 0, 0])])),
            (
                "a chain",
                chain(vec![(0, padding()), (60, long()), (43, vec![0, 0, 253, 0, 0, 0, 0, 0]), (60, padding())]),
            ),
            ("eight headers", chain([vec![(0, padding())], vec![(60, padding()); 7]].concat())),
            ("an atomic fragment", Header { fragment: Some((0, false)), ..plain() }),
            (
                "an atomic fragment in a chain",
                Header { fragment: Some((0, false)), ..chain(vec![(0, padding()), (60, padding())]) },
            ),
        ],
    }
}

#[test]
fn what_stands_between_is_not_touched() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    for mode in ["peer", "neigh", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
        for family in Family::BOTH {
            for (number, (name, odd)) in between(family).into_iter().enumerate() {
                let talk = Talk::start(lab.client("pod1")?, 4000 + number as u16, &lab.server, PORT, family)?;
                for way in Way::BOTH {
                    let what = format!("{mode} {family:?} {way:?} {name}");
                    let (plain, datagram) = talk.parts(way, what.as_bytes());
                    let head = Header {
                        source: plain.source,
                        destination: plain.destination,
                        protocol: plain.protocol,
                        ttl: plain.ttl,
                        id: 0xbeef,
                        ..odd.clone()
                    };
                    let sent = head.packet(&datagram);
                    way.put(&lab, &sent)?;
                    let tap = if way == Way::Out { &outside } else { &inside };
                    let is_out = |it: &Captured| it.direction == Direction::In && holds(it, what.as_bytes());
                    let frame = tap.wait_for(PATIENCE, is_out).with_context(|| what.clone())?;
                    let ip = frame.ip().context("not IP")?;
                    let start = if family == Family::V4 { 20 } else { 40 };
                    let same = sent.get(start..ip.l4_offset) == frame.packet().get(start..ip.l4_offset);
                    ensure!(same && ip.length == sent.len() && ip.ttl == 62, "{what}: {:02x?}", frame.packet());
                    // A socket takes what has nothing left to steer.
                    talk.comes(way, what.as_bytes()).with_context(|| what.clone())?;
                }
            }
        }
        ensure!(drops(&lab)?.is_empty() && stat(&lab, "counters/fragments_held")? == 0, "{:?}", drops(&lab)?);
        ensure_clean(&outside.stop()?, &[])?;
    }
    Ok(())
}
