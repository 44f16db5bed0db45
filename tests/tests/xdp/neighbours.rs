//! What stands at the other end of a cable, and what an interface is.

use anyhow::{Result, ensure};
use egress_common::abi::config::flags::{XDP_IN, XDP_OUT};
use egress_tests::gateway::Agent;
use egress_tests::lab::{Net1, RealChecksums, names};
use egress_tests::system::switch_gro;
use egress_tests::{Family, Lab, LabConfig, skip};

use super::{attached, options, sends, share, take_frames};
use crate::lab::exchange_all;
use crate::load::Load;
use crate::rig::{NEEDS, complaints};
use crate::wire::drops;

/// Without NAPI at its peer a veth loses what XDP sends into it, silently: then TC sends, and XDP again when it has it.
#[test]
fn napi_comes_and_goes() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    let agent = Agent::start(&lab, options(&lab)?)?;
    ensure!(attached(&lab)?.iter().all(|id| *id != 0), "{:?}", attached(&lab)?);
    sends(&lab, 0)?;
    ensure!(agent.stderr().contains("ethtool -K PEER gro on"), "{}", agent.stderr());
    let load = Load::start(&lab, &Family::BOTH)?;
    load.advance()?;
    ensure!(share(&lab)?.0 == 0, "{:?}", share(&lab)?);
    switch_gro(&lab.node, names::EXTERNAL_PORT, true)?;
    sends(&lab, XDP_OUT)?;
    load.advance()?;
    take_frames(&lab, true)?;
    sends(&lab, XDP_OUT | XDP_IN)?;
    let before = share(&lab)?;
    load.advance()?;
    let now = share(&lab)?;
    ensure!((now.0 - before.0) * 2 > now.1 - before.1, "{before:?} {now:?}");
    println!("{:?}", load.finish()?);
    // The kernel loses what is on its way into a veth when its NAPI ends, so nothing is on its way.
    take_frames(&lab, false)?;
    sends(&lab, 0)?;
    let before = share(&lab)?.0;
    for family in Family::BOTH {
        exchange_all(lab.client("pod1")?, &lab.far, family)?;
    }
    ensure!(share(&lab)?.0 == before && drops(&lab)?.is_empty(), "{before} {:?} {:?}", share(&lab)?, drops(&lab)?);
    Ok(())
}

/// A macvlan has no native XDP: TC alone is there, and XDP on the other side sends into it if it takes frames.
#[test]
fn beside_a_macvlan() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().net1(Net1::Macvlan).checksums(RealChecksums::EVERYWHERE))?;
    take_frames(&lab, true)?;
    let agent = Agent::start(&lab, options(&lab)?)?;
    let [eth0, net1] = attached(&lab)?;
    ensure!(eth0 != 0 && net1 == 0, "{eth0} {net1}");
    ensure!(agent.stderr().contains("only TC runs on net1: its driver has no native XDP"), "{}", agent.stderr());
    let load = Load::start(&lab, &Family::BOTH)?;
    load.advance()?;
    println!("{:?}, {:?} by XDP", load.finish()?, share(&lab)?);
    ensure!(drops(&lab)?.is_empty() && complaints(&lab)?.is_empty(), "{:?} {:?}", drops(&lab)?, complaints(&lab)?);
    Ok(())
}
