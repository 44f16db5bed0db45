//! The agent's one binary; what it does is its first argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    egress_agent::cli::main()
}
