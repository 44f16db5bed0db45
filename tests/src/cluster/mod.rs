//! A real two-node Kubernetes whose Pod network is a real OVN, on one machine: `cargo xtask cluster`, and the tests of the Kubernetes roles.
//!
//! Three "machines" (`cp`, `node1`, `node2`) are sets of namespaces with a root of their own ([`machine`]). Nothing in them is replaced but
//! what [`played`] holds. All that there is outside of them is one folder, their control groups and a forwarder from a port of 127.0.0.1 to the API.

pub mod api;
mod cgroup;
pub mod example;
mod files;
mod folder;
mod forward;
pub mod gateway;
pub mod layout;
pub mod leftovers;
pub mod machine;
mod outside;
pub mod parts;
mod pki;
pub mod played;
pub mod scale;
mod start;
pub mod steer;
mod up;

pub use self::files::{AGENT_IMAGE, POD_IMAGE};
pub use self::folder::USUAL_NAME;
pub use self::forward::forward;
pub use self::outside::serve as serve_outside;
pub use self::parts::Parts;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::folder::Folder;
use self::layout::Machine;
use crate::system::Netns;
use crate::system::cleanup::NETNS_DIR;
use crate::system::name::InstanceName;

/// How long a machine may take to end.
const END: Duration = Duration::from_secs(20);

/// A cluster that is up, or is to come up.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    folder: Folder,
    parts: Parts,
    /// The binary `cluster`, which is the machines' first process.
    program: PathBuf,
    /// It ends with this value.
    owned: bool,
}

impl Cluster {
    /// Brings a cluster up that stays when this process ends; `say` hears how far it is.
    pub fn up(name: &str, parts: Parts, program: PathBuf, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let cluster = Self { name: name.to_owned(), folder: Folder::of(name)?, parts, program, owned: false };
        cluster.bring_up(say)?;
        Ok(cluster)
    }

    /// Brings a cluster up that ends with the value, or with this process.
    pub fn up_for_us(parts: Parts, program: PathBuf, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let name = InstanceName::next()?.to_string();
        let mut cluster = Self::up(&name, parts, program, say)?;
        cluster.owned = true;
        Ok(cluster)
    }

    /// The cluster of that name, which is up.
    pub fn attach(name: &str, parts: Parts, program: PathBuf) -> Result<Self> {
        let folder = Folder::of(name)?;
        ensure!(folder.exists(), "no cluster {name} is up: `cargo xtask cluster --name {name} up`");
        Ok(Self { name: name.to_owned(), folder, parts, program, owned: false })
    }

    /// Ends it; what is left of it then is an error that says what.
    pub fn down(self) -> Result<()> {
        end(&self.folder)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder with the images that both nodes have.
    pub fn images(&self) -> &std::path::Path {
        self.parts.images()
    }

    /// The file that kubectl and client libraries read.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.kubeconfig()
    }

    /// kubectl, as cluster-admin.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.parts.kubectl());
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// A program in a machine, as its root.
    pub fn inside(&self, machine: &str, program: &str) -> Result<Command> {
        let first = start::first_process(&self.folder, machine)?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup"]);
        command.args(["--root", "--wd", "--", "/usr/bin/env", "-i", "HOME=/root", "TERM=linux"]);
        command.args([&format!("PATH={}", machine::PATH), program]);
        Ok(command)
    }

    /// `ovn-nbctl`, where the northbound database is.
    pub fn nbctl(&self) -> Result<Command> {
        let mut command = self.inside(layout::CONTROL_PLANE, "ovn-nbctl")?;
        command.arg("--timeout=20");
        Ok(command)
    }

    /// A program on the host outside.
    pub fn outside(&self) -> Result<Command> {
        let mut command = self.inside(layout::CONTROL_PLANE, "ip")?;
        command.args(["netns", "exec", layout::OUTSIDE]);
        Ok(command)
    }

    /// Its namespace, for captures.
    pub fn outside_namespace(&self) -> Result<Netns> {
        let first = start::first_process(&self.folder, layout::CONTROL_PLANE)?;
        let path = format!("/proc/{first}/root{NETNS_DIR}/{}", layout::OUTSIDE);
        Netns::of_another(layout::OUTSIDE, path.as_ref())
    }

