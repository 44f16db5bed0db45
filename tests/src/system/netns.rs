//! A named network namespace and work inside it.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::{panic, thread};

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::cleanup::{self, NETNS_DIR};
use super::process::{self, Output};

const NOTHING: Option<&str> = None;

/// A network namespace with a name under `/run/netns`, as `ip netns` makes them; one that we made is removed on drop.
#[derive(Debug)]
pub struct Netns {
    name: String,
    path: PathBuf,
    handle: File,
    /// It goes with the value.
    ours: bool,
}

impl Netns {
    /// One that somebody else made and will remove, by any path to it.
    pub fn of_another(name: &str, path: &Path) -> Result<Self> {
        let handle = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { name: name.to_owned(), path: path.to_owned(), handle, ours: false })
    }

    /// Makes it. Only `lo` is inside, and down.
    pub fn create(name: &str) -> Result<Self> {
        share_netns_dir()?;
        cleanup::make(|| Self::make(name))
    }

    fn make(name: &str) -> Result<Self> {
        let path = Path::new(NETNS_DIR).join(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("create {}", path.display()))?;
        cleanup::register(&path);
        let made = in_own_thread(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare the network namespace (needs root)")?;
            let own = "/proc/thread-self/ns/net";
            mount(Some(own), &path, NOTHING, MsFlags::MS_BIND, NOTHING).context("bind-mount the namespace")?;
            File::open(own).context("open the namespace")
        })
        .and_then(|result| result);
        match made {
            Ok(handle) => Ok(Self { name: name.to_owned(), path, handle, ours: true }),
            Err(error) => {
                cleanup::remove(&path);
                Err(error.context(format!("namespace {name}")))
            }
        }
    }

    /// Its name, as `ip -n` wants it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path under `/run/netns`, as `egress-agent --netns` wants it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` in a thread of its own inside the namespace; sockets made there stay there. A panic goes on outside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        in_own_thread(|| {
            setns(self.handle.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", self.name))?;
            Ok(work())
        })
        .and_then(|result| result)
    }

    /// What brings the thread that calls it into the namespace, for good.
    pub fn door(&self) -> Result<impl Fn() -> Result<()> + Send + 'static> {
        let handle = self.handle.try_clone().context("second handle of a namespace")?;
        Ok(move || setns(handle.as_fd(), CloneFlags::CLONE_NEWNET).context("enter a namespace"))
    }

    /// Writes sysctls, each as `net/ipv4/ip_forward` and its value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            settings.iter().try_for_each(|(key, value)| {
                fs::write(Path::new("/proc/sys").join(key), value)
                    .with_context(|| format!("set {key} = {value} in {}", self.name))
            })
        })
        .and_then(|result| result)
    }

    /// A command that will run in the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<std::process::Command> {
        process::command_in(&self.handle, program)
    }

    /// Runs a command line (split at blanks) and returns its standard output; a failure is an error with its words.
    pub fn sh(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().context("empty command line")?)?;
        command.args(words);
        self.succeed(process::run(command, None)?, line)
    }

    /// Runs a command with `input` as its standard input, as for `ip -batch -` and `iptables-restore`.
    pub fn feed(&self, line: &str, input: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().context("empty command line")?)?;
        command.args(words);
        self.succeed(process::run(command, Some(input))?, line)
    }

    fn succeed(&self, output: Output, line: &str) -> Result<String> {
        ensure!(output.status.success(), "`{line}` in {}: {}\n{}", self.name, output.status, output.stderr.trim_end());
        Ok(output.stdout)
    }

    /// The index of an interface.
    pub fn ifindex(&self, interface: &str) -> Result<u32> {
        self.run(|| nix::net::if_::if_nametoindex(interface))?
            .with_context(|| format!("interface {interface} in {}", self.name))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.ours {
            cleanup::remove(&self.path);
        }
    }
}

fn in_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let handle = thread::Builder::new().spawn_scoped(scope, work).context("start a thread")?;
        handle.join().or_else(|payload| panic::resume_unwind(payload))
    })
}

/// Does what `ip netns` does at its first use. Without it, a later `ip netns` would mount over our names.
fn share_netns_dir() -> Result<()> {
    fs::create_dir_all(NETNS_DIR).with_context(|| format!("create {NETNS_DIR}"))?;
    let folder = File::open(NETNS_DIR).with_context(|| format!("open {NETNS_DIR}"))?;
    let _lock =
        Flock::lock(folder, FlockArg::LockExclusive).map_err(|(_, error)| anyhow!("lock {NETNS_DIR}: {error}"))?;
    let share = || mount(NOTHING, NETNS_DIR, NOTHING, MsFlags::MS_SHARED | MsFlags::MS_REC, NOTHING);
    match share() {
        Err(Errno::EINVAL) => {
            mount(Some(NETNS_DIR), NETNS_DIR, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
                .with_context(|| format!("bind {NETNS_DIR} to itself"))?;
            share()
        }
        other => other,
    }
    .with_context(|| format!("share {NETNS_DIR}"))
}
