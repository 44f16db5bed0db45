//! The command line. `flows`, `stats`, `doctor` and `detach` work with and without a running agent.

mod controller;
mod crd;
mod detach;
mod doctor;
mod flows;
mod output;
mod prepare;
mod render;
mod stats;

use std::{
    env,
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    controller::{Compat, IMAGE, Settings},
    datapath::attach::Attach,
    role::{controller::Mode, gateway},
    spec::{Flags, profile::Forward},
};

#[derive(Parser)]
#[command(name = "egress-agent", version, about = "Egress gateway for Kubernetes on OVN, on eBPF")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Be the gateway of a network namespace: load the programs, follow the manifests; runs in the foreground
    Gateway(Gateway),
    /// Set sysctls, rules and routes that a gateway needs, then end (for a privileged init container)
    Prepare(Spec),
    /// List the flows
    Flows(Look),
    /// Show counters, drops by reason and the use of the flow table
    Stats(Statistics),
    /// Check whether packets can pass; exit code 0 only if they can
    Doctor(Doctor),
    /// Take the programs away and forget all flows
    Detach(Detach),
    /// Reconcile VpcEgressGateways: the gateways' Deployments, configuration and status; runs in the foreground
    Controller(Controller),
    /// Print what the controller would write for these manifests, without a cluster
    Render(Render),
    /// Print the CustomResourceDefinitions
    Crd(Crd),
}

#[derive(Args)]
struct Netns {
    /// Network namespace of the gateway, such as /run/netns/NAME or /proc/PID/ns/net [default: the own one]
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
}

#[derive(Args)]
struct Detach {
    #[command(flatten)]
    netns: Netns,
    /// Give live flows to the kernel's NAT, whose rules must be there, so that no connection breaks
    #[arg(long)]
    handover: bool,
    /// Instead, remove what gateways left on this machine whose network namespace is gone
    #[arg(long, conflicts_with_all = ["handover", "netns"])]
    gone: bool,
}

#[derive(Args)]
struct Look {
    #[command(flatten)]
    netns: Netns,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Args)]
struct Doctor {
    #[command(flatten)]
    look: Look,
    /// Print only what fails; `live`: whether the agent runs, `ready`: whether packets can pass
    #[arg(long, value_enum)]
    probe: Option<Probe>,
    /// With `--probe ready`: how long it may take until packets can pass
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "probe")]
    wait: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Probe {
    Live,
    Ready,
}

#[derive(Args)]
struct Images {
    /// Image of gateways that name none
    #[arg(long, default_value = IMAGE)]
    image: String,
    /// When gateways' images are pulled: Always, IfNotPresent or Never
    #[arg(long, default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pull_policy: String,
}

impl Images {
    fn settings(&self, compat: Compat) -> Settings {
        Settings { image: self.image.clone(), pull_policy: self.pull_policy.clone(), compat }
    }
}

#[derive(Args)]
struct Controller {
    /// Who makes the gateways' Deployments [default: observe if there is a Deployment or Lease kube-ovn-controller, else managed]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    #[command(flatten)]
    images: Images,
    /// Serve /healthz and /readyz on this port
    #[arg(long, value_name = "PORT")]
    health_port: Option<u16>,
    /// Namespace of the Lease
    #[arg(long, default_value_t = env::var("POD_NAMESPACE").unwrap_or_else(|_| "default".to_owned()))]
    namespace: String,
}

#[derive(Args)]
struct Render {
    /// Manifests, or a folder of them: VpcEgressGateways and all that they name; `-`: standard input
    #[arg(long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Text::Yaml)]
    output: Text,
    #[command(flatten)]
    images: Images,
    /// `kube-ovn`: routes of policies are in the Pod's annotation, too
    #[arg(long, value_enum, default_value_t = Compat::None)]
    compat: Compat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Text {
    Yaml,
    Json,
}

#[derive(Args)]
struct Crd {
    /// Write each into its file of this folder instead
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

#[derive(Args)]
struct Statistics {
    #[command(flatten)]
    look: Look,
    /// Also the N destinations with most ports in use and the N sources with most flows
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10")]
    top: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Args)]
struct Spec {
    #[command(flatten)]
    netns: Netns,
    /// Manifests, or a folder of them, as they are applied to a cluster
    #[arg(long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// VpcEgressGateway to be, if the manifests hold several
    #[arg(long, value_name = "NAMESPACE/NAME")]
    veg: Option<String>,
    /// Interface of the overlay [default: the one with an address of the internal Subnet]
    #[arg(long, value_name = "IFACE")]
    internal: Option<String>,
    /// Interface of the external network [default: the one with an address of the external Subnet]
    #[arg(long, value_name = "IFACE")]
    external: Option<String>,
}

#[derive(Args)]
struct Gateway {
    #[command(flatten)]
    spec: Spec,
    /// How translated packets leave: auto, peer, neigh or stack [default: the profile's]
    #[arg(long, value_parser = |text: &str| text.parse::<Forward>())]
    forward: Option<Forward>,
    /// How the programs are attached
    #[arg(long, value_enum, default_value_t = Attach::Auto)]
    attach: Attach,
    /// BPF object instead of the one in this binary
    #[arg(long, value_name = "PATH")]
    object: Option<PathBuf>,
    /// Append a line of JSON for the beginning and end of each flow to this file; `-`: standard output
    #[arg(long, value_name = "PATH")]
    flow_log: Option<PathBuf>,
}

impl Gateway {
    fn options(self) -> gateway::Options {
        gateway::Options {
            files: self.spec.files,
            veg: self.spec.veg,
            netns: self.spec.netns.netns,
            flags: Flags { internal: self.spec.internal, external: self.spec.external, forward: self.forward },
            attach: self.attach,
            object: self.object,
            flow_log: self.flow_log,
        }
    }
}

/// Runs the command; 1 for a failure or a refused configuration, 2 for wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("EGRESS_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,netlink_packet_route=error")),
        )
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    let done = match cli.command {
        Command::Gateway(args) => gateway::run(&args.options()).map(|()| true),
        Command::Prepare(args) => prepare::run(&args),
        Command::Flows(args) => flows::run(&args).map(|()| true),
        Command::Stats(args) => stats::run(&args).map(|()| true),
        Command::Doctor(args) => doctor::run(&args),
        Command::Detach(args) => detach::run(&args).map(|()| true),
        Command::Controller(args) => controller::run(args).map(|()| true),
        Command::Render(args) => render::run(&args).map(|()| true),
        Command::Crd(args) => crd::run(&args).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