    /// The network namespace of a machine, which stays as long as the value.
    pub fn machine_namespace(&self, machine: &str) -> Result<Netns> {
        let first = start::first_process(&self.folder, machine)?;
        Netns::of_another(machine, format!("/proc/{first}/ns/net").as_ref())
    }

    /// The namespace of a Pod, by its port (`<pod>.<namespace>`), to be there without the API server.
    pub fn pod_namespace(&self, node: &str, port: &str) -> Result<Netns> {
        let mut find = self.inside(node, "ovs-vsctl")?;
        let find = find.args(["--bare", "--columns=external_ids", "find", "interface"]);
        let ids = output(find.arg(format!("external_ids:iface-id={port}")))?;
        let path = ids.split_whitespace().find_map(|id| id.strip_prefix("pod_netns=")).map(|it| it.trim_matches('"'));
        let path = path.with_context(|| format!("{node} has no port {port}: {ids}"))?;
        let first = start::first_process(&self.folder, node)?;
        // There it is a link, which would be followed here.
        let name = path.rsplit('/').next().unwrap_or_default();
        Netns::of_another(port, format!("/proc/{first}/root{NETNS_DIR}/{name}").as_ref())
    }

    /// Pulls a Node's plug.
    pub fn halt(&self, node: &str) -> Result<()> {
        start::halt(&self.folder, &node_named(node)?)
    }

    /// Starts a Node that was halted: its disk is as it was.
    pub fn start(&self, node: &str) -> Result<()> {
        let node = node_named(node)?;
        ensure!(start::first_process(&self.folder, &node.name).is_err(), "{} runs already", node.name);
        start::start(&self.folder, &self.parts, &self.program, &self.name, &node)?;
        start::plug(&self.folder, &node)
    }

    /// Both.
    pub fn reboot(&self, node: &str) -> Result<()> {
        self.halt(node)?;
        self.start(node)
    }

    /// The services of a machine and how often each was started again.
    pub fn services(&self, machine: &str) -> Result<Vec<(String, usize)>> {
        let text = output(self.inside(machine, "grep")?.args(["-c", "-r", "", machine::SERVICES]))?;
        let service = |line: &str| {
            let (path, starts) = line.rsplit_once(':')?;
            let name = path.rsplit('/').next()?;
            (!name.ends_with(".hold")).then_some(())?;
            Some((name.to_owned(), starts.parse::<usize>().ok()?.saturating_sub(1)))
        };
        let mut services: Vec<_> = text.lines().filter_map(service).collect();
        services.sort();
        Ok(services)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.owned
            && self.folder.exists()
            && let Err(error) = end(&self.folder)
        {
            eprintln!("cluster {}: {error:#}", self.name);
        }
    }
}

/// Ends the cluster of that name, also one that came up half.
pub fn down(name: &str) -> Result<()> {
    let folder = Folder::of(name)?;
    ensure!(folder.exists(), "no cluster {name} is up");
    end(&folder)
}

/// Why there can be no cluster on this machine, if there can be none.
pub fn why_not() -> Option<String> {
    cgroup::why_not().or_else(|| Parts::find().err().map(|error| format!("{error:#}")))
}

/// Every cluster that is up.
pub fn names() -> Vec<String> {
    Folder::all().into_iter().map(|(name, _)| name).collect()
}

fn end(folder: &Folder) -> Result<()> {
    start::end(folder)?;
    let left = leftovers::of(folder);
    if !left.is_empty() {
        bail!("left of the cluster: {}", left.join("; "));
    }
    Ok(())
}

fn node_named(name: &str) -> Result<Machine> {
    let known = layout::NODES.join(", ");
    Machine::named(name).filter(Machine::is_node).with_context(|| format!("no node {name}: there are {known}"))
}

/// What a command says, if it succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let result = command.output().with_context(|| format!("start {command:?}"))?;
    if !result.status.success() {
        bail!("{command:?}: {}: {}", result.status, String::from_utf8_lossy(&result.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}
