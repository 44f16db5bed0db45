//! Offloads of an interface, as `ethtool -K IFACE tx off` and `gro on`.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::Netns;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SGRO: u32 = 0x2c;

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Makes the kernel finish checksums (and cut GSO packets) before a packet leaves by `interface`. On a veth they would
/// stay unfinished to the end, where nobody checks them.
pub fn switch_off_tx_checksums(netns: &Netns, interface: &str) -> Result<()> {
    set(netns, interface, ETHTOOL_STXCSUM, false).with_context(|| format!("tx checksums of {interface}"))
}

/// Switches generic receive offload. A veth that has it has NAPI, and so takes frames that XDP sends to its peer.
pub fn switch_gro(netns: &Netns, interface: &str, on: bool) -> Result<()> {
    set(netns, interface, ETHTOOL_SGRO, on).with_context(|| format!("GRO of {interface}"))
}

fn set(netns: &Netns, interface: &str, command: u32, on: bool) -> Result<()> {
    ensure!(interface.len() < libc::IFNAMSIZ, "interface name {interface} is too long");
    netns
        .run(|| -> Result<()> {
            let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
            let mut value = EthtoolValue { command, data: u32::from(on) };
            // SAFETY: ifreq is plain data; all zeros is an empty name and a null pointer.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (slot, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
                *slot = byte as libc::c_char;
            }
            request.ifr_ifru.ifru_data = (&raw mut value).cast();
            // SAFETY: SIOCETHTOOL reads the name and the ethtool_value that ifru_data points to; both outlive the call.
            let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
            nix::errno::Errno::result(result)?;
            Ok(())
        })?
        .with_context(|| format!("switch an offload in {}", netns.name()))
}
