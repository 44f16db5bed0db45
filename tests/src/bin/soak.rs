//! Lets flows come and go for a while and proves that nothing is left behind: see [`egress_tests::soak`]. Started by
//! `cargo xtask soak`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use egress_tests::soak::{self, Plan};

/// Churn through a gateway in a lab. Needs root; removes what it made.
#[derive(Parser)]
struct Cli {
    /// How long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let plan = Plan { time: Duration::from_secs(60 * cli.minutes), max_flows: soak::ROOM, sockets: true };
    match soak::run(plan) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("soak failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
