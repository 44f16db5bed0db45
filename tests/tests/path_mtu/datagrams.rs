//! UDP sockets that want to know the path's MTU.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::Capture;
use egress_tests::lab::RealChecksums;
use egress_tests::traffic::{PATIENCE, path};
use egress_tests::{Family, Lab, eventually, skip};

use super::Narrow;
use crate::gateways::{self, Kind};
use crate::rig::PORT;
use crate::talk::{Talk, Way, message};
use crate::wire::ensure_clean;

/// IP and UDP headers.
const fn headers(family: Family) -> u32 {
    if matches!(family, Family::V4) { 28 } else { 48 }
}

/// Sends what fits the sender's own link until it hears that the path is narrower; then what just fits arrives, and one
/// byte more is refused at home.
fn discovers(lab: &Lab, narrow: Narrow, family: Family) -> Result<()> {
    let (pod, server) = (lab.client("pod1")?, narrow.server(lab));
    let talk = Talk::start(pod, 4000, server, PORT, family)?;
    let (way, host) = (narrow.way(), if narrow.way() == Way::Out { pod } else { server });
    let to = talk.ends(way)[1].0;
    let socket: &UdpSocket = talk.sender(way);
    path::discover_mtu(socket)?;
    let own = path::mtu(socket)?;
    ensure!(own > narrow.mtu(), "the way begins with {own}");
    let at_sender = Capture::start(&host.ns, "eth0")?;
    let long = message((own - headers(family)) as usize, 0);
    let known = || {
        // An earlier one's error is told here.
        let _ = socket.send(&long);
        Ok(path::mtu(socket)? == narrow.mtu())
    };
    eventually("the MTU is known", PATIENCE, known).with_context(|| format!("{:?}", path::mtu(socket)))?;
    narrow.ensure_told(&at_sender.stop()?, host, to)?;
    let fits = (narrow.mtu() - headers(family)) as usize;
    // The socket may have an error to tell still.
    let _ = socket.take_error()?;
    talk.pass(way, &message(fits, 1))?;
    let refused = socket.send(&message(fits + 1, 2)).err().and_then(|it| it.raw_os_error());
    ensure!(refused == Some(nix::libc::EMSGSIZE), "one byte too many: {refused:?}");
    // And the other way nothing has changed.
    talk.pass(way.back(), &message(1_200, 3))
}

#[test]
fn sockets_learn_the_mtu() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    for narrow in Narrow::ALL {
        for kind in Kind::BOTH {
            let lab = narrow.lab(RealChecksums::AT_RECEIVERS)?;
            let _gateway = kind.start(&lab)?;
            let outside = lab.capture_external()?;
            for family in Family::BOTH {
                // The kernel's gateway answers by another address.
                if kind == Kind::Agent || narrow != Narrow::Eth0 {
                    discovers(&lab, narrow, family).with_context(|| format!("{kind:?} {narrow:?} {family:?}"))?;
                }
            }
            if narrow != Narrow::Eth0 || kind == Kind::Agent {
                ensure_clean(&outside.stop()?, &[])?;
            }
        }
    }
    Ok(())
}
