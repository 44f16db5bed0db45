//! Shows what the gateway does, on one machine: see [`egress_tests::demo`]. Started by `cargo xtask demo`.

use std::process::ExitCode;

use clap::Parser;
use egress_tests::demo::{self, Pace};

/// A gateway in a small network of namespaces: what goes in, what comes out, how fast. Needs root; removes what it made.
#[derive(Parser)]
struct Cli {
    /// Measure with fewer and shorter rounds
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let pace = if Cli::parse().quick { Pace::QUICK } else { Pace::USUAL };
    match demo::run(pace) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
