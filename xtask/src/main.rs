//! Tasks of the egress gateway's developers and CI: `cargo xtask <command>`.

mod agent;
mod cluster;
mod controls;
mod debian;
mod fuzz;
mod image;
mod kernels;
mod next;
mod object;
mod setup;
mod sh;
mod tally;
mod test;
mod toolchain;
mod workspace;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, build and test tasks of the egress gateway")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring what build, tests and demo need, after saying what is missing; what clusters are made of is only named
    Setup {
        /// Only say what is missing; exit code 1 if something is
        #[arg(long)]
        check: bool,
    },
    /// Build the BPF object with BTF; the last line on stdout is its path
    BuildEbpf {
        /// Features of egress-ebpf (`debug-log`: the object then no longer loads under bpftool)
        #[arg(long, value_delimiter = ',')]
        features: Vec<String>,
    },
    /// Build the BPF object and target/release/egress-agent with it embedded
    Build {
        /// Features of egress-ebpf and egress-agent
        #[arg(long, value_delimiter = ',')]
        features: Vec<String>,
    },
    /// Build target/next/egress-agent, whose maps have another layout, for the test of an upgrade
    BuildNext,
    /// Set up, check format and size, lint, test, also on a cluster; the last line is `N passed, N failed, N skipped`
    Test {
        /// Run only the tests whose name contains this
        filter: Option<String>,
        /// Leave out fuzzing, the release build, the root tests and the tests on a cluster
        #[arg(long)]
        quick: bool,
    },
    /// Write manifests/crd from the agent's API types
    Crd,
    /// Show that tests catch deliberately broken builds of the BPF object
    Controls,
    /// Set up, build the fuzz targets and run one, or each, for a while
    Fuzz {
        /// `parse`, `rewrite`…: a file in tests/fuzz/fuzz_targets
        target: Option<String>,
        /// How long for each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Run only this input, once
        #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "seconds")]
        input: Option<PathBuf>,
    },
    /// Boot Debian's kernels in QEMU and run load, attach and some root tests in each; prints a table
    Kernels {
        /// Only these: 6.1, 6.12, 6.18, newest
        kernels: Vec<String>,
        /// Instead of the usual tests, those whose name contains this
        #[arg(long)]
        filter: Option<String>,
        /// Write the measured numbers of instructions to tests/kernels.toml
        #[arg(long)]
        record: bool,
    },
    /// Set up, build and measure this gateway beside its peers; `--quick`, `--only TEXT`, `--json FILE`, `--markdown FILE`, `--profile`
    Bench {
        /// Arguments of the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// A two-node Kubernetes with OVN on this machine: `up`, `down`, `status`, `kubectl …`, `nbctl …`, `node halt|start|reboot NAME`, `shell NAME`; `scale`: the controller with 1,000 gateways
    Cluster {
        /// Arguments of the cluster; `parts` only brings and builds what it is made of
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the agent without libraries and write the OCI archive of its image, without Docker; the last line on stdout names it
    Image {
        /// `registry/repository:tag`
        #[arg(long, default_value = image::NAME)]
        name: String,
    },
    /// Set up, build, let flows come and go for a while, and show that nothing is left behind
    Soak {
        /// How long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Set up, build and run the demo; further arguments are the demo's. `--kubernetes`: on a cluster, see `cluster`
    Demo {
        /// Arguments of the demo
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            sh::say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup { check } => {
            cluster::report_apart()?;
            if check {
                return setup::check();
            }
            setup::bring(setup::Scope::Everything)?;
        }
        Task::BuildEbpf { features } => {
            object::build(&workspace, &setup::find()?, &features)?;
            println!("{}", workspace.object().display());
        }
        Task::Build { features } => {
            agent::build(&workspace, &setup::find()?, &features)?;
            println!("{}", workspace.agent().display());
        }
        Task::BuildNext => {
            next::build(&workspace, &setup::find()?)?;
            println!("{}", next::agent(&workspace).display());
        }
        Task::Test { filter, quick } => return Ok(test::run(&workspace, filter.as_deref(), quick)),
        Task::Crd => agent::write_crds(&workspace)?,
        Task::Controls => return controls::run(&workspace),
        Task::Fuzz { target, seconds, input } => fuzz::by_hand(&workspace, target, seconds, input.as_deref())?,
        Task::Kernels { kernels, filter, record } => {
            return kernels::run(&workspace, &kernels, filter.as_deref(), record);
        }
        Task::Demo { args } if args == ["--kubernetes"] => return cluster::run(&workspace, &["demo".to_owned()]),
        Task::Demo { args } => return Err(agent::become_program(&workspace, "demo", &args)),
        Task::Cluster { args } => return cluster::run(&workspace, &args),
        Task::Image { name } => {
            let tools = setup::bring(setup::Scope::NoFuzzing)?;
            println!("{}", image::agent(&workspace, &tools, &name)?.display());
        }
        Task::Bench { args } => return Err(agent::become_program(&workspace, "bench", &args)),
        Task::Soak { minutes } => {
            let args = ["--minutes".to_owned(), minutes.to_string()];
            return Err(agent::become_program(&workspace, "soak", &args));
        }
    }
    Ok(ExitCode::SUCCESS)
}
