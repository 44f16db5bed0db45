//! Our own agent as a child process.

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Gateway;
use crate::Lab;
use crate::system::{bpffs, cleanup, locked, process};

const READY: Duration = Duration::from_secs(20);
const GOODBYE: Duration = Duration::from_secs(10);
/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF: all that a gateway Pod has.
const POD_CAPABILITIES: &[u8] = &[12, 38, 39];

/// Where the agent is: `EGRESS_AGENT`, else `target/release/egress-agent` of the workspace.
pub fn agent_binary() -> PathBuf {
    env::var_os("EGRESS_AGENT").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/egress-agent")),
        PathBuf::from,
    )
}

/// An agent whose maps have another layout: `EGRESS_AGENT_NEXT`, else where `cargo xtask build-next` leaves it.
pub fn next_agent_binary() -> PathBuf {
    env::var_os("EGRESS_AGENT_NEXT").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/next/egress-agent")),
        PathBuf::from,
    )
}

/// Where the agent of this lab's gateway keeps its pins.
pub fn pins(lab: &Lab) -> Result<PathBuf> {
    Ok(Path::new("/sys/fs/bpf/egress-ebpf").join(gateway_id(lab)?))
}

fn status(lab: &Lab) -> Result<PathBuf> {
    Ok(Path::new("/run/egress-ebpf").join(format!("{}.json", gateway_id(lab)?)))
}

/// The gateway's id where it has no Pod: device and inode of its network namespace.
fn gateway_id(lab: &Lab) -> Result<String> {
    let file = lab.gateway.ns.path().metadata().context("the gateway's namespace")?;
    Ok(format!("{}:{}", file.dev(), file.ino()))
}

/// How to start it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentOptions {
    /// Files for `--file`.
    pub files: Vec<PathBuf>,
    /// More arguments, as `--veg default/gateway1` or `--forward neigh`.
    pub arguments: Vec<String>,
    /// Another binary than [`agent_binary`]'s.
    pub binary: Option<PathBuf>,
    /// Inside the gateway's namespace with a gateway Pod's capabilities and no others, instead of by `--netns`.
    pub as_pod: bool,
}

impl AgentOptions {
    /// Reads these files.
    pub fn files(files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { files: files.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// With one more option and its value.
    pub fn with(mut self, option: &str, value: &str) -> Self {
        self.arguments.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// With another binary.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    fn program(&self) -> PathBuf {
        self.binary.clone().unwrap_or_else(agent_binary)
    }

    /// As in a gateway Pod.
    pub fn as_pod(mut self) -> Self {
        self.as_pod = true;
        self
    }
}

/// What a refused start left.
#[derive(Debug)]
pub struct Refusal {
    /// The exit code; 1 for a refused configuration, 2 for usage.
    pub code: Option<i32>,
    /// Standard error.
    pub stderr: String,
}

#[derive(Debug, Default)]
struct Log {
    text: Mutex<(String, bool)>,
    changed: Condvar,
}

/// A running agent. On drop it is killed and its programs are detached.
#[derive(Debug)]
pub struct Agent<'lab> {
    lab: &'lab Lab,
    options: AgentOptions,
    child: Child,
    log: Arc<Log>,
}

impl<'lab> Agent<'lab> {
    /// Starts it and waits for its line `ready`.
    pub fn start(lab: &'lab Lab, options: AgentOptions) -> Result<Self> {
        let (child, log) = start(lab, &options)?;
        let agent = Self { lab, options, child, log };
        agent.wait_for_line(READY, |line| line.trim() == "ready").context("the agent is not ready")?;
        Ok(agent)
    }

