//! The same random packets through our gateway and through the kernel's NAT: what comes out must be the same, but for the
//! choice of ports and for what stands in [`wanted::WANTED`].
//!
//! A program is a list of packets of flows, made from a seed. Each gateway runs it in a lab of its own, packet by packet;
//! what it sends is compared with the Pod's endpoint in the place of the egress address and port. `EGRESS_SEED=n` runs
//! the programs of another seed; a failure prints its own.

mod compare;
mod errors;
mod fragments;
mod generate;
mod program;
pub(crate) mod random;
mod rename;
mod sctp;
mod seen;
mod shape;
mod talk;
mod tcp;
mod wanted;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use egress_tests::gateway::NftGateway;
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::{Family, Lab, LabConfig, Need, skip};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use self::compare::differences;
use self::generate::generate;
use self::program::{Kind, Program, Side};
use self::world::{Outcome, World};
use crate::rig::NEEDS;
use crate::wire::agent;

/// Steps of a program.
const STEPS: usize = 500;
/// MTU of the overlay and of the external network.
const WIDE: (u32, u32) = (1400, 1500);
const NARROW: (u32, u32) = (1400, 1300);
/// Most differences that are printed.
const PRINTED: usize = 10;

/// Backlogs are a CPU's own: packets that are sent from one stay in their order.
fn stay_on_one_cpu() -> Result<()> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|it| allowed.is_set(*it).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    one.set(*cpus.get(NEXT.fetch_add(1, Ordering::Relaxed) % cpus.len()).context("no CPU")?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

fn lab(program: &Program) -> Result<Lab> {
    let config = LabConfig::default().mtu(program.mtu.0, program.mtu.1).families(&Family::BOTH);
    let lab = Lab::build(config.checksums(RealChecksums::EVERYWHERE))?;
    // Answers are compared, so none may be left out.
    lab.gateway.ns.sysctl(&[
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv4/icmp_msgs_per_sec", "100000"),
        ("net/ipv4/icmp_msgs_burst", "100000"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ])?;
    Ok(lab)
}

fn ours(program: &Program) -> Result<Vec<Outcome>> {
    let lab = lab(program)?;
    let _agent = agent(&lab, &[])?;
    stay_on_one_cpu()?;
    World::new(&lab, program)?.run()
}

fn kernels(program: &Program) -> Result<Vec<Outcome>> {
    let lab = lab(program)?;
    NftGateway::start(&lab, &no_snat_networks())?;
    stay_on_one_cpu()?;
    World::new(&lab, program)?.run()
}

fn both(program: &Program) -> Result<(Vec<Outcome>, Vec<Outcome>)> {
    thread::scope(|scope| {
        let (ours, kernels) = (scope.spawn(|| ours(program)), scope.spawn(|| kernels(program)));
        let ours = ours.join().map_err(|_| anyhow!("our gateway's run panicked"))?.context("our gateway")?;
        Ok((ours, kernels.join().map_err(|_| anyhow!("the kernel's run panicked"))?.context("the kernel")?))
    })
}

/// The seed of all programs, from the environment or the usual one.
fn seed() -> Result<u64> {
    let given = std::env::var("EGRESS_SEED").ok();
    given.map_or(Ok(1), |it| it.parse().context("EGRESS_SEED is not a number"))
}

fn alike(family: Family, mtu: (u32, u32)) -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("nft")]) {
        return Ok(());
    }
    let seed = seed()?;
    let program = generate(seed, family, mtu, STEPS);
    let context = || format!("{family:?}, mtu {mtu:?}; again with EGRESS_SEED={seed}");
    let (ours, kernels) = both(&program).with_context(context)?;
    let passed = ours.iter().filter(|it| matches!(it, Outcome::Seen(all) if !all.is_empty())).count();
    let (faults, used) = differences(&program, &ours, &kernels);
    println!("{passed} of {STEPS} steps came out of {} flows", program.flows.len());
    used.iter().for_each(|(what, (why, count))| println!("  {count} times wanted: {what}, because {why}"));
    let printed = faults.iter().take(PRINTED).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(faults.is_empty(), "{} differences, {}\n{printed}", faults.len(), context());
    ensure!(passed > STEPS / 2, "only {passed} of {STEPS} steps came out: {}", context());
    Ok(())
}

#[test]
fn ipv4_like_the_kernel() -> Result<()> {
    alike(Family::V4, WIDE)
}

#[test]
fn ipv6_like_the_kernel() -> Result<()> {
    alike(Family::V6, WIDE)
}

#[test]
fn ipv4_like_the_kernel_when_the_way_out_is_narrow() -> Result<()> {
    alike(Family::V4, NARROW)
}

#[test]
fn ipv6_like_the_kernel_when_the_way_out_is_narrow() -> Result<()> {
    alike(Family::V6, NARROW)
}

/// The comparison sees each of these.
#[test]
fn a_difference_is_told() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("nft")]) {
        return Ok(());
    }
    let program = generate(seed()?, Family::V4, WIDE, 30);
    let right = kernels(&program)?;
    let plain = |at: &usize| {
        let (step, outcome) = (&program.steps[*at], &right[*at]);
        let one = matches!(outcome, Outcome::Seen(all) if all.len() == 1);
        one && step.side == Side::Inside && step.kinds.iter().all(|it| matches!(it, Kind::Udp | Kind::Tcp | Kind::Echo))
    };
    let at = (0..right.len()).find(plain).context("no plain step")?;
    for (name, fault) in compare::FAULTS {
        let mut wrong = right.clone();
        let Outcome::Seen(all) = &mut wrong[at] else { continue };
        fault(all);
        let (told, _) = differences(&program, &wrong, &right);
        ensure!(told.len() == 1 && told[0].contains(&format!("step {at}: ")), "{name} at {at}: {told:?}");
    }
    Ok(())
}
