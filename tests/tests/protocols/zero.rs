//! IPv4 UDP without a checksum (RFC 768): it has none behind the gateway either.

use anyhow::{Context, Result, ensure};
use egress_tests::capture::Direction;
use egress_tests::packet::checksum::Verdict;
use egress_tests::packet::{build, proto};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{NEEDS, PORT};
use crate::wire::{agent, ensure_clean, header, holds, into_eth0, into_net1};

#[test]
fn udp_checksum_zero_stays_zero() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    for mode in ["peer", "neigh", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
        let (pod, server) = (lab.client("pod1")?.addr(Family::V4), lab.server.addr(Family::V4));
        let bare = |from, to, text: &[u8]| {
            let mut datagram = build::udp(from, to, text);
            datagram[6..8].fill(0);
            header(from.0, to.0, proto::UDP).packet(&datagram)
        };
        into_eth0(&lab, &bare((pod, 4000), (server, PORT), b"no sum, out"))?;
        let out = outside.wait_for(PATIENCE, |it| it.direction == Direction::In && holds(it, b"no sum, out"))?;
        let (egress, port) = out.ip().and_then(|ip| Some((ip.source, ip.ports()?.0))).context("not UDP")?;
        ensure!(egress == lab.gateway.addr(Family::V4) && out.bytes[40..42] == [0, 0], "{out:?}");
        into_net1(&lab, &bare((server, PORT), (egress, port), b"no sum, back"))?;
        let back = inside.wait_for(PATIENCE, |it| it.direction == Direction::In && holds(it, b"no sum, back"))?;
        let ip = back.ip().context("not IP")?;
        ensure!((ip.destination, ip.ports()) == (pod, Some((PORT, 4000))), "{back:?}");
        for frame in [&out, &back] {
            let checksums = frame.checksums().context("not IP")?;
            ensure!(checksums.transport == Verdict::Absent && checksums.header == Verdict::Right, "{checksums}");
        }
        // A second one with a checksum proves that the tap would have noticed.
        into_eth0(&lab, &crate::wire::udp((pod, 4000), (server, PORT), b"with a sum"))?;
        outside.wait_for(PATIENCE, |it| it.direction == Direction::In && holds(it, b"with a sum"))?;
        ensure_clean(&outside.stop()?, &[])?;
    }
    Ok(())
}
