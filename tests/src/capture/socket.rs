//! AF_PACKET sockets with the virtio header, which tells GSO packets and unfinished checksums (packet(7),
//! `PACKET_VNET_HDR`).

use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};

use super::{Direction, Gso};
use crate::system::Netns;

const PACKET_STATISTICS: libc::c_int = 6;
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_OUTGOING: u8 = 4;
/// Large enough for some hundred GSO packets on two busy cores.
const RECEIVE_BUFFER: usize = 128 << 20;
/// A GSO packet of 64 KiB with its headers.
pub(super) const LARGEST: usize = 70_000;

/// `struct virtio_net_hdr`, in this machine's byte order.
#[derive(Debug, Clone, Copy)]
pub(super) struct VirtioHeader([u8; Self::LENGTH]);

impl VirtioHeader {
    const LENGTH: usize = 10;

    pub(super) const fn needs_checksum(self) -> bool {
        self.0[0] & 1 != 0
    }

    pub(super) const fn gso(self) -> Option<Gso> {
        if self.0[1] == 0 { None } else { Some(Gso { segment: u16::from_ne_bytes([self.0[4], self.0[5]]) }) }
    }
}

/// A socket bound to one interface.
#[derive(Debug)]
pub(super) struct PacketSocket(OwnedFd);

impl PacketSocket {
    pub(super) fn open(ns: &Netns, interface: &str) -> Result<Self> {
        let index = ns.ifindex(interface)?;
        let fd = ns.run(|| {
            // Made with protocol 0, it receives nothing before it is bound to its interface.
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(AddressFamily::Packet, SockType::Raw, flags, None)
        })?;
        let fd = fd.context("AF_PACKET socket (needs root)")?;
        let one: libc::c_int = 1;
        // SAFETY: a setsockopt(2) that reads one int that outlives the call.
        let set = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_VNET_HDR,
                (&raw const one).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        Errno::result(set).context("PACKET_VNET_HDR")?;
        setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("receive buffer")?;
        bind(fd.as_raw_fd(), &link_address(index, SockProtocol::EthAll as u16)?).context("bind to the interface")?;
        Ok(Self(fd))
    }

    pub(super) const fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// The next queued frame; `buffer` is of [`LARGEST`] bytes.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Option<(Direction, VirtioHeader, Vec<u8>)>> {
        let (length, from) = match recvfrom::<LinkAddr>(self.0.as_raw_fd(), buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::ENETDOWN) => return Ok(None),
            Err(error) => return Err(error).context("receive a frame"),
        };
        ensure!(length < buffer.len(), "a frame of more than {LARGEST} bytes");
        let header = buffer.first_chunk().copied().map(VirtioHeader).context("a frame without its virtio header")?;
        let outgoing = from.is_some_and(|it| it.pkttype() == PACKET_OUTGOING);
        let bytes = buffer.get(VirtioHeader::LENGTH..length).unwrap_or_default().to_vec();
        Ok(Some((if outgoing { Direction::Out } else { Direction::In }, header, bytes)))
    }

    /// Frames that found no room; reading resets the count.
    pub(super) fn lost(&self) -> Result<u32> {
        let mut statistics = [0_u32; 2];
        let mut length = size_of::<[u32; 2]>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes (struct tpacket_stats, two u32) into `statistics`.
        let got = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        Errno::result(got).context("PACKET_STATISTICS")?;
        Ok(statistics[1])
    }
}

/// Sends hand-made frames out of one interface. Closing the socket takes the kernel some milliseconds, so who sends many keeps
/// one.
#[derive(Debug)]
pub struct Injector {
    fd: OwnedFd,
    index: u32,
}

impl Injector {
    /// Opens it.
    pub fn open(ns: &Netns, interface: &str) -> Result<Self> {
        let index = ns.ifindex(interface)?;
        let fd = ns.run(|| socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None))?;
        Ok(Self { fd: fd.context("AF_PACKET socket (needs root)")?, index })
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let ethertype = frame.get(12..14).map_or(0, |it| u16::from_ne_bytes([it[0], it[1]]));
        let address = link_address(self.index, ethertype)?;
        let sent = sendto(self.fd.as_raw_fd(), frame, &address, MsgFlags::empty());
        let sent = sent.with_context(|| format!("send a frame of {} bytes", frame.len()))?;
        ensure!(sent == frame.len(), "only {sent} of {} bytes were sent", frame.len());
        Ok(())
    }
}

/// `protocol` in network byte order.
fn link_address(index: u32, protocol: u16) -> nix::Result<LinkAddr> {
    // SAFETY: sockaddr_ll is plain data.
    let mut raw: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    raw.sll_family = libc::AF_PACKET as u16;
    raw.sll_ifindex = index as libc::c_int;
    raw.sll_protocol = protocol;
    // SAFETY: the pointer is to a whole sockaddr_ll whose family is set; it is copied.
    unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(size_of::<libc::sockaddr_ll>() as libc::socklen_t)) }
        .ok_or(Errno::EINVAL)
}
