//! What stands at the other end of a cable, and what an interface is.

use anyhow::{Context, Result, ensure};
use egress_common::abi::config::flags::{XDP_IN, XDP_OUT};
use egress_tests::gateway::Agent;
use egress_tests::lab::{Net1, RealChecksums, names};
use egress_tests::system::name::InstanceName;
use egress_tests::system::{process, switch_gro};
use egress_tests::{Family, Lab, LabConfig, Need, eventually, skip};

use super::{attached, options, sends, share, take_frames, told};
use crate::lab::exchange_all;
use crate::load::Load;
use crate::rig::{FOLLOW, NEEDS, complaints};
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
    let told = told(&lab, "XDP net1")?;
    ensure!(told.contains("runs; on a veth it costs") && told.contains("TC sends: net1 takes no frames"), "{told}");
    let load = Load::start(&lab, &Family::BOTH)?;
    load.advance()?;
    ensure!(share(&lab)?.0 == 0, "{:?}", share(&lab)?);
    switch_gro(&lab.node, names::EXTERNAL_PORT, true)?;
    sends(&lab, XDP_OUT)?;
    let before = share(&lab)?.0;
    load.advance()?;
    ensure!(share(&lab)?.0 > before, "one way: {before} {:?}", share(&lab)?);
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
    let told = told(&lab, "XDP net1")?;
    ensure!(told.contains("does not run, TC does all: its driver has no native XDP"), "{told}");
    ensure!(agent.stderr().contains("only TC runs on net1: its driver has no native XDP"), "{}", agent.stderr());
    let load = Load::start(&lab, &Family::BOTH)?;
    load.advance()?;
    println!("{:?}, {:?} by XDP", load.finish()?, share(&lab)?);
    ensure!(drops(&lab)?.is_empty() && complaints(&lab)?.is_empty(), "{:?} {:?}", drops(&lab)?, complaints(&lab)?);
    Ok(())
}

/// Somebody else's program stays, and TC does the work there.
#[test]
fn beside_a_foreign_program() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("bpftool")]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    take_frames(&lab, true)?;
    let pin = Foreign::load()?;
    lab.gateway.ns.sh(&format!("bpftool net attach xdpdrv pinned {} dev net1", pin.0.display()))?;
    let foreign = attached(&lab)?[1];
    ensure!(foreign != 0, "not attached");
    let agent = Agent::start(&lab, options(&lab)?)?;
    let [eth0, net1] = attached(&lab)?;
    ensure!(eth0 != 0 && net1 == foreign, "{eth0} {net1}, not {foreign}");
    let line = format!("only TC runs on net1: it has another XDP program, id {foreign}, which stays");
    ensure!(agent.stderr().contains(&line), "{}", agent.stderr());
    sends(&lab, XDP_OUT | XDP_IN)?;
    for family in Family::BOTH {
        exchange_all(lab.client("pod1")?, &lab.far, family)?;
    }
    ensure!(share(&lab)?.0 > 0, "from eth0: {:?}", share(&lab)?);
    ensure!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    // When it goes, ours comes.
    lab.gateway.ns.sh("bpftool net detach xdpdrv dev net1")?;
    eventually("XDP runs on net1", FOLLOW, || Ok(![0, foreign].contains(&attached(&lab)?[1])))?;
    Ok(())
}

/// The packets' own program, pinned, as if it were somebody else's.
struct Foreign(std::path::PathBuf);

impl Foreign {
    fn load() -> Result<Self> {
        let object = std::env::var_os("EGRESS_EBPF_OBJ").context("EGRESS_EBPF_OBJ does not name the BPF object")?;
        let folder = std::path::PathBuf::from("/sys/fs/bpf").join(InstanceName::next()?.of("foreign"));
        let mut command = std::process::Command::new("bpftool");
        command.args(["prog", "loadall"]).arg(object).arg(&folder);
        let output = process::run(command, None)?;
        let foreign = Self(folder.join("egw_xdp_in"));
        ensure!(output.status.success(), "{}", output.stderr);
        Ok(foreign)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.parent().map(std::fs::remove_dir_all);
    }
}
