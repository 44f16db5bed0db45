//! A BPF file system for the pins, one that outlives the agent.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sys::{
        stat::{major, minor},
        statfs::{BPF_FS_MAGIC, statfs},
    },
};

#[cfg(test)]
mod tests;

/// Where the BPF file system belongs.
pub const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Why there is no file system that pins can be kept in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Pins would vanish with the process.
    #[error(
        "{root}: the mount namespace of this process is a private one (as `ip netns exec` makes it), its pins would be \
         lost with it and traffic would stop; run the agent outside and name the network namespace: --netns PATH (such as \
         /run/netns/NAME)"
    )]
    Private {
        /// Folder of the pins.
        root: PathBuf,
    },
    /// The folder is outside of [`MOUNT_POINT`], where the agent mounts nothing.
    #[error("{root}: is not in a BPF file system; use a folder below {MOUNT_POINT}")]
    Elsewhere {
        /// Folder of the pins.
        root: PathBuf,
    },
    /// The mount failed.
    #[error("mounting a BPF file system at {MOUNT_POINT}: {source}; do it with `mount -t bpf bpf {MOUNT_POINT}`")]
    Mount {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something could not be looked at.
    #[error("{path}: {source}")]
    Look {
        /// What was looked at.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    /// The pins are in a BPF file system.
    here: bool,
    /// The pins belong below [`MOUNT_POINT`].
    below: bool,
    /// This process has the mount namespace of process 1; `None` if that cannot be seen.
    shared: Option<bool>,
    /// Process 1 has the same BPF file system mounted somewhere.
    lasting: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Mount,
    Private,
    Elsewhere,
}

/// In a container, process 1 is the container's own or (with the host's PIDs) the machine's. A mount namespace beside
/// that is somebody's private one: what is mounted only there ends with it.
const fn decide(facts: Facts) -> Verdict {
    let private = matches!(facts.shared, Some(false));
    match facts {
        Facts { here: true, lasting: false, .. } if private => Verdict::Private,
        Facts { here: true, .. } => Verdict::Fine,
        Facts { here: false, .. } if private => Verdict::Private,
        Facts { here: false, below: true, .. } => Verdict::Mount,
        Facts { here: false, below: false, .. } => Verdict::Elsewhere,
    }
}

/// Make sure that `root`, the folder of the pins (which need not exist yet), is in a BPF file system that stays.
///
/// Mounts one at [`MOUNT_POINT`] where it lacks. Returns whether it did.
///
/// # Errors
/// The mount namespace is a private one, or the mount is not allowed.
pub fn ensure(root: &Path) -> Result<bool, Error> {
    let mut verdict = decide(look(root)?);
    let _turn;
    if verdict == Verdict::Mount {
        // The second of two that start at once would hide the pins of the first.
        _turn = turn().map_err(|source| Error::Mount { source })?;
        verdict = decide(look(root)?);
    }
    match verdict {
        Verdict::Fine => Ok(false),
        Verdict::Private => Err(Error::Private { root: root.into() }),
        Verdict::Elsewhere => Err(Error::Elsewhere { root: root.into() }),
        Verdict::Mount => mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map(|()| true)
            .map_err(|e| Error::Mount { source: e.into() }),
    }
}

/// The folder that is to be mounted over, locked.
fn turn() -> io::Result<File> {
    let folder = File::open(MOUNT_POINT)?;
    folder.lock()?;
    Ok(folder)
}

fn look(root: &Path) -> Result<Facts, Error> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Look { path, source }
    };
    let nearest = root.ancestors().find(|p| p.exists()).unwrap_or_else(|| Path::new("/"));
    let here = statfs(nearest).map_err(|e| failed(nearest)(e.into()))?.filesystem_type() == BPF_FS_MAGIC;
    let device = std::fs::metadata(nearest).map_err(failed(nearest))?.dev();
    let own = Path::new("/proc/self/mountinfo");
    let own = Mounts::parse(&std::fs::read_to_string(own).map_err(failed(own))?);
    // Process 1 may be hidden (hidepid). Its mountinfo is open to more than its ns/mnt, which asks for ptrace rights.
    let init = std::fs::read_to_string("/proc/1/mountinfo").ok().map(|text| Mounts::parse(&text));
    Ok(Facts {
        here,
        below: root.starts_with(MOUNT_POINT),
        shared: init.as_ref().map(|init| !init.ids.is_disjoint(&own.ids)),
        lasting: init.is_some_and(|init| init.bpf.contains(&(major(device), minor(device)))),
    })
}

/// What matters of a mountinfo file (proc_pid_mountinfo(5)).
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    /// Mount IDs: no two mount namespaces share one.
    ids: BTreeSet<u64>,
    /// Devices (major, minor) of BPF file systems.
    bpf: BTreeSet<(u64, u64)>,
}

impl Mounts {
    fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for line in text.lines() {
            let mut fields = line.split(' ');
            let Some(id) = fields.next().and_then(|id| id.parse().ok()) else { continue };
            mounts.ids.insert(id);
            let device = fields.nth(1).and_then(|d| d.split_once(':'));
            // A lone dash ends the optional fields; the type follows.
            let kind = fields.skip_while(|f| *f != "-").nth(1);
            if let (Some("bpf"), Some((major, minor))) = (kind, device) {
                mounts.bpf.extend(major.parse().ok().zip(minor.parse().ok()));
            }
        }
        mounts
    }
}
