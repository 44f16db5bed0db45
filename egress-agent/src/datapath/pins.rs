//! Where a gateway's programs, links and maps are found again:
//! `<root>/<gateway id>/links/{out,in,guard,xdp-out,xdp-in}`, `progs/*`, `maps/<layout>/*`.
//!
//! The id is the Pod's UID, else device:inode of the network namespace. Links stay over a change of the map layout, maps do
//! not. Whoever changes something holds the lock of the gateway's folder.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use egress_common::abi::layout;
use nix::fcntl::{Flock, FlockArg};

use super::{alive, sys, xdp};

/// Root of all pins.
pub const ROOT: &str = "/sys/fs/bpf/egress-ebpf";

/// Where a gateway Pod has its own folder of [`ROOT`]: it sees no other's, and its container is no place to mount into `/sys`.
pub const POD_PINS: &str = "/run/egress-ebpf-pins";

/// The links, in the order in which they are attached; detaching is the reverse.
pub const LINKS: [&str; 5] = ["guard", "in", "out", "xdp-in", "xdp-out"];

/// The folder of one gateway.
#[derive(Clone, Debug)]
pub struct Pins {
    /// Gateway id.
    pub id: String,
    dir: PathBuf,
}

/// Held by whoever changes a gateway's pins.
pub type Lock = Flock<File>;

impl Pins {
    /// The pins of a gateway; nothing is created.
    #[must_use]
    pub fn of(id: &str) -> Self {
        Self { id: id.to_owned(), dir: Path::new(ROOT).join(id) }
    }

    /// The pins of a gateway Pod that sees its own folder only.
    #[must_use]
    pub fn of_pod(uid: &str) -> Self {
        Self { id: uid.to_owned(), dir: PathBuf::from(POD_PINS) }
    }

    /// Every gateway that has pins on this machine.
    pub fn all() -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(ROOT) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut all = Vec::new();
        for entry in entries {
            all.push(Self::of(&entry?.file_name().to_string_lossy()));
        }
        Ok(all)
    }

    /// Whether anything of this gateway is there.
    #[must_use]
    pub fn exist(&self) -> bool {
        // A Pod's folder is there before anything is in it.
        if self.in_pod() { self.dir.join("links").is_dir() } else { self.dir.is_dir() }
    }

    /// Whether it is the folder of a gateway Pod, seen from within.
    #[must_use]
    pub fn in_pod(&self) -> bool {
        self.dir == Path::new(POD_PINS)
    }

    /// The folder of them all.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The pinned link of this name.
    #[must_use]
    pub fn link(&self, name: &str) -> PathBuf {
        self.dir.join("links").join(name)
    }

    /// The link of a program that is to have this one's place.
    #[must_use]
    pub fn new_link(&self, name: &str) -> PathBuf {
        self.link(&format!("{name}-new"))
    }

    /// The map of [`alive`].
    #[must_use]
    pub fn alive(&self) -> PathBuf {
        self.dir.join("alive")
    }

    /// The pinned program of this name.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join("progs").join(name)
    }

    /// The pinned map of this name, in the layout that this build knows.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    fn maps(&self) -> PathBuf {
        self.dir.join("maps").join(format!("{:016x}", layout::hash()))
    }

    /// The folders of maps that builds with another layout left.
    pub fn other_maps(&self) -> io::Result<Vec<PathBuf>> {
        let own = self.maps();
        let entries = match fs::read_dir(self.dir.join("maps")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        Ok(paths.into_iter().filter(|path| *path != own).collect())
    }

    /// Creates the folders and takes the lock.
    pub fn create(&self) -> Result<Lock> {
        for dir in [self.dir.join("links"), self.dir.join("progs"), self.maps()] {
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        self.lock()
    }

    /// Takes the lock of an existing folder.
    pub fn lock(&self) -> Result<Lock> {
        let file = File::open(&self.dir).with_context(|| format!("open {}", self.dir.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(lock),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                bail!("gateway {}: another egress-agent is running for this network namespace; stop it first", self.id)
            }
            Err((_, error)) => Err(error).with_context(|| format!("lock {}", self.dir.display())),
        }
    }

    /// Removes everything of this gateway. The guard's link goes last.
    pub fn remove(&self) -> Result<()> {
        xdp::detach(self)?;
        for name in LINKS.iter().rev() {
            unlink(&self.link(name))?;
            unlink(&self.new_link(name))?;
        }
        if self.in_pod() {
            // Mounted, it cannot go itself.
            ["links", "progs", "maps"].iter().try_for_each(|name| remove_tree(&self.dir.join(name)))?;
            return unlink(&self.alive());
        }
        remove_tree(&self.dir)
    }

    /// Whether the gateway's namespace ended: the interfaces of all its links are gone, or those that were noted where filters of a
    /// clsact qdisc are used; or, where nothing was attached yet, no namespace has its inode any more.
    #[must_use]
    pub fn dead(&self) -> bool {
        let mut links = LINKS.iter().map(|name| sys::link_info(&self.link(name))).filter_map(Result::ok).peekable();
        if links.peek().is_some() {
            return links.all(|info| info.ifindex == 0);
        }
        if let Some(alive) = alive::seen(self) {
            return !alive;
        }
        let inode = self.id.split_once(':').and_then(|(_, inode)| inode.parse::<u64>().ok());
        inode.is_some_and(|inode| !namespaces().any(|one| one == inode))
    }
}

/// Inodes of the network namespaces that processes are in or that have a name.
fn namespaces() -> impl Iterator<Item = u64> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path().join("ns/net"));
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.path());
    processes.chain(named).filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.ino())
}

/// Removes the pins of gateways whose namespace is gone, but for the one with the id `keep`. Returns the ids.
pub fn sweep(keep: Option<&str>) -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for pins in Pins::all().with_context(|| format!("list {ROOT}"))? {
        if keep != Some(&*pins.id)
            && pins.dead()
            && let Ok(_lock) = pins.lock()
        {
            pins.remove().with_context(|| format!("sweep {}", pins.id))?;
            swept.push(pins.id);
        }
    }
    Ok(swept)
}

/// Removes a pin if it is there.
pub fn unlink(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a folder of pins if it is there.
pub fn remove_tree(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
