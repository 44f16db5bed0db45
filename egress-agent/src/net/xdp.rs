//! What the kernel says about XDP on interfaces: what their drivers can do (the generic netlink family `netdev`, Linux 6.3), and
//! whose program is there.
//!
//! Calls block for as long as the kernel takes, which answers at once.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    libc::NLM_F_ACK,
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket},
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp};

use super::{
    Error, Netlink,
    netfilter::wire::{Answer, Messages, answers, find},
    nl::collect,
};

/// linux/genetlink.h: the family that knows the others.
mod control {
    pub(super) const ID: u16 = 0x10;
    pub(super) const GET_FAMILY: u8 = 3;
    pub(super) const FAMILY_ID: u16 = 1;
    pub(super) const FAMILY_NAME: u16 = 2;
}

/// linux/netdev.h.
mod netdev {
    pub(super) const NAME: &str = "netdev";
    pub(super) const DEV_GET: u8 = 1;
    pub(super) const IFINDEX: u16 = 1;
    pub(super) const XDP_FEATURES: u16 = 3;
    /// `NETDEV_XDP_ACT_BASIC`, `NETDEV_XDP_ACT_NDO_XMIT`.
    pub(super) const BASIC: u64 = 1;
    pub(super) const NDO_XMIT: u64 = 4;
}

/// What an interface can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Programs run in its driver.
    pub native: bool,
    /// It sends frames that XDP hands it. A veth does as long as its peer has NAPI: generic receive offload, or a program.
    pub takes_frames: bool,
}

/// What the interface of this index offers; none: the kernel does not say (before Linux 6.3).
///
/// # Errors
/// The kernel refuses the question.
pub fn offer(ifindex: u32) -> Result<Option<Offer>, Error> {
    ask(ifindex).map_err(|error| Error::new(format!("asking what interface {ifindex} offers to XDP"), error))
}

fn ask(ifindex: u32) -> io::Result<Option<Offer>> {
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let mut question = Messages::default();
    question.begin(control::ID, NLM_F_ACK, control::GET_FAMILY, 0).text(control::FAMILY_NAME, netdev::NAME);
    let family = match talk(&fd, question, 1, control::FAMILY_ID) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(None),
        answer => answer?.and_then(|id| id.first_chunk().map(|id| u16::from_ne_bytes(*id))),
    };
    let Some(family) = family else { return Ok(None) };
    let mut question = Messages::default();
    question.begin(family, NLM_F_ACK, netdev::DEV_GET, 0).put(netdev::IFINDEX, &ifindex.to_ne_bytes());
    let bits = talk(&fd, question, 2, netdev::XDP_FEATURES)?;
    Ok(bits.and_then(|bits| bits.first_chunk().map(|bits| offered(u64::from_ne_bytes(*bits)))))
}

const fn offered(bits: u64) -> Offer {
    Offer { native: bits & netdev::BASIC != 0, takes_frames: bits & netdev::NDO_XMIT != 0 }
}

/// Sends one question; the attribute of the answer.
fn talk(fd: &OwnedFd, question: Messages, number: u32, attribute: u16) -> io::Result<Option<Vec<u8>>> {
    sendto(fd.as_raw_fd(), &question.finish(number), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; 1 << 14];
    let mut found = None;
    loop {
        let length = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for answer in answers(&buffer[..length], number) {
            match answer {
                Answer::Done => return Ok(found),
                Answer::Error(code) => return Err(io::Error::from_raw_os_error(code)),
                Answer::Message(_, body) => found = find(body, attribute).map(<[u8]>::to_vec).or(found),
            }
        }
    }
}

impl Netlink {
    /// Id of the XDP program that is attached to the interface, in whatever mode.
    ///
    /// # Errors
    /// The kernel refuses the question.
    pub async fn xdp_program(&self, ifindex: u32) -> Result<Option<u32>, Error> {
        let get = self.handle().link().get().match_index(ifindex);
        let links = collect("asking for an XDP program", get.execute()).await?;
        let id = |xdp: &LinkXdp| match xdp {
            LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => Some(*id),
            _ => None,
        };
        Ok(links.iter().flat_map(|link| &link.attributes).find_map(|attribute| match attribute {
            LinkAttribute::Xdp(all) => all.iter().find_map(id),
            _ => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As of linux/netdev.h: BASIC 1, REDIRECT 2, NDO_XMIT 4, …
    #[test]
    fn bits() {
        assert_eq!(offered(0), Offer::default(), "macvlan");
        assert_eq!(offered(0x23), Offer { native: true, takes_frames: false }, "a veth whose peer has no NAPI");
        assert_eq!(offered(0x67), Offer { native: true, takes_frames: true });
    }

    /// The loopback interface of whatever namespace the test runs in.
    #[test]
    fn the_kernel_answers() {
        assert!(matches!(offer(1), Ok(None | Some(Offer { native: false, takes_frames: false }))));
        assert!(offer(0x7fff_fff0).is_ok_and(|it| it.is_none()) || offer(0x7fff_fff0).is_err());
    }
}
