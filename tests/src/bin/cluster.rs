//! Brings up a cluster, ends it, and is everything of ours that runs in one: see [`egress_tests::cluster`]. Started by `cargo xtask cluster`.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use egress_tests::cluster::layout::Machine;
use egress_tests::cluster::scale::Size;
use egress_tests::cluster::{self, Cluster, Parts, USUAL_NAME, machine, played, scale};
use egress_tests::demo;

/// A two-node Kubernetes with OVN on this machine. Needs root.
#[derive(Parser)]
#[command(name = "cargo xtask cluster")]
struct Cli {
    /// Which cluster, if there are several
    #[arg(long, default_value = USUAL_NAME)]
    name: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring it up; it stays until `down`
    Up,
    /// End it, and say what is left
    Down,
    /// Nodes, Pods, services of each machine
    Status,
    /// kubectl as its administrator
    Kubectl(Words),
    /// ovn-nbctl at its northbound database
    Nbctl(Words),
    /// Pull a node's plug, start it, or both
    Node {
        action: Action,
        /// node1 or node2
        node: String,
    },
    /// The controller with many gateways and Pods, against an API server alone: how soon, how busy when idle, how large
    Scale {
        /// VpcEgressGateways
        #[arg(long, default_value_t = 1000)]
        gateways: usize,
        /// Pods, on a Node without a kubelet
        #[arg(long, default_value_t = 10_000)]
        pods: usize,
        /// Seconds without a change
        #[arg(long, default_value_t = 30)]
        idle: u64,
    },
    /// A shell, or a command, in a machine: cp, node1, node2
    Shell {
        machine: String,
        #[command(flatten)]
        words: Words,
    },
    /// `cargo xtask demo --kubernetes`
    #[command(hide = true)]
    Demo,
    #[command(subcommand, hide = true)]
    Machine(Inner),
    #[command(subcommand, hide = true)]
    Played(Played),
    #[command(hide = true)]
    Outside,
}

#[derive(clap::Args)]
struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Action {
    Halt,
    Start,
    Reboot,
}

#[derive(Subcommand)]
enum Inner {
    Start { cluster: String, machine: String },
    Init { cluster: String, machine: String },
    Forward { port: u16, machine: u32 },
}

#[derive(Subcommand)]
enum Played {
    Controller { kubeconfig: String },
}

fn main() -> ExitCode {
    if played::cni::is_called() {
        return played::cni::run();
    }
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let attach = || Cluster::attach(&cli.name, Parts::find()?, program()?);
    match &cli.task {
        Task::Up => {
            let cluster = Cluster::up(&cli.name, Parts::find()?, program()?, &mut |what| eprintln!("    {what}"))?;
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
        }
        Task::Down => {
            cluster::down(&cli.name)?;
            println!("nothing is left of cluster {}", cli.name);
        }
        Task::Status => status(&attach()?)?,
        Task::Kubectl(words) => return become_program(attach()?.kubectl().args(&words.words)),
        Task::Nbctl(words) => return become_program(attach()?.nbctl()?.args(&words.words)),
        Task::Node { action, node } => {
            let cluster = attach()?;
            match action {
                Action::Halt => cluster.halt(node)?,
                Action::Start => cluster.start(node)?,
                Action::Reboot => cluster.reboot(node)?,
            }
        }
        Task::Shell { machine, words } => {
            let bash = ["bash".to_owned()];
            let words = if words.words.is_empty() { &bash } else { words.words.as_slice() };
            return become_program(attach()?.inside(machine, &words[0])?.args(&words[1..]));
        }
        Task::Demo => demo::kubernetes::run(program()?)?,
        Task::Scale { gateways, pods, idle } => {
            let (rest, idle) = (Duration::from_secs(10), Duration::from_secs(*idle));
            scale::run(Parts::find()?, Size { gateways: *gateways, pods: *pods, rest, idle })?
        }
        Task::Machine(Inner::Start { cluster, machine }) => return Err(machine::become_machine(cluster, machine)),
        Task::Machine(Inner::Init { cluster, machine }) => machine::first_process(cluster, machine)?,
        Task::Machine(Inner::Forward { port, machine }) => cluster::forward(*port, *machine)?,
        Task::Played(Played::Controller { kubeconfig }) => played::controller::run(kubeconfig)?,
        Task::Outside => cluster::serve_outside()?,
    }
    Ok(())
}

fn program() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("find this program")
}

fn become_program(command: &mut Command) -> Result<()> {
    Err(command.exec()).with_context(|| format!("start {command:?}"))
}

fn status(cluster: &Cluster) -> Result<()> {
    println!("export KUBECONFIG={}\n", cluster.kubeconfig().display());
    for what in ["nodes", "pods"] {
        let list = cluster::output(cluster.kubectl().args(["get", what, "-A", "-o", "wide"]));
        println!("{}", list.unwrap_or_else(|error| format!("{error:#}\n")));
    }
    for machine in Machine::all() {
        match cluster.services(&machine.name) {
            Ok(services) => {
                let text = |(name, again): &(String, usize)| {
                    if *again == 0 { name.clone() } else { format!("{name} (started again: {again})") }
                };
                println!("{}: {}", machine.name, services.iter().map(text).collect::<Vec<_>>().join(", "));
            }
            Err(error) => println!("{}: {error:#}", machine.name),
        }
    }
    Ok(())
}
