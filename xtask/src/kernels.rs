//! `cargo xtask kernels`: the object, the agent and some root tests in virtual machines with Debian's kernels.

mod cpio;
mod image;
mod modules;
mod outcome;
mod record;
mod vm;

use std::{
    fs,
    process::ExitCode,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use self::{cpio::Archive, outcome::Outcome, record::Record, vm::Qemu};
use crate::{
    agent,
    debian::{self, Debian},
    setup, sh,
    workspace::Workspace,
};

/// Series, beside the newest that there is.
const SERIES: [&str; 3] = ["6.1", "6.12", "6.18"];
/// Tests that say `SKIP:`, by kernel: 6.1 has no netkit, and does not tell whom XDP may send to (two tests). A kernel that cannot
/// be had is one more.
const EXPECTED_SKIPS: &[(&str, u64)] = &[("6.1", 3)];
/// Virtual machines at a time; each has one CPU.
const AT_ONCE: usize = 2;
/// Sections of a run, and their tests: few, because each loads the programs, which takes an emulated machine some ten seconds.
const SECTIONS: &[(&str, &[&str])] = &[
    ("attach", &["capabilities::three_capabilities_are_enough", "forwarding::clsact::filters_work_like_links"]),
    (
        "golden",
        &["golden::ports::tcp_and_udp_are_translated", "golden::errors_in::every_type_and_code_reaches_the_pod"],
    ),
    (
        "wire",
        &[
            "protocols::everything::all_clients_at_once_to_every_server",
            "forwarding::modes::a_macvlan_gets_neigh_by_itself_and_refuses_peer",
        ],
    ),
    (
        "xdp",
        &[
            "xdp::handed_on::what_xdp_carries_and_what_not",
            "xdp::neighbours::beside_a_macvlan",
            "xdp::shortcuts::connections_have_the_states_that_they_have_by_tc",
        ],
    ),
    (
        "devices",
        &[
            "devices::peer_reaches_an_ovs_port",
            "devices::neigh_reaches_an_ovs_port",
            "devices::vrf::net1_in_a_vrf",
            "devices::vrf::eth0_in_a_vrf",
            "devices::netkit::peer_reaches_a_netkit",
        ],
    ),
];
const PROGRAMS: [&str; 7] = ["egw_guard", "egw_in", "egw_out", "egw_xdp_in", "egw_xdp_out", "expire", "import"];

/// One kernel's part of the run.
struct Job {
    /// Series, or `newest`.
    name: String,
    version: Option<String>,
    result: Option<Result<Outcome>>,
    took: Duration,
}

/// Runs everything; `only` some series, `filter` instead of the usual tests.
pub(crate) fn run(workspace: &Workspace, only: &[String], filter: Option<&str>, record: bool) -> Result<ExitCode> {
    let tools = setup::find()?;
    agent::build(workspace, &tools, &[])?;
    let cache = setup::cache()?.join("kernels");
    let debian = sh::step("package lists", || Debian::open(cache, &debian::KERNELS)).0?;
    let qemu = if sh::has("qemu-system-x86_64") {
        Qemu::Installed
    } else {
        Qemu::Unpacked(debian.package("qemu-system-x86")?)
    };
    // It writes the flows of the kernel's datapath without a daemon.
    let ovs = (debian.package("openvswitch-switch")?, "usr/bin/ovs-dpctl");
    let base = sh::step("image", || image::base(workspace, &[ovs])).0?;
    let mut jobs: Vec<_> = debian::choose(&debian.versions()?, &SERIES)?
        .into_iter()
        .filter(|(name, _)| only.is_empty() || only.contains(name))
        .map(|(name, version)| Job { name, version, result: None, took: Duration::ZERO })
        .collect();
    ensure!(!jobs.is_empty(), "no kernel of that name: {} and newest", SERIES.join(", "));
    let plan: String = match filter {
        Some(filter) => format!("only {filter}\n"),
        None => SECTIONS.iter().map(|(name, tests)| format!("{name} --exact {}\n", tests.join(" "))).collect(),
    };
    sh::step("kernels", || boot_all(workspace, &debian, &qemu, &base, &plan, &mut jobs)).0?;
    report(workspace, &jobs, filter.is_some(), record)
}

fn boot_all(
    workspace: &Workspace,
    debian: &Debian,
    qemu: &Qemu,
    base: &Archive,
    plan: &str,
    jobs: &mut [Job],
) -> Result<()> {
    let folder = workspace.target.join("kernels");
    let mut work = Vec::new();
    for job in jobs {
        let Some(version) = &job.version else { continue };
        match debian.kernel(version) {
            Ok(kernel) => work.push((job, kernel)),
            Err(error) => {
                sh::say(format!("    {error:#}"));
                job.version = None;
            }
        }
    }
    let queue = Mutex::new(work.into_iter());
    let worker = || {
        loop {
            let next = queue.lock().ok().and_then(|mut queue| queue.next());
            let Some((job, kernel)) = next else { break };
            let start = Instant::now();
            let log = folder.join(format!("{}.log", job.name));
            let image = folder.join(format!("{}.cpio", job.name));
            let boot = || -> Result<Outcome> {
                fs::write(&image, image::of_kernel(base, &kernel.modules, plan)?).context("writing the image")?;
                Ok(Outcome::read(&qemu.boot(&kernel, &image, &log)?))
            };
            job.result = Some(boot());
            let _ = fs::remove_file(&image);
            job.took = start.elapsed();
            sh::say(format!(
                "    {} ({}): {}, console in {}",
                job.name,
                kernel.version,
                sh::seconds(job.took),
                log.display()
            ));
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(worker);
        }
    });
    Ok(())
}

