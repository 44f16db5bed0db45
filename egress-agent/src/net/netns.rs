//! Network namespaces: enter one, tell them apart.

use std::{
    fmt,
    fs::File,
    io,
    mem::size_of,
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::Path,
    thread,
};

use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, setns},
};

use super::Error;

const OWN: &str = "/proc/thread-self/ns/net";

/// What tells a network namespace from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device of the namespace file (nsfs).
    pub device: u64,
    /// Inode of the namespace file; reused after the namespace is gone.
    pub inode: u64,
    /// `SO_NETNS_COOKIE`: never reused until the next boot. `None` before Linux 5.14.
    pub cookie: Option<u64>,
}

impl fmt::Display for Identity {
    /// `device:inode`, which is a valid name in a BPF file system.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// Move the calling thread into the network namespace at `path` (`/run/netns/NAME`, `/proc/PID/ns/net`).
///
/// Threads started later inherit it, others do not: call it before the runtime starts. The mount namespace stays, so
/// `/sys/fs/bpf` is still the machine's.
///
/// # Errors
/// `path` is missing, is no network namespace, or the process may not enter it.
pub fn enter(path: &Path) -> Result<(), Error> {
    let what = format!("entering network namespace {}", path.display());
    let file = File::open(path).map_err(|e| Error::new(&what, e))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::new(what + hint(errno), errno))
}

/// What would be right, for the answers of `setns` that do not say it.
const fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EINVAL => {
            ": the file is no network namespace; one is /run/netns/NAME or /proc/PID/ns/net (a name that was bound in \
             another mount namespace is an empty file here)"
        }
        Errno::EPERM => ": needs CAP_SYS_ADMIN, here and in the user namespace that owns the network namespace",
        _ => "",
    }
}

/// Identity of the calling thread's network namespace.
///
/// # Errors
/// `/proc` is not mounted or no socket can be made.
pub fn identity() -> Result<Identity, Error> {
    let what = "asking for the identity of the network namespace";
    let meta = std::fs::metadata(OWN).map_err(|e| Error::new(format!("{what}: {OWN}"), e))?;
    let cookie = cookie().map_err(|e| Error::new(format!("{what}: SO_NETNS_COOKIE"), e))?;
    Ok(Identity { device: meta.dev(), inode: meta.ino(), cookie })
}

/// Identity of the network namespace at `path`; the calling thread stays where it is.
///
/// # Errors
/// As [`enter`] and [`identity`].
pub fn identity_of(path: &Path) -> Result<Identity, Error> {
    thread::scope(|scope| {
        scope.spawn(|| enter(path).and_then(|()| identity())).join().unwrap_or_else(|_| {
            let what = format!("asking for the identity of {}", path.display());
            Err(Error::new(what, io::Error::other("the thread that entered it ended early")))
        })
    })
}

/// The cookie that the kernel gave the current network namespace; `None` where it does not know the option.
fn cookie() -> io::Result<Option<u64>> {
    let socket = UnixDatagram::unbound()?;
    let mut value = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `value` and `len` live across the call and `len` is the size of `value`.
    let ret = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    match Errno::result(ret) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::ENOPROTOOPT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_identity_is_that_of_the_namespace_file_and_stable() {
        let id = identity().unwrap();
        let meta = std::fs::metadata("/proc/self/ns/net").unwrap();
        assert_eq!((id.device, id.inode), (meta.dev(), meta.ino()));
        assert_eq!(id, identity().unwrap());
        assert_eq!(id.to_string(), format!("{}:{}", meta.dev(), meta.ino()));
    }

    #[test]
    fn errors_name_the_path_and_what_would_be_right() {
        let missing = enter(Path::new("/run/netns/no-such-name")).unwrap_err();
        assert!(missing.is(Errno::ENOENT), "{missing}");
        assert!(missing.to_string().contains("/run/netns/no-such-name"), "{missing}");

        let wrong = enter(Path::new("/dev/null")).unwrap_err();
        assert!(wrong.is(Errno::EINVAL) || wrong.denied(), "{wrong}");
        assert!(hint(Errno::EINVAL).contains("/run/netns/NAME"));
        assert!(hint(Errno::EPERM).contains("CAP_SYS_ADMIN"));
    }
}
