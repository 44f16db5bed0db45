//! The programs of a machine: started once, and again when they end, as systemd would do.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::PATH;

/// Each has its process number in a file here, and one line more per time that it was started again.
pub(crate) const FOLDER: &str = "/run/services";
const PAUSE: Duration = Duration::from_secs(1);

/// What a machine runs.
#[derive(Default)]
pub(super) struct Services(Vec<Service>);

struct Service {
    name: String,
    argv: Vec<String>,
    pid: Option<Pid>,
    ended: Instant,
}

impl Services {
    /// Starts a program by its words; its log is `/var/log/<name>.log`.
    pub(super) fn start(&mut self, name: &str, argv: &[impl AsRef<str>]) -> Result<()> {
        let argv = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        let mut service = Service { name: name.to_owned(), argv, pid: None, ended: Instant::now() };
        service.spawn()?;
        self.0.push(service);
        Ok(())
    }

    /// Stays for good: reaps what ends, also what lost its parent, and starts services again.
    pub(super) fn stay(mut self) -> ! {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => thread::sleep(Duration::from_millis(50)),
                Ok(status) => {
                    if let Some(service) = self.0.iter_mut().find(|service| service.pid == status.pid()) {
                        println!("{} ended: {status:?}", service.name);
                        (service.pid, service.ended) = (None, Instant::now());
                    }
                }
            }
            let due = self.0.iter_mut().filter(|it| it.pid.is_none() && it.ended.elapsed() >= PAUSE && !it.is_held());
            for service in due {
                if let Err(error) = service.spawn() {
                    println!("{error:#}");
                    service.ended = Instant::now();
                }
            }
        }
    }
}

impl Service {
    fn spawn(&mut self) -> Result<()> {
        let log = Path::new("/var/log").join(format!("{}.log", self.name));
        let open = || OpenOptions::new().create(true).append(true).open(&log);
        let (out, err) = (open().context("open a log")?, open().context("open a log")?);
        let (program, arguments) = self.argv.split_first().context("a service without a program")?;
        let mut command = Command::new(program);
        command.args(arguments.iter().map(OsStr::new)).env_clear().env("PATH", PATH).env("HOME", "/root");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().with_context(|| format!("start {}", self.name))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a process number")?);
        self.pid = Some(pid);
        fs::create_dir_all(FOLDER).with_context(|| format!("create {FOLDER}"))?;
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).context("record a service")?;
        writeln!(file, "{pid}").context("record a service")
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Somebody wants it to stay away for a while: there is a file `<name>.hold`.
    fn is_held(&self) -> bool {
        Path::new(FOLDER).join(format!("{}.hold", self.name)).exists()
    }
}
