//! What a UDP socket knows of the path and asks of it: its MTU, and how many hops a datagram may live.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;

use super::set_option;
use crate::Family;

fn family(socket: &UdpSocket) -> Result<Family> {
    Ok(Family::of(socket.local_addr().context("the socket's own address")?.ip()))
}

/// Sends everything with Don't Fragment, and nothing that is longer than the known MTU (ip(7), `IP_PMTUDISC_DO`).
pub fn discover_mtu(socket: &UdpSocket) -> Result<()> {
    match family(socket)? {
        Family::V4 => set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO as u32),
        Family::V6 => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO as u32),
    }
}

/// The MTU of the path to where the socket is connected, as it is known now.
pub fn mtu(socket: &UdpSocket) -> Result<u32> {
    let (level, name) = match family(socket)? {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let (mut value, mut length) = (0_u32, size_of::<u32>() as libc::socklen_t);
    // SAFETY: the kernel writes at most `length` bytes, one u32, into `value`.
    let got = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length) };
    Errno::result(got).context("the path's MTU")?;
    Ok(value)
}

/// Sends with this TTL or hop limit.
pub fn set_hops(socket: &UdpSocket, hops: u8) -> Result<()> {
    match family(socket)? {
        Family::V4 => set_option(socket, libc::IPPROTO_IP, libc::IP_TTL, u32::from(hops)),
        Family::V6 => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, u32::from(hops)),
    }
}
