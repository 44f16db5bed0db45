//! The kernel's network: rtnetlink, sysctls, network namespaces and the BPF file system.
//!
//! What decides is pure (`steps`, `plan`), what acts is async and small (`apply`, `sync`). Everything speaks to the
//! network namespace of the calling thread: call [`netns::enter`] before the runtime starts.
//!
//! - [`netns`]: enter a namespace, name it.
//! - [`bpffs`]: have a BPF file system that outlives the process.
//! - [`observe()`], [`watch()`]: interfaces and addresses, and when to look again.
//! - [`prepare`]: sysctls, rules, default routes and neighbours that a gateway needs, as [`Step`]s.
//! - [`xdp`]: what interfaces can do with XDP, and who does it there.
//! - [`netfilter`]: the kernel's connection tracking and NAT.
//! - [`route::sync`]: routes of policy CIDRs, brought in line at every policy change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub mod bpffs;
mod error;
mod filter;
pub mod neigh;
pub mod netfilter;
pub mod netns;
mod nl;
pub mod observe;
pub mod prepare;
pub mod route;
pub mod rule;
mod step;
pub mod sysctl;
#[cfg(test)]
mod testing;
pub mod watch;
pub mod xdp;

pub use error::Error;
pub use nl::{Netlink, block_on};
pub use observe::observe;
pub use step::{Action, Failure, Step, apply};
pub use watch::watch;

use crate::spec::desired::{Desired, Side};

/// Mark (`rtm_protocol`, `FRA_PROTOCOL`, `NDA_PROTOCOL`) of everything this agent adds, so that it removes nothing
/// else.
///
/// 233 (0xE9) is named neither by the kernel's `rtnetlink.h` nor by iproute2's `rt_protos`.
pub const PROTOCOL: u8 = 0xE9;

/// `RT_TABLE_MAIN`.
pub const TABLE_MAIN: u32 = 254;

/// `RT_TABLE_DEFAULT`: normally empty, so that a lookup goes on to `main`.
pub const TABLE_DEFAULT: u32 = 253;

/// Table with the way back into the overlay; the number is Kube-OVN's.
pub const TABLE_INTERNAL: u32 = 1000;

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Option of `ip` that selects the family: `-4` or `-6`.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    /// `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn default_route(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
            Self::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
        }
    }

    /// Gateway of this family on one side.
    #[must_use]
    pub fn gateway(self, side: &Side) -> Option<IpAddr> {
        match self {
            Self::V4 => side.gateway4.map(IpAddr::V4),
            Self::V6 => side.gateway6.map(IpAddr::V6),
        }
    }

    /// Families that have a gateway on both sides, with (internal, external) gateway; the others are not routed.
    pub fn routed(desired: &Desired) -> impl Iterator<Item = (Self, IpAddr, IpAddr)> {
        Self::ALL
            .into_iter()
            .filter_map(|family| Some((family, family.gateway(&desired.internal)?, family.gateway(&desired.external)?)))
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}
