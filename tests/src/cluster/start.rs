//! Starting a machine, plugging its cables in, and ending it.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::folder::{Folder, Process};
use super::layout::{CONTROL_PLANE, Machine};
use super::machine::{CABLES, PLUGS};
use super::parts::Parts;
use super::{END, cgroup, output};
use crate::system::locked;
use crate::wait::eventually;

/// The process that holds a cluster's port.
pub(super) const FORWARD: &str = "forward";

/// True once a signal has ended the work: nothing new may be made.
static ENDED: Mutex<bool> = Mutex::new(false);

/// Held while something is made that an interrupt must find.
pub(super) fn making() -> Result<MutexGuard<'static, bool>> {
    let ended = locked(&ENDED);
    ensure!(!*ended, "interrupted");
    Ok(ended)
}

/// A signal has come: ends the cluster while nothing can be added to it.
pub(super) fn interrupt(folder: &Folder) {
    let mut ended = locked(&ENDED);
    *ended = true;
    if folder.exists()
        && let Err(error) = end(folder)
    {
        eprintln!("{error:#}");
    }
}

/// Starts a process of ours that goes on without us, its words in a log.
pub(super) fn launch(folder: &Folder, role: &str, command: &mut Command) -> Result<Process> {
    let _making = making()?;
    let path = folder.log(role);
    let open = || OpenOptions::new().create(true).append(true).open(&path);
    let (out, err) = (open().context("open a log")?, open().context("open a log")?);
    // A group of its own: Ctrl-C is for us.
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).current_dir("/");
    let child = command.spawn().with_context(|| format!("start {role}"))?;
    folder.record_process(role, child.id())
}

/// Starts a machine; returns when it has its own network namespace.
pub(super) fn start(folder: &Folder, parts: &Parts, program: &Path, cluster: &str, machine: &Machine) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["machine", "start", cluster, &machine.name]).envs(parts.variables());
    let process = launch(folder, &machine.name, &mut command)?;
    let own = fs::read_link("/proc/self/ns/net").context("read our network namespace")?;
    eventually(&format!("{} has its namespaces", machine.name), END, || {
        ensure!(process.lives(), "{} ended: {}", machine.name, last_words(folder, &machine.name));
        Ok(fs::read_link(format!("/proc/{}/ns/net", process.pid)).is_ok_and(|its| its != own))
    })
}

/// Plugs a node's cables into the control plane's machine. Its interfaces keep their addresses over a reboot, as network cards do.
pub(super) fn plug(folder: &Folder, machine: &Machine) -> Result<()> {
    let alive = |role: &str| {
        let process = folder.process(role).filter(Process::lives);
        process.with_context(|| format!("{role} does not run: {}", last_words(folder, role)))
    };
    let (center, node) = (alive(CONTROL_PLANE)?.pid.to_string(), alive(&machine.name)?.pid);
    let ip = |line: &str| output(Command::new("nsenter").args(["-t", &center, "-n", "ip"]).args(line.split(' ')));
    for cable in CABLES {
        eventually(&format!("the cable {cable}"), END, || Ok(ip(&format!("link show {cable}")).is_ok()))?;
    }
    for (number, (cable, interface)) in (0_u8..).zip(PLUGS) {
        // A node has two plugs in the external network.
        let end = format!("{cable}-{}-{interface}", machine.index);
        // The one of the node's last life stays until the kernel has got round to taking its namespace apart; mostly it is gone.
        let _ = ip(&format!("link del {end}"));
        let mac = format!("02:00:00:00:{:02x}:{number:02x}", machine.index);
        ip(&format!("link add {end} type veth peer name {interface} address {mac} netns {node}"))?;
        ip(&format!("link set {end} master {cable} up"))?;
    }
    Ok(())
}

/// The number of a machine's first process.
pub(super) fn first_process(folder: &Folder, machine: &str) -> Result<u32> {
    let known = Machine::named(machine).with_context(|| format!("no machine {machine}"))?;
    let process = folder.process(&known.name).filter(Process::lives);
    let process = process.with_context(|| format!("{machine} does not run"))?;
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.pid)).unwrap_or_default();
    let first = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
    first.with_context(|| format!("{machine} has no first process yet"))
}

/// Ends everything in a machine at once.
pub(super) fn halt(folder: &Folder, machine: &Machine) -> Result<()> {
    let Some(process) = folder.process(&machine.name) else { bail!("{} was never started", machine.name) };
    end_process(process);
    eventually(&format!("{} has ended", machine.name), END, || Ok(!process.lives() && is_emptied(folder, machine)))?;
    cgroup::remove(folder, &machine.name);
    Ok(())
}

/// Ends the cluster and removes its folder.
pub(super) fn end(folder: &Folder) -> Result<()> {
    let machines = Machine::all();
    let roles: Vec<_> = machines.iter().map(|machine| machine.name.as_str()).chain([FORWARD]).collect();
    let processes: Vec<_> = roles.iter().filter_map(|role| folder.process(role)).collect();
    processes.iter().for_each(|process| end_process(*process));
    eventually("all processes have ended", END, || {
        let empty = machines.iter().filter(|machine| is_emptied(folder, machine)).count();
        Ok(empty == machines.len() && !processes.iter().any(Process::lives))
    })?;
    machines.iter().for_each(|machine| cgroup::remove(folder, &machine.name));
    fs::remove_dir_all(folder.path()).with_context(|| format!("remove {}", folder.path().display()))
}

/// Kills what runs in a machine; whether nothing did. Its first process dies with the one that we started, but for a moment in
/// which `unshare` has forked it and it has not asked for that yet.
fn is_emptied(folder: &Folder, machine: &Machine) -> bool {
    cgroup::is_empty(folder, &machine.name) || {
        cgroup::kill(folder, &machine.name);
        false
    }
}

fn end_process(process: Process) {
    if process.lives()
        && let Ok(pid) = i32::try_from(process.pid)
    {
        // One that ends by itself meanwhile is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The end of a log.
pub(super) fn last_words(folder: &Folder, role: &str) -> String {
    let text = fs::read_to_string(folder.log(role)).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}
