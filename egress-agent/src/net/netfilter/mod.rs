//! The kernel's own connection tracking and packet filter, over their netlink (`NETLINK_NETFILTER`): what a gateway with
//! MASQUERADE rules leaves to us, and what we leave to one.
//!
//! - [`conntrack`]: list, make and remove tracked connections.
//! - [`rules`]: is there NAT, and a table of our own that keeps it away from what we translated.
//!
//! Calls block for as long as the kernel takes, which answers at once.

pub mod conntrack;
pub mod rules;
pub(super) mod wire;

use std::{
    cell::Cell,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

use super::Error;
use wire::{Answer, Messages, answers};

/// A socket in the network namespace of the thread that made it.
pub struct Netfilter {
    socket: OwnedFd,
    /// Number of the newest talk: what is still on its way about an earlier one is nothing to it.
    talk: Cell<u32>,
}

impl Netfilter {
    /// Opens it.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn open() -> Result<Self, Error> {
        let make = || -> nix::Result<OwnedFd> {
            let fd =
                socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            Ok(fd)
        };
        let socket = make().map_err(|errno| Error::new("opening a netfilter socket", errno))?;
        Ok(Self { socket, talk: Cell::new(0) })
    }

    /// Sends messages that ask for answers (one acknowledgement each, or the end of a dump) and gives what else is said to
    /// `each`. The first error ends it.
    fn talk(&self, messages: Messages, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let number = self.talk.get().wrapping_add(1);
        self.talk.set(number);
        let mut left = messages.answers;
        sendto(self.socket.as_raw_fd(), &messages.finish(number), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for answer in answers(&buffer[..length], number) {
                match answer {
                    Answer::Done => left = left.saturating_sub(1),
                    Answer::Error(code) => return Err(io::Error::from_raw_os_error(code)),
                    Answer::Message(kind, body) => each(kind, body),
                }
            }
        }
        Ok(())
    }
}
