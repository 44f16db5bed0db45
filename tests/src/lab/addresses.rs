//! The addresses and names of every lab: those of Kube-OVN's documentation, and a dual-stack twin of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The version of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A subnet of the overlay with its router's addresses.
pub(super) struct Subnet {
    pub(super) v4: Ipv4Net,
    pub(super) v6: Ipv6Net,
}

const fn subnet(second: u8, third: u16) -> Subnet {
    Subnet {
        v4: Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 1), 16),
        v6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, third, 0, 0, 0, 0, 1), 112),
    }
}

/// `ovn-default`, `subnet1` and the block of the documentation's `snat: false` policy.
pub(super) const SUBNETS: [Subnet; 3] = [subnet(16, 0x16), subnet(17, 0x17), subnet(18, 0x18)];

/// The networks whose addresses must not be seen outside.
pub fn inside_networks() -> Vec<IpNet> {
    let both = |subnet: &Subnet| [IpNet::V4(subnet.v4.trunc()), IpNet::V6(subnet.v6.trunc())];
    SUBNETS.iter().flat_map(both).collect()
}

/// The `snat: false` CIDRs: 10.18.0.0/16 and its IPv6 twin.
pub fn no_snat_networks() -> Vec<IpNet> {
    vec![IpNet::V4(SUBNETS[2].v4.trunc()), IpNet::V6(SUBNETS[2].v6.trunc())]
}

/// The router of the overlay, as the gateway sees it.
pub const OVERLAY_ROUTER: (Ipv4Addr, Ipv6Addr) = (SUBNETS[0].v4.addr(), SUBNETS[0].v6.addr());
/// The gateway's eth0.
pub const GATEWAY_INSIDE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 16, 0, 12), Ipv6Addr::new(0xfd00, 0x10, 0x16, 0, 0, 0, 0, 0xc));
/// The gateway's net1: its first egress address.
pub const GATEWAY_OUTSIDE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(172, 17, 0, 11), Ipv6Addr::new(0xfd00, 0x172, 0x17, 0, 0, 0, 0, 0x11));
/// The router of the external network; also a server.
pub const ROUTER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(172, 17, 0, 1), Ipv6Addr::new(0xfd00, 0x172, 0x17, 0, 0, 0, 0, 1));
/// A server on the external network.
pub const SERVER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(172, 17, 0, 100), Ipv6Addr::new(0xfd00, 0x172, 0x17, 0, 0, 0, 0, 0x64));
/// A server behind the router.
pub const FAR: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(203, 0, 113, 10), Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10));
/// The router as the server behind it sees it.
pub(super) const FAR_ROUTER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(203, 0, 113, 1), Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1));

/// MAC addresses of the interfaces, so that crafted frames need no lookup.
pub mod mac {
    /// The overlay's bridge in the node: next hop of clients and of the gateway's eth0.
    pub const OVERLAY: [u8; 6] = [2, 0, 0, 0, 0x10, 0x01];
    /// The gateway's eth0.
    pub const GATEWAY_INSIDE: [u8; 6] = [2, 0, 0, 0, 0x10, 0x0c];
    /// The gateway's net1.
    pub const GATEWAY_OUTSIDE: [u8; 6] = [2, 0, 0, 0, 0x17, 0x0b];
    /// The external router.
    pub const ROUTER: [u8; 6] = [2, 0, 0, 0, 0x17, 0x01];
    /// The server on the external network.
    pub const SERVER: [u8; 6] = [2, 0, 0, 0, 0x17, 0x64];

    /// As `ip link` writes it.
    pub fn text(mac: [u8; 6]) -> String {
        mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}
