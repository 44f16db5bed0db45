//! The same random packets through our gateway and through the kernel's NAT: what comes out must be the same, but for the
//! choice of ports and for what stands in [`wanted::WANTED`].
//!
//! A program is a list of packets of flows, made from a seed. Each gateway runs it in a lab of its own, packet by packet;
//! what it sends is compared with the Pod's endpoint in the place of the egress address and port. `EGRESS_SEED=n` runs
//! the programs of another seed; a failure prints its own.

mod errors;
mod fragments;
mod generate;
mod program;
mod random;
mod rename;
mod sctp;
mod seen;
mod shape;
mod talk;
mod tcp;
mod wanted;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use egress_tests::gateway::NftGateway;
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::{Family, Lab, LabConfig, Need, skip};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use self::generate::generate;
use self::program::{Program, hex};
use self::wanted::wanted;
use self::world::{Outcome, World};
use crate::rig::NEEDS;
use crate::wire::agent;

/// Steps of a program.
const STEPS: usize = 300;
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

/// A difference with everything that one needs to look into it.
fn tell(program: &Program, at: usize, ours: &Outcome, kernels: &Outcome) -> String {
    let step = &program.steps[at];
    let mut text = format!("step {at}: {step}\n  flow {}\n    {}\n", program.flows[step.flow], hex(&step.packet));
    let before = program.steps[..at].iter().enumerate().filter(|(_, it)| it.flow == step.flow);
    for (at, before) in before {
        let _ = writeln!(text, "  after {at}: {before}");
    }
    for (name, outcome) in [("ours", ours), ("kernel", kernels)] {
        let _ = match outcome {
            Outcome::Unsent => writeln!(text, "  {name}: could not be sent"),
            Outcome::Seen(all) if all.is_empty() => writeln!(text, "  {name}: nothing"),
            Outcome::Seen(all) => all.iter().try_for_each(|it| writeln!(text, "  {name}: {it}")),
        };
    }
    text
}

/// Entries of the table that were used: what and why, and how often.
type Used = BTreeMap<&'static str, (&'static str, usize)>;

/// Every difference that the table does not explain.
fn differences(program: &Program, ours: &[Outcome], kernels: &[Outcome]) -> (Vec<String>, Used) {
    let (mut faults, mut used) = (Vec::new(), Used::new());
    for (at, (ours, kernels)) in ours.iter().zip(kernels).enumerate() {
        if ours == kernels {
            continue;
        }
        let step = &program.steps[at];
        match wanted(step, &program.flows[step.flow], ours, kernels) {
            Some(entry) => used.entry(entry.what).or_insert((entry.why, 0)).1 += 1,
            None => faults.push(tell(program, at, ours, kernels)),
        }
    }
    (faults, used)
}

/// The seed of all programs, from the environment or the usual one.
fn seed() -> Result<u64> {
    let given = std::env::var("EGRESS_SEED").ok();
    given.map_or(Ok(1), |it| it.parse().context("EGRESS_SEED is not a number"))
}

fn compare(family: Family, mtu: (u32, u32)) -> Result<()> {
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
    ensure!(passed > STEPS / 2, "only {passed} of {STEPS} steps came out: {}", context());
    let printed = faults.iter().take(PRINTED).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(faults.is_empty(), "{} differences, {}\n{printed}", faults.len(), context());
    Ok(())
}

#[test]
fn ipv4_like_the_kernel() -> Result<()> {
    compare(Family::V4, WIDE)
}

#[test]
fn ipv6_like_the_kernel() -> Result<()> {
    compare(Family::V6, WIDE)
}

#[test]
fn ipv4_like_the_kernel_when_the_way_out_is_narrow() -> Result<()> {
    compare(Family::V4, NARROW)
}

#[test]
fn ipv6_like_the_kernel_when_the_way_out_is_narrow() -> Result<()> {
    compare(Family::V6, NARROW)
}