/// Prints the table and what is wrong.
fn report(workspace: &Workspace, jobs: &[Job], filtered: bool, recording: bool) -> Result<ExitCode> {
    let path = record::path(&workspace.root);
    let mut record = Record::read(&path)?;
    let columns: Vec<&str> = if filtered {
        vec!["load", "only"]
    } else {
        ["load"].into_iter().chain(SECTIONS.iter().map(|it| it.0)).collect()
    };
    let mut skipped = 0;
    let mut wrong: Vec<String> = Vec::new();
    println!("| kernel | {} | {} | seconds |", columns.join(" | "), PROGRAMS.join(" | "));
    println!("|---|{}---|", "---|".repeat(columns.len() + PROGRAMS.len()));
    for job in jobs {
        let outcome = match &job.result {
            None => {
                println!("SKIP: Debian has no kernel {} here", job.name);
                skipped += 1;
                continue;
            }
            Some(Err(error)) => {
                wrong.push(format!("{}: {error:#}", job.name));
                continue;
            }
            Some(Ok(outcome)) => outcome,
        };
        let mut cells = vec![format!("{} ({})", job.name, outcome.release)];
        for column in &columns {
            let (cell, complaint) = cell(outcome, column);
            cells.push(cell);
            wrong.extend(complaint.map(|complaint| format!("{}: {complaint}", job.name)));
            skipped += outcome.sections.get(*column).map_or(0, |section| section.tally.skipped);
        }
        for program in PROGRAMS {
            let count = outcome.programs.get(program).copied().unwrap_or(0);
            cells.push(count.to_string());
            if recording && count > 0 {
                record.set(&job.name, program, count);
            }
            wrong.extend(
                record.complaint(&job.name, program, count).map(|complaint| format!("{}: {complaint}", job.name)),
            );
        }
        wrong.extend(outcome.errors.iter().map(|error| format!("{}: {error}", job.name)));
        println!("| {} | {:.0} |", cells.join(" | "), job.took.as_secs_f64());
    }
    if recording {
        record.write(&path)?;
    }
    let of_job = |job: &Job| EXPECTED_SKIPS.iter().find(|it| it.0 == job.name).map_or(0, |it| it.1);
    let expected: u64 = jobs.iter().map(of_job).sum();
    if skipped != expected && !filtered {
        wrong.push(format!("{skipped} skipped where {expected} are expected: see the lines `SKIP: reason`"));
    }
    wrong.iter().for_each(|wrong| sh::say(format!("error: {wrong}")));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A section in the table, and what is wrong with it.
fn cell(outcome: &Outcome, name: &str) -> (String, Option<String>) {
    let Some(section) = outcome.sections.get(name) else {
        return ("-".to_owned(), Some(format!("{name} did not end")));
    };
    let tally = &section.tally;
    let wanted = SECTIONS.iter().find(|it| it.0 == name).map_or(1, |it| it.1.len() as u64);
    if name == "load" {
        return if section.good {
            ("ok".to_owned(), None)
        } else {
            ("FAILED".to_owned(), Some("load failed".to_owned()))
        };
    }
    let complaint = match (section.good, tally.passed) {
        (false, _) => Some(anyhow!("{name}: {} failed; see the console", tally.failed.max(1))),
        (true, passed) if passed + tally.skipped < wanted => Some(anyhow!("{name}: {passed} of {wanted} tests ran")),
        (true, _) => None,
    };
    let text = if section.good {
        format!("{} ok", tally.passed)
    } else {
        format!("{} ok, {} FAILED", tally.passed, tally.failed)
    };
    (text, complaint.map(|complaint| complaint.to_string()))
}