    /// Starts it for a configuration that it must refuse; an agent that gets ready is an error.
    pub fn refused(lab: &'lab Lab, options: AgentOptions) -> Result<Refusal> {
        let (child, log) = start(lab, &options)?;
        let mut agent = Self { lab, options, child, log };
        if agent.wait_for_line(READY, |line| line.trim() == "ready").is_ok() {
            bail!("the agent took what it should refuse\n{}", agent.stderr());
        }
        let status = process::wait(&mut agent.child, GOODBYE)?.context("the agent neither got ready nor ended")?;
        Ok(Refusal { code: status.code(), stderr: agent.stderr() })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// What it wrote to standard error since it was (last) started.
    pub fn stderr(&self) -> String {
        locked(&self.log.text).0.clone()
    }

    /// Waits for a whole line on standard error that `wanted` accepts.
    pub fn wait_for_line(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + crate::wait::patient(timeout);
        let mut text = locked(&self.log.text);
        loop {
            if let Some(line) = text.0.lines().find(|line| wanted(line)) {
                return Ok(line.to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let why = if text.1 { "it ended" } else { "nothing came in time" };
            ensure!(!left.is_zero() && !text.1, "{why}; its standard error:\n{}", text.0);
            text = self.log.changed.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill().context("kill -9 the agent")?;
        self.child.wait().context("wait for the agent")?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        kill(self.pid(), Signal::SIGTERM).context("SIGTERM to the agent")?;
        let status = process::wait(&mut self.child, GOODBYE)?;
        status.with_context(|| format!("the agent did not end within {GOODBYE:?} of SIGTERM\n{}", self.stderr()))
    }

    /// Starts it again after [`Self::kill9`] or [`Self::terminate`].
    pub fn restart(&mut self) -> Result<()> {
        // One that ends by itself closes its standard error a moment before.
        ensure!(process::wait(&mut self.child, GOODBYE)?.is_some(), "the agent still runs");
        (self.child, self.log) = start(self.lab, &self.options)?;
        self.wait_for_line(READY, |line| line.trim() == "ready").context("the agent is not ready again")?;
        Ok(())
    }

    /// [`Self::restart`] with another binary.
    pub fn restart_as(&mut self, binary: PathBuf) -> Result<()> {
        self.options.binary = Some(binary);
        self.restart()
    }

    /// [`Self::restart_as`] with another option and its value from now on, where it has one already.
    pub fn restart_with(&mut self, binary: PathBuf, option: &str, value: &str) -> Result<()> {
        let at = self.options.arguments.iter().position(|it| it == option).context("it has no such option")?;
        value.clone_into(self.options.arguments.get_mut(at + 1).context("the option has no value")?);
        self.restart_as(binary)
    }

    /// Starts another binary, and comes back as soon as `there` holds.
    pub fn restart_until(&mut self, binary: PathBuf, there: impl Fn() -> bool) -> Result<()> {
        self.options.binary = Some(binary);
        (self.child, self.log) = start(self.lab, &self.options)?;
        self.wait_until(there)
    }

    /// Starts it, and comes back as soon as `there` holds.
    pub fn start_until(lab: &'lab Lab, options: AgentOptions, there: impl Fn() -> bool) -> Result<Self> {
        let (child, log) = start(lab, &options)?;
        let agent = Self { lab, options, child, log };
        agent.wait_until(there)?;
        Ok(agent)
    }

    fn wait_until(&self, there: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + crate::wait::patient(READY);
        while !there() {
            ensure!(Instant::now() < deadline, "it does not come there\n{}", self.stderr());
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// `egress-agent <command> -o json` for this gateway.
    pub fn ask(&self, command: &str) -> Result<Value> {
        query(self.lab, self.options.program(), command)
    }

    /// The same without a running agent; also for `doctor` that finds faults and so ends with 1.
    pub fn query(lab: &Lab, command: &str) -> Result<Value> {
        query(lab, agent_binary(), command)
    }

    /// Runs the agent's binary for this lab's gateway to its end.
    pub fn run(lab: &Lab, arguments: &[&str]) -> Result<process::Output> {
        run(lab, agent_binary(), arguments)
    }
}

fn query(lab: &Lab, program: PathBuf, command: &str) -> Result<Value> {
    let output = run(lab, program, &[command, "-o", "json"])?;
    serde_json::from_str(&output.stdout)
        .with_context(|| format!("egress-agent {command}: {}\n{}{}", output.status, output.stdout, output.stderr))
}

impl Gateway for Agent<'_> {
    fn label(&self) -> &'static str {
        "egress-agent"
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.kill9();
        // The pins would outlive the namespace.
        let _ = run(self.lab, self.options.program(), &["detach"]);
        for path in [pins(self.lab), status(self.lab)].into_iter().flatten() {
            cleanup::remove(&path);
        }
    }
}

fn run(lab: &Lab, program: PathBuf, arguments: &[&str]) -> Result<process::Output> {
    let mut command = Command::new(program);
    command.args(arguments).arg("--netns").arg(lab.gateway.ns.path());
    process::run(command, None)
}

fn start(lab: &Lab, options: &AgentOptions) -> Result<(Child, Arc<Log>)> {
    // A signal ends this process without a `Drop`.
    cleanup::register(&pins(lab)?);
    cleanup::register(&status(lab)?);
    let mut command = if options.as_pod {
        bpffs::mount_if_missing()?;
        let mut command = lab.gateway.ns.command(options.program())?;
        process::keep_only_capabilities(&mut command, POD_CAPABILITIES);
        command.arg("gateway");
        command
    } else {
        let mut command = Command::new(options.program());
        command.arg("gateway").arg("--netns").arg(lab.gateway.ns.path());
        command
    };
    for file in &options.files {
        command.arg("--file").arg(file);
    }
    command.args(&options.arguments);
    // Another object than the agent has in it, for `cargo xtask controls`.
    if let Some(object) = env::var_os("EGRESS_OBJECT")
        && options.binary.is_none()
    {
        command.arg("--object").arg(object);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = process::spawn(command)?;
    let log = Arc::new(Log::default());
    let (sink, stderr) = (Arc::clone(&log), child.stderr.take().context("the agent's standard error")?);
    thread::Builder::new().name("agent-log".into()).spawn(move || follow(stderr, &sink)).context("thread for a log")?;
    Ok((child, log))
}

fn follow(stderr: ChildStderr, log: &Log) {
    let mut lines = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        let ended = !matches!(lines.read_until(b'\n', &mut line), Ok(length) if length > 0);
        let mut text = locked(&log.text);
        text.0.push_str(&String::from_utf8_lossy(&line));
        text.1 |= ended;
        log.changed.notify_all();
        if ended {
            return;
        }
    }
}
