//! Agents come and go, and the profile changes, under traffic.

use std::fs;

use anyhow::{Context, Result, ensure};
use egress_common::abi::config::flags::{XDP_IN, XDP_OUT};
use egress_tests::gateway::Agent;
use egress_tests::lab::RealChecksums;
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use super::{attached, options, sends, share, take_frames, told, with_datapath};
use crate::load::Load;
use crate::rig::{FOLLOW, NEEDS, complaints, pins};

fn lab() -> Result<Lab> {
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    take_frames(&lab, true)?;
    Ok(lab)
}

#[test]
fn nothing_is_lost_while_agents_die_and_start() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = lab()?;
    let mut agent = Agent::start(&lab, options(&lab)?)?;
    sends(&lab, XDP_OUT | XDP_IN)?;
    let load = Load::start(&lab, &Family::BOTH)?;
    load.advance()?;
    for _ in 0..3 {
        let (programs, before) = (attached(&lab)?, share(&lab)?);
        agent.kill9()?;
        load.advance().context("while no agent runs")?;
        ensure!(attached(&lab)? == programs && share(&lab)?.0 > before.0, "{:?} {before:?}", share(&lab)?);
        agent.restart()?;
        load.advance()?;
        let now = attached(&lab)?;
        ensure!(now.iter().zip(programs).all(|(now, before)| *now != 0 && *now != before), "{now:?} {programs:?}");
    }
    println!("{:?}, {:?} by XDP", load.finish()?, share(&lab)?);
    ensure!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    Ok(())
}

#[test]
fn the_profile_changes() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = lab()?;
    let options = options(&lab)?;
    let manifest = options.files.last().cloned().context("no file")?;
    let _agent = Agent::start(&lab, options)?;
    let load = Load::start(&lab, &Family::BOTH)?;
    for (datapath, runs) in [("tc", false), ("xdp", true), ("auto", false), ("xdp", true)] {
        load.advance()?;
        fs::write(&manifest, with_datapath(datapath))?;
        eventually("the agent follows", FOLLOW, || Ok(attached(&lab)?.iter().all(|id| (*id != 0) == runs)))?;
        sends(&lab, if runs { XDP_OUT | XDP_IN } else { 0 })?;
        let before = share(&lab)?;
        load.advance()?;
        let now = share(&lab)?;
        ensure!((now.0 > before.0) == runs, "{datapath}: {before:?} {now:?}");
        let (told, begins) = (told(&lab, "XDP net1")?, if runs { "runs; " } else { "not asked for (datapath: xdp); " });
        ensure!(told.starts_with(begins) && told.ends_with("; frames can be sent into net1"), "{told}");
    }
    println!("{:?}", load.finish()?);
    ensure!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    Ok(())
}

#[test]
fn detach_takes_it_away() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = lab()?;
    let agent = Agent::start(&lab, options(&lab)?)?;
    ensure!(attached(&lab)?.iter().all(|id| *id != 0), "{:?}", attached(&lab)?);
    let output = Agent::run(&lab, &["detach"])?;
    ensure!(output.status.success(), "{}", output.stderr);
    ensure!(attached(&lab)? == [0, 0] && !pins(&lab)?.exists(), "{:?}", attached(&lab)?);
    drop(agent);
    Ok(())
}
