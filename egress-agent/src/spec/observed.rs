//! What the kernel says about the gateway's interfaces. Filled by [`crate::net`], read by the pure code in this folder.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// The interfaces of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Every link of the namespace, by ascending index.
    pub links: Vec<Link>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `ifindex`.
    pub index: u32,
    /// Name, such as `eth0`.
    pub name: String,
    /// Link-layer address; all zero where the device has none.
    pub mac: [u8; 6],
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// `IFLA_INFO_KIND`: `veth`, `macvlan`, `netkit`, … or empty.
    pub kind: String,
    /// The peer lives in another network namespace (`IFLA_LINK_NETNSID` present).
    pub peer_elsewhere: bool,
    /// Addresses in the kernel's order.
    pub addresses: Vec<Address>,
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The address with its prefix length (host bits kept).
    pub net: IpNet,
    /// `IFA_F_PERMANENT`: not from router advertisements.
    pub permanent: bool,
    /// `RT_SCOPE_UNIVERSE`.
    pub global: bool,
    /// Tentative or failed duplicate address detection: not usable yet.
    pub tentative: bool,
}

impl Link {
    /// Whether the interface carries this address.
    #[must_use]
    pub fn has(&self, addr: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.net.addr() == addr)
    }
}

impl Observed {
    /// Whether any address may become usable yet.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.links.iter().flat_map(|link| &link.addresses).any(|address| address.tentative)
    }

    /// The link of this name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|l| l.name == name)
    }
}
