//! Two CPUs open flows at the same time: no port is given twice, and a range that is used up is told and costs little.
//!
//! The program itself runs, by `BPF_PROG_TEST_RUN`, in two threads that are bound to two CPUs and walk side by side.

mod in_a_row;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use egress_common::abi::family::{V4, V6};
use egress_common::nat::{fair::ALL, port::TRIES};
use egress_tests::gateway::Agent;
use egress_tests::gateway::table::bijection;
use egress_tests::packet::{build, proto};
use egress_tests::{Family, Lab, LabConfig, skip};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::rig::{CLUSTER, FOLLOW, Files, GATEWAY, NEEDS, pins, stat, used};

/// Ports of the narrow range.
const PORTS: u64 = 256;
const PROFILE: &str = "---
apiVersion: egress-ebpf.dev/v1alpha1
kind: EgressGatewayProfile
metadata: {name: default}
spec: {portRange: {min: 2000, max: 2255}, fairness: {fromPercent: 100}}
";

/// What one thread sends, in order.
type Frames = Vec<Vec<u8>>;

fn datagram(from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
    let packet = build::Header::new(from.0, to.0, proto::UDP).packet(&build::udp(from, to, b"new"));
    // A test packet arrives by the loopback device, whose MAC is zero.
    build::ethernet([0; 6], [0; 6], &packet)
}

/// Runs `egw_out` over both lists at once, step by step together.
fn side_by_side(lab: &Lab, lists: &[Frames; 2]) -> Result<()> {
    let program = SchedClassifier::from_pin(pins(lab)?.join("progs/egw_out"))?;
    let reached = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let walk = |cpu: usize| -> Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("bind to a CPU")?;
        for (step, frame) in lists[cpu].iter().enumerate() {
            reached[cpu].store(step, Ordering::SeqCst);
            let mut spins = 0_u32;
            while reached[1 - cpu].load(Ordering::SeqCst) < step.min(lists[1 - cpu].len() - 1) {
                spins += 1;
                if spins.is_multiple_of(1000) {
                    thread::yield_now();
                }
            }
            let options = TestRunOptions { data_in: Some(frame), repeat: 1, ..TestRunOptions::new() };
            let run = program.test_run(options);
            if run.is_err() {
                reached[cpu].store(usize::MAX, Ordering::SeqCst);
            }
            run?;
        }
        Ok(())
    };
    lab.gateway.ns.run(|| {
        thread::scope(|scope| {
            let other = scope.spawn(|| walk(1));
            let own = walk(0);
            other.join().map_err(|_| anyhow!("a thread panicked")).flatten().and(own)
        })
    })?
}

fn flows_by_port(lab: &Lab, family: Family) -> Result<BTreeMap<u16, u64>> {
    match family {
        Family::V4 => bijection::<V4>(lab),
        Family::V6 => bijection::<V6>(lab),
    }
}

#[test]
fn two_cpus_never_claim_the_same_port() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    if thread::available_parallelism()?.get() < 2 {
        println!("SKIP: one CPU only");
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::write(&lab, CLUSTER, &format!("{GATEWAY}{PROFILE}"))?;
    let agent = Agent::start(&lab, files.options())?;
    for family in Family::BOTH {
        let (inside, far) = (lab.client("pod1")?.addr(family), lab.far.addr(family));
        let frames = |dports: std::ops::Range<u16>, sports: std::ops::Range<u16>| -> Frames {
            let from = |dport| sports.clone().map(move |sport| datagram((inside, sport), (far, dport)));
            dports.flat_map(from).collect()
        };
        let [created, tries, drops] = ["counters/flows_created", "counters/port_tries", "drops/ports_exhausted"];
        let before = (stat(&lab, created)?, stat(&lab, tries)?, stat(&lab, drops)?);

        // The same packets: whoever loses takes the winner's mapping and gives its own claim back.
        let same = frames(1..17, 4000..4180);
        side_by_side(&lab, &[same.clone(), same])?;
        // Different ones, which want the same ports.
        side_by_side(&lab, &[frames(101..117, 4000..4090), frames(101..117, 5000..5090)])?;
        let flows = flows_by_port(&lab, family)?;
        assert_eq!(flows.len(), 32, "{flows:?}");
        assert!(flows.values().all(|count| *count == 180), "{flows:?}");
        assert_eq!(stat(&lab, created)? - before.0, 2 * 16 * 180);
        println!("{family:?}: {} ports tried for {} flows", stat(&lab, tries)? - before.1, 2 * 16 * 180);
        assert_eq!((stat(&lab, drops)?, stat(&lab, "drops/flow_busy")?), (before.2, 0));
        let map = if family == Family::V4 { "USE4" } else { "USE6" };
        assert_eq!(used(&lab, map)?.get(&ALL, 0)?.first, 2 * 16 * 180, "counted once by one of the two");

        used_up(&lab, &agent, family, &frames)?;
    }
    assert_eq!(stat(&lab, "counters/events_lost")?, 0);
    Ok(())
}

/// More flows towards one destination than there are ports.
fn used_up(
    lab: &Lab,
    agent: &Agent<'_>,
    family: Family,
    frames: &dyn Fn(std::ops::Range<u16>, std::ops::Range<u16>) -> Frames,
) -> Result<()> {
    let before = stat(lab, "drops/ports_exhausted")?;
    let dropped = || Ok::<_, anyhow::Error>(stat(lab, "drops/ports_exhausted")? - before);
    let of_port = || Ok::<_, anyhow::Error>(flows_by_port(lab, family)?.get(&200).copied().unwrap_or_default());
    side_by_side(lab, &[frames(200..201, 4000..4200), frames(200..201, 5000..5200)])?;
    let flows = of_port()?;
    assert!(flows > PORTS / 2 && flows <= PORTS, "{flows} flows on {PORTS} ports");
    assert_eq!(dropped()?, 400 - flows, "each packet opened a flow or was dropped by that name");

    let (tried, start) = (stat(lab, "counters/port_tries")?, Instant::now());
    side_by_side(lab, &[frames(200..201, 6000..8000), frames(200..201, 8000..8001)])?;
    let (windows, opened) = (start.elapsed().as_millis() as u64 / 100 + 2, of_port()? - flows);
    let tried = stat(lab, "counters/port_tries")? - tried;
    // Two CPUs may begin a search at the same time.
    assert!(
        tried <= u64::from(TRIES) * (2 * windows + opened),
        "{tried} ports tried, {windows} times, {opened} opened"
    );
    assert_eq!(dropped()?, 400 + 2001 - of_port()?);
    let (inside, far) = (lab.client("pod1")?.addr(family), lab.far.addr(family));
    let line = format!("no port left for {inside} to {far} port 200 (protocol 17)");
    agent.wait_for_line(FOLLOW, |it| it.contains(&line))?;
    let said = agent.stderr().lines().filter(|it| it.contains(&line)).count() as u64;
    assert!(said <= 400 - flows + 2 * windows, "{said} lines of log");
    Ok(())
}
