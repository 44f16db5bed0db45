//! Holds a lab with the kernel's gateway open for a person to look around in; Ctrl-C removes it.
//! `lab COMMAND…` also runs a command in the gateway's namespace, which ends with the lab.

use anyhow::{Context, Result};
use egress_tests::gateway::KernelGateway;
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::system::process;
use egress_tests::{Lab, LabConfig};

fn main() -> Result<()> {
    let lab = Lab::build(LabConfig::default())?;
    let _gateway = KernelGateway::start(&lab, &no_snat_networks())?;
    for ns in lab.namespaces() {
        println!("{}", ns.name());
    }
    let mut words = std::env::args_os().skip(1);
    if let Some(program) = words.next() {
        let mut command = lab.gateway.ns.command(&program)?;
        command.args(words);
        let child = process::spawn(command).with_context(|| format!("run {}", program.display()))?;
        println!("process {}", child.id());
    }
    println!("up; look around with `ip netns exec NAME COMMAND`, end with Ctrl-C");
    loop {
        std::thread::park();
    }
}
