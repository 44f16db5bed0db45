//! Clients and servers inside the lab.

pub mod bulk;
pub mod flood;
pub mod icmp;
pub mod path;
mod service;
pub mod stream;
pub mod tcp;
pub mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt};

use crate::Family;
use crate::system::Netns;

pub use crate::capture::Injector;

/// How long an answer may take. Long, because two busy cores are slow; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Whom to call, and from which address and port; the kernel chooses what is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The server.
    pub to: SocketAddr,
    /// The own address and port.
    pub from: Option<SocketAddr>,
    /// How long to wait.
    pub patience: Duration,
}

impl Call {
    /// Calls `to` from any port.
    pub fn to(address: IpAddr, port: u16) -> Self {
        Self { to: SocketAddr::new(address, port), from: None, patience: PATIENCE }
    }

    /// From this port.
    pub fn from_port(mut self, port: u16) -> Self {
        self.from = Some(SocketAddr::new(any(Family::of(self.to.ip())), port));
        self
    }

    /// Waiting no longer than this.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// The wildcard address.
pub const fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Sends a hand-made Ethernet frame out of an interface; see [`crate::packet::build`].
pub fn inject(ns: &Netns, interface: &str, frame: &[u8]) -> Result<()> {
    let sent = Injector::open(ns, interface)?.send(frame);
    sent.with_context(|| format!("on {interface} in {}", ns.name()))
}

/// A socket of the namespace, bound to `from` if given. Ports can be bound again at once after a close.
fn socket_in(ns: &Netns, to: SocketAddr, from: Option<SocketAddr>, kind: SockType) -> Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = ns.run(|| socket(family, kind, SockFlag::SOCK_CLOEXEC, None))?.context("socket")?;
    setsockopt(&fd, sockopt::ReuseAddr, &true).context("SO_REUSEADDR")?;
    if let Some(from) = from {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).with_context(|| format!("bind to {from}"))?;
    }
    Ok(fd)
}

/// Sets an integer socket option that nix does not know.
fn set_option(fd: impl AsFd, level: libc::c_int, name: libc::c_int, value: u32) -> Result<()> {
    // SAFETY: a setsockopt(2) that reads one u32 that outlives the call.
    let set = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    Errno::result(set).map(drop).with_context(|| format!("socket option {level}/{name}"))
}
