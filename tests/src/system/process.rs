//! Child processes: inside a namespace, with a timeout, and never outliving this process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::libc;
use nix::sched::{CloneFlags, setns};

use super::locked;

/// How long a command of the lab may take.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command that enters the namespace before it starts.
pub(super) fn command_in(namespace: &File, program: impl AsRef<OsStr>) -> Result<Command> {
    let namespace = namespace.try_clone().context("duplicate the namespace's descriptor")?;
    let mut command = Command::new(program);
    let enter = move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?);
    // SAFETY: between fork and exec only setns(2) is called, on a descriptor that the closure owns.
    unsafe { command.pre_exec(enter) };
    Ok(command)
}

/// Leaves the command no capabilities but these (numbers of `linux/capability.h`), also as uid 0.
pub fn keep_only_capabilities(command: &mut Command, keep: &'static [u8]) {
    let drop_others = move || {
        for capability in (0..64_u8).filter(|capability| !keep.contains(capability)) {
            // SAFETY: prctl(2) with integers only; EINVAL ends the list of those that the kernel knows.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) } != 0 {
                break;
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl(2) is called.
    unsafe { command.pre_exec(drop_others) };
}

/// Starts a command that gets SIGKILL when this process dies.
///
/// The kernel ties that signal to the thread that forked, so one thread, which never ends, does all the forking.
pub fn spawn(mut command: Command) -> Result<Child> {
    type Job = Box<dyn FnOnce() + Send>;
    static SPAWNER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);
    // SAFETY: between fork and exec only prctl(2) is called.
    unsafe { command.pre_exec(die_with_parent) };
    let name = command.get_program().to_string_lossy().into_owned();
    let (reply, answer) = mpsc::channel();
    let job: Job = Box::new(move || {
        let _ = reply.send(command.spawn());
    });
    {
        let mut spawner = locked(&SPAWNER);
        if spawner.is_none() {
            let (sender, jobs) = mpsc::channel::<Job>();
            thread::Builder::new()
                .name("lab-spawner".into())
                .spawn(move || jobs.into_iter().for_each(|job| job()))
                .context("thread for starting processes")?;
            *spawner = Some(sender);
        }
        if let Some(sender) = spawner.as_ref() {
            sender.send(job).ok().context("the thread that starts processes is gone")?;
        }
    }
    answer.recv().context("the thread that starts processes is gone")?.with_context(|| format!("start {name}"))
}

fn die_with_parent() -> std::io::Result<()> {
    // SAFETY: prctl(2) with integers only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Runs a command to its end, at most [`TIMEOUT`], with `input` on its standard input.
pub fn run(mut command: Command, input: Option<&str>) -> Result<Output> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let line = format!("{command:?}");
    let mut child = spawn(command)?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A command that ends early shows in its status.
            if let (Some(mut pipe), Some(text)) = (stdin, input) {
                let _ = pipe.write_all(text.as_bytes());
            }
        });
        let stdout = scope.spawn(move || read_all(stdout));
        let stderr = scope.spawn(move || read_all(stderr));
        let status = wait(&mut child, TIMEOUT);
        if !matches!(status, Ok(Some(_))) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        match status? {
            Some(status) => Ok(Output { status, stdout, stderr }),
            None => bail!("{line} did not end within {TIMEOUT:?}\n{stderr}"),
        }
    })
}

/// Waits for the child's end; `None` when `timeout` has passed.
pub fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + crate::wait::patient(timeout);
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait().context("wait for a child process")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn read_all(pipe: Option<impl Read + AsRawFd>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
