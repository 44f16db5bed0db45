//! Measures this gateway and its peers: see [`egress_tests::bench`]. Started by `cargo xtask bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use egress_tests::bench::{self, Plan, Reports};

/// Ratios of this gateway and its peers, in one run. Needs root; removes what it made.
#[derive(Parser)]
struct Cli {
    /// Below two minutes: fewer cases and rounds
    #[arg(long)]
    quick: bool,
    /// Instead of the peers, look where the time of our programs goes
    #[arg(long)]
    profile: bool,
    /// Only measures whose name contains this; of the profile: sizes, hot, cold, load, express, orders, helpers
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write every series to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables and bars to a file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let plan = Plan { only: cli.only, ..if cli.quick { Plan::QUICK } else { Plan::WHOLE } };
    let reports = Reports { json: cli.json, markdown: cli.markdown };
    let measure = if cli.profile { bench::profile } else { bench::run };
    match measure(&plan, &reports) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
