//! Echo requests with chosen identifiers, from raw sockets.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendto, setsockopt, socket,
    sockopt,
};

use super::set_option;
use crate::Family;
use crate::packet::build::echo_request;
use crate::packet::{be16, parse_ip};
use crate::system::Netns;

/// An echo reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Who answered.
    pub from: IpAddr,
    /// From request to reply.
    pub time: Duration,
    /// What came behind the echo header.
    pub payload: Vec<u8>,
}

/// A raw socket for echo messages.
#[derive(Debug)]
pub struct Pinger {
    fd: OwnedFd,
    family: Family,
}

impl Pinger {
    /// Opens it in a namespace.
    pub fn new(ns: &Netns, family: Family) -> Result<Self> {
        let (domain, protocol) = match family {
            Family::V4 => (AddressFamily::Inet, SockProtocol::Icmp),
            Family::V6 => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let fd = ns.run(|| socket(domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol))?;
        let fd = fd.context("raw socket (needs root)")?;
        Ok(Self { fd, family })
    }

    /// Sends with this TTL or hop limit.
    pub fn ttl(self, ttl: u8) -> Result<Self> {
        match self.family {
            Family::V4 => setsockopt(&self.fd, sockopt::Ipv4Ttl, &i32::from(ttl)).context("IP_TTL")?,
            Family::V6 => set_option(&self.fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, u32::from(ttl))?,
        }
        Ok(self)
    }

    /// Sends a request without waiting.
    pub fn send(&self, to: IpAddr, id: u16, sequence: u16, payload: &[u8]) -> Result<()> {
        // The kernel computes the ICMPv6 checksum, which covers a source address that is not chosen yet.
        let message = echo_request(to, to, id, sequence, payload);
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        sendto(self.fd.as_raw_fd(), &message, &to, MsgFlags::empty()).context("send an echo request")?;
        Ok(())
    }

    /// Sends a request and waits for its reply.
    pub fn ping(&self, to: IpAddr, id: u16, sequence: u16, payload: &[u8], patience: Duration) -> Result<Reply> {
        let start = Instant::now();
        self.send(to, id, sequence, payload)?;
        loop {
            let left = patience.saturating_sub(start.elapsed());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            if left.is_zero() || matches!(poll(&mut ready, timeout), Ok(0)) {
                bail!("no echo reply from {to} (id {id}, sequence {sequence}) within {patience:?}");
            }
            if let Some((from, payload)) = self.receive(id, sequence)? {
                return Ok(Reply { from, time: start.elapsed(), payload });
            }
        }
    }

    /// Reads one message; `None` if it is not the reply that is waited for.
    fn receive(&self, id: u16, sequence: u16) -> Result<Option<(IpAddr, Vec<u8>)>> {
        let mut buffer = vec![0; 65_536];
        let (length, from) = recvfrom::<SockaddrStorage>(self.fd.as_raw_fd(), &mut buffer).context("receive")?;
        let bytes = &buffer[..length];
        // Raw IPv4 sockets give the IP header too.
        let (message, kind) = match self.family {
            Family::V4 => (bytes.get(parse_ip(bytes).map_or(length, |ip| ip.l4_offset)..).unwrap_or_default(), 0),
            Family::V6 => (bytes, 129),
        };
        let matches =
            message.first() == Some(&kind) && be16(message, 4) == Some(id) && be16(message, 6) == Some(sequence);
        let from = from.as_ref().and_then(|it| {
            let v4 = it.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            v4.or_else(|| it.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
        });
        Ok(from.filter(|_| matches).map(|from| (from, message.get(8..).unwrap_or_default().to_vec())))
    }
}

/// One echo with its reply.
pub fn once(ns: &Netns, to: IpAddr, id: u16) -> Result<Reply> {
    Pinger::new(ns, Family::of(to))?.ping(to, id, 1, b"egress lab", super::PATIENCE)
}
