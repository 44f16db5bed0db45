//! What is removed when a lab ends in another way than by `Drop`: by a signal, or by its process having been killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::{io::Read, thread};

use anyhow::{Context, Result, anyhow};
use nix::libc;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

use super::name::InstanceName;
use super::{locked, setting};

/// Where `ip netns` keeps its names.
pub const NETNS_DIR: &str = "/run/netns";

static PATHS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

/// Sweeps once per process and sees to it that a signal cleans up; every lab calls it first.
pub fn prepare() -> Result<()> {
    static ONCE: OnceLock<Result<(), String>> = OnceLock::new();
    ONCE.get_or_init(|| {
        sweep();
        watch_signals().map_err(|error| format!("{error:#}"))
    })
    .clone()
    .map_err(|error| anyhow!(error))
}

/// Held for good by the thread that cleans up after a signal, and by others while they make what it must not miss.
static MAKING: RwLock<()> = RwLock::new(());

/// Makes something that is registered; not once a signal ends the process, which would leave it behind.
pub(crate) fn make<T>(it: impl FnOnce() -> Result<T>) -> Result<T> {
    let _making = MAKING.read().unwrap_or_else(PoisonError::into_inner);
    it()
}

/// Removes `path` (a namespace's mount, a folder or a file) if the process ends before [`remove`] did.
pub(crate) fn register(path: &Path) {
    locked(&PATHS).insert(path.to_owned());
}

/// Removes a namespace's mount, a folder or a file; what is gone already is fine.
pub(crate) fn remove(path: &Path) {
    if path.is_dir() {
        let _ = fs::remove_dir_all(path);
    } else {
        let _ = umount2(path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(path);
    }
    locked(&PATHS).remove(path);
}

/// Removes the namespaces and folders of labs whose process is dead, and returns their paths.
pub fn sweep() -> Vec<PathBuf> {
    let mut swept = Vec::new();
    for folder in [PathBuf::from(NETNS_DIR), std::env::temp_dir()] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let dead = name.to_str().and_then(InstanceName::parse).is_some_and(|instance| !instance.is_alive());
            if dead {
                remove(&entry.path());
                swept.push(entry.path());
            }
        }
    }
    swept
}

/// Work for the case that a signal ends the process; it comes before anything is removed.
type AtSignal = Box<dyn FnOnce() + Send>;
static AT_SIGNAL: Mutex<Vec<AtSignal>> = Mutex::new(Vec::new());

/// Does `work` if a signal ends the process.
pub(crate) fn at_signal(work: impl FnOnce() + Send + 'static) -> Result<()> {
    prepare()?;
    locked(&AT_SIGNAL).push(Box::new(work));
    Ok(())
}

type AtExit = fn();
static AT_EXIT: Mutex<Vec<AtExit>> = Mutex::new(Vec::new());

/// Does `work` when the process ends by itself, for what is static and never dropped.
pub fn at_exit(work: AtExit) {
    extern "C" fn all() {
        std::mem::take(&mut *locked(&AT_EXIT)).into_iter().for_each(|work| work());
    }
    let mut works = locked(&AT_EXIT);
    if works.is_empty() {
        // SAFETY: the function lives as long as the process and does not unwind: what it calls returns or ends the process.
        unsafe { libc::atexit(all) };
    }
    works.push(work);
}

fn remove_everything() {
    std::mem::forget(MAKING.write().unwrap_or_else(PoisonError::into_inner));
    let work = std::mem::take(&mut *locked(&AT_SIGNAL));
    work.into_iter().for_each(|work| work());
    setting::put_back();
    let paths: Vec<_> = locked(&PATHS).iter().cloned().collect();
    for path in paths {
        remove(&path);
    }
}

/// The handler only writes the signal's number; a thread does what is not allowed in a handler.
fn watch_signals() -> Result<()> {
    let (mut reader, writer) = UnixStream::pair().context("socket pair for signals")?;
    SIGNAL_PIPE.store(writer.as_raw_fd(), Ordering::SeqCst);
    thread::Builder::new()
        .name("lab-cleanup".into())
        .spawn(move || {
            let _writer = writer;
            let mut byte = [0_u8];
            if reader.read_exact(&mut byte).is_ok() {
                remove_everything();
                end_by(byte[0]);
            }
        })
        .context("thread for cleaning up")?;
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler calls nothing but write(2), which signal-safety(7) allows.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("handler for {signal}"))?;
    }
    Ok(())
}

extern "C" fn on_signal(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: the descriptor belongs to a socket that lives as long as the process; one byte is read from a local.
    unsafe { libc::write(SIGNAL_PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
}

/// Ends by the same signal, so that a shell sees what it expects.
fn end_by(number: u8) {
    let signal = Signal::try_from(i32::from(number)).unwrap_or(Signal::SIGTERM);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action replaces our handler; no Rust code runs in it.
    let _ = unsafe { sigaction(signal, &default) };
    let _ = raise(signal);
    std::process::exit(128 + i32::from(number));
}

/// A folder for one lab's files, removed with it.
#[derive(Debug)]
pub struct LabFolder(PathBuf);

impl LabFolder {
    /// Makes `<temporary folder>/<instance>`.
    pub fn create(instance: &InstanceName) -> Result<Self> {
        let path = std::env::temp_dir().join(instance.to_string());
        make(|| match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("create folder {}", path.display()))
            }
            _ => {
                register(&path);
                Ok(())
            }
        })?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LabFolder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}
