//! Holds a lab open for a person to look around in; Ctrl-C removes it. The gateway is the kernel's, or with `--agent` ours.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use egress_tests::gateway::{Agent, AgentOptions, Gateway, KernelGateway};
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::system::process;
use egress_tests::{Lab, LabConfig};

/// A lab to look around in, until Ctrl-C.
#[derive(Parser)]
struct Cli {
    /// Run our gateway with these manifests, as manifests/samples/cluster.yaml and gateway2-dual-stack.yaml
    #[arg(long = "agent", value_name = "FILE", num_args = 1..)]
    manifests: Vec<PathBuf>,
    /// Also run a command in the gateway's namespace, which ends with the lab
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let no_snat = no_snat_networks();
    let mut config = LabConfig::default();
    if !cli.manifests.is_empty() {
        config = config.egress("172.17.0.12/16".parse()?).egress("fd00:172:17::12/64".parse()?).return_routes(&no_snat);
    }
    let lab = Lab::build(config)?;
    let _gateway: Box<dyn Gateway + '_> = if cli.manifests.is_empty() {
        Box::new(KernelGateway::start(&lab, &no_snat)?)
    } else {
        Box::new(Agent::start(&lab, AgentOptions::files(cli.manifests))?)
    };
    for ns in lab.namespaces() {
        println!("{}", ns.name());
    }
    if let Some((program, arguments)) = cli.command.split_first() {
        let mut command = lab.gateway.ns.command(program)?;
        command.args(arguments);
        let child = process::spawn(command).with_context(|| format!("run {}", program.display()))?;
        println!("process {}", child.id());
    }
    println!("up; look around with `ip netns exec NAME COMMAND`, end with Ctrl-C");
    loop {
        std::thread::park();
    }
}
