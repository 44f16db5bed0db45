//! Negative controls: a test that cannot fail proves nothing. Builds the BPF object with one fault at a time and runs the tests
//! that must notice it.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{agent, object, setup, sh, workspace::Workspace};

/// A fault and the root tests that must fail with it.
struct Control {
    /// Feature of egress-ebpf.
    feature: &'static str,
    /// What is wrong.
    fault: &'static str,
    /// Full names.
    tests: &'static [&'static str],
}

/// docs/testing.md has the same list.
const CONTROLS: &[Control] = &[
    Control {
        feature: "broken-checksum",
        fault: "checksums do not follow the addresses",
        tests: &["protocols::everything::all_clients_at_once_to_every_server"],
    },
    Control {
        feature: "broken-claim",
        fault: "ports are claimed without BPF_NOEXIST",
        tests: &["allocation::two_cpus_never_claim_the_same_port"],
    },
    Control {
        feature: "broken-guard",
        fault: "the guard lets everything pass",
        tests: &[
            "guard::kernel::sockets_on_the_inside_address_do_not_get_out",
            "restart::ending::the_guard_holds_alone",
        ],
    },
    Control {
        feature: "broken-hop",
        fault: "the next hop is always the Subnet's gateway",
        tests: &["forwarding::routes::what_a_route_sends_back_inside_is_not_translated"],
    },
    Control {
        feature: "broken-expiry",
        fault: "expiry ignores activity",
        tests: &["expiry::each_state_ends_in_its_time"],
    },
    Control {
        feature: "broken-shortcut",
        fault: "XDP goes on finding halves that were removed",
        tests: &["xdp::shortcuts::what_is_cut_is_not_found"],
    },
    Control {
        feature: "broken-pair",
        fault: "a flow that ends leaves its reply half behind",
        tests: &["churn::a_table_that_is_too_small_loses_no_half"],
    },
];

/// Passes with every one of them: what fails elsewhere does not fail because the kernel refused the object.
const CANARY: &str = "bpftool::programs_stay_far_from_the_verifiers_limit";

/// Runs them all; an error names the faults that nobody noticed.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let tools = setup::bring(setup::Scope::NoFuzzing)?;
    agent::build(workspace, &tools, &[])?;
    let good = workspace.target.join("controls/good.o");
    keep(&workspace.object(), &good)?;
    let mut unnoticed = Vec::new();
    for control in CONTROLS {
        // Without the fault they pass: it is the fault that they fail by.
        if let Some(test) = failed(workspace, &good, control.tests, true)?.first() {
            bail!("{test} fails without a fault, too");
        }
        object::build(workspace, &tools, &[control.feature.to_owned()])?;
        let broken = workspace.target.join(format!("controls/{}.o", control.feature));
        keep(&workspace.object(), &broken)?;
        if !failed(workspace, &broken, &[CANARY], true)?.is_empty() {
            bail!("{} does not even load", control.feature);
        }
        let caught = failed(workspace, &broken, control.tests, false)?;
        sh::say(format!(
            "    {}: {}: {} of {} tests failed",
            control.feature,
            control.fault,
            caught.len(),
            control.tests.len()
        ));
        unnoticed
            .extend(control.tests.iter().filter(|test| !caught.contains(test)).map(|test| (control.feature, *test)));
    }
    // The next build of the agent must not embed a broken one.
    object::build(workspace, &tools, &[])?;
    if !unnoticed.is_empty() {
        bail!(
            "not noticed: {}",
            unnoticed.iter().map(|(fault, test)| format!("{fault} by {test}")).collect::<Vec<_>>().join(", ")
        );
    }
    println!("{} faults, each caught", CONTROLS.len());
    Ok(ExitCode::SUCCESS)
}

fn keep(object: &Path, as_file: &Path) -> Result<()> {
    let folder = as_file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::copy(object, as_file).with_context(|| format!("copying {} to {}", object.display(), as_file.display()))?;
    Ok(())
}

/// Which of the tests fail with this object; with `loud` their output is shown.
fn failed(workspace: &Workspace, object: &Path, tests: &[&'static str], loud: bool) -> Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    for test in tests {
        let mut cargo: Command = workspace.cargo();
        cargo.args(["test", "--quiet", "--package", "egress-tests", "--test", "root", "--", "--exact", test]);
        agent::for_lab(&mut cargo, workspace).env("EGRESS_OBJECT", object);
        if !loud {
            cargo.stdout(Stdio::null()).stderr(Stdio::null());
        }
        sh::say(format!("    $ EGRESS_OBJECT={} {}", object.display(), sh::show(&cargo)));
        if !cargo.status().context("starting cargo")?.success() {
            failed.push(*test);
        }
    }
    Ok(failed)
}
