//! One machine: namespaces of its own, a root of its own, and a first process that starts its programs and starts them again.
//!
//! With a root and a PID namespace of its own every path and port in it is the usual one, and its end is one signal.

mod control_plane;
mod node;
mod ovs;
mod root;
mod services;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};

pub(super) use self::control_plane::CABLES;
pub(super) use self::node::PLUGS;
pub(super) use self::services::FOLDER as SERVICES;
use self::services::Services;
use super::cgroup;
use super::folder::Folder;
use super::layout::Machine;
use super::parts::Parts;

/// Where programs are found in a machine.
pub(super) const PATH: &str = "/opt/kubernetes:/opt/containerd:/opt/lab:/usr/sbin:/usr/bin";
/// This program in a machine.
pub(super) const OWN_PROGRAM: &str = "/opt/lab/cluster";
/// Tells that a machine has started all it has to start.
pub(super) const READY: &str = "/run/machine-ready";

/// Moves this process into the machine's control groups and new namespaces, where it goes on as [`first_process`]. Returns only if that fails.
pub fn become_machine(cluster: &str, machine: &str) -> Error {
    let enter = || -> Result<PathBuf> {
        cgroup::enter(&Folder::of(cluster)?, machine)?;
        std::env::current_exe().context("find this program")
    };
    match enter() {
        Ok(program) => Command::new("unshare")
            .args(["--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup", "--propagation", "private"])
            // What ends `unshare` ends the machine's first process, and with it the machine.
            .args(["--fork", "--kill-child=KILL", "--"])
            .arg(program)
            .args(["machine", "init", cluster, machine])
            .exec()
            .into(),
        Err(error) => error,
    }
}

/// The machine's process 1: makes its root, starts its programs and stays.
pub fn first_process(cluster: &str, machine: &str) -> Result<()> {
    ensure!(std::process::id() == 1, "only a machine's first process may do this");
    let machine = Machine::named(machine).with_context(|| format!("no machine {machine}"))?;
    let parts = Parts::find()?;
    let program = std::env::current_exe().context("find this program")?;
    root::enter(&Folder::of(cluster)?.root(&machine.name), &parts, &program, &machine)?;
    let mut services = Services::default();
    sh("ip link set lo up")?;
    if machine.is_node() {
        node::start(&machine, &mut services)?;
    } else {
        control_plane::start(&machine, &mut services)?;
    }
    fs::write(READY, "").with_context(|| format!("write {READY}"))?;
    services.stay()
}

/// Runs a command line, split at blanks, in the machine.
fn sh(line: &str) -> Result<String> {
    feed(line, "")
}

/// The same with something on its standard input.
fn feed(line: &str, input: &str) -> Result<String> {
    use std::io::Write as _;
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().context("empty command line")?);
    command.args(words).env("PATH", PATH).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start `{line}`"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that ends early shows in its status.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("wait for `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}`: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until the machine has something: an interface that is plugged in, a socket that is opened.
fn wait_for(what: &str, mut there: impl FnMut() -> bool) -> Result<()> {
    crate::wait::eventually(what, Duration::from_secs(60), || {
        Ok(there() || {
            thread::sleep(Duration::from_millis(5));
            false
        })
    })
}

fn wait_for_path(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    wait_for(&path.display().to_string(), || path.exists())
}

fn interface_path(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

fn set_sysctl(key: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(key);
    fs::write(&path, value).with_context(|| format!("set {key} = {value}"))
}
