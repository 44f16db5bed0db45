//! The one error of this module: what was tried, and the kernel's answer.

use std::io;

use nix::errno::Errno;

/// Something the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct Error {
    /// What was tried, with the object's name.
    pub what: String,
    /// The kernel's answer.
    pub source: io::Error,
}

impl Error {
    /// An error with context.
    pub fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { what: what.into(), source: source.into() }
    }

    /// The process lacks the right (`EPERM`, `EACCES`) or the file system is read-only (`EROFS`): somebody with more
    /// rights has to do it.
    #[must_use]
    pub fn denied(&self) -> bool {
        [Errno::EPERM, Errno::EACCES, Errno::EROFS].iter().any(|e| self.is(*e))
    }

    /// The kernel answered with this number.
    #[must_use]
    pub fn is(&self, errno: Errno) -> bool {
        self.source.raw_os_error() == Some(errno as i32)
    }

    /// Context for an answer of rtnetlink.
    pub(super) fn netlink(what: impl Into<String>, source: rtnetlink::Error) -> Self {
        let source = match source {
            rtnetlink::Error::NetlinkError(e) => e.to_io(),
            rtnetlink::Error::RequestFailed => io::Error::other("the netlink connection has ended"),
            other => io::Error::other(other.to_string()),
        };
        Self { what: what.into(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_covers_rights_and_read_only_mounts_only() {
        for (errno, denied) in [
            (Errno::EPERM, true),
            (Errno::EACCES, true),
            (Errno::EROFS, true),
            (Errno::ENOENT, false),
            (Errno::EINVAL, false),
        ] {
            assert_eq!(Error::new("x", errno).denied(), denied, "{errno}");
        }
    }
}
