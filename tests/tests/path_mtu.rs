//! Path MTU discovery end to end: the narrow place is before the gateway, behind it, or beyond a router.

mod bulk;
mod datagrams;

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::{GATEWAY_INSIDE, GATEWAY_OUTSIDE, ROUTER};
use egress_tests::{Family, Host, Lab, LabConfig};

use crate::talk::Way;
use crate::wire::{of, talkative};

/// Where the path is narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrow {
    /// The external network: the gateway's kernel tells the Pod.
    Net1,
    /// The gateway's eth0, narrower than the Pods' own interfaces: the gateway tells the server.
    Eth0,
    /// Beyond the external router, which tells the egress address; the gateway passes that on to the Pod.
    Far,
}

impl Narrow {
    const ALL: [Self; 3] = [Self::Net1, Self::Eth0, Self::Far];

    const fn mtu(self) -> u32 {
        match self {
            Self::Net1 => 1300,
            Self::Eth0 => 1400,
            Self::Far => 1280,
        }
    }

    /// Whose packets are too big.
    const fn way(self) -> Way {
        match self {
            Self::Net1 | Self::Far => Way::Out,
            Self::Eth0 => Way::In,
        }
    }

    /// From whom the sender hears that.
    fn teller(self, family: Family) -> IpAddr {
        match self {
            Self::Net1 => of(GATEWAY_INSIDE, family),
            Self::Eth0 => of(GATEWAY_OUTSIDE, family),
            Self::Far => of(ROUTER, family),
        }
    }

    fn server(self, lab: &Lab) -> &Host {
        if self == Self::Far { &lab.far } else { &lab.server }
    }

    fn lab(self, checksums: RealChecksums) -> Result<Lab> {
        let (overlay, external) = match self {
            Self::Net1 => (1400, 1300),
            Self::Eth0 => (1500, 1500),
            Self::Far => (1400, 1500),
        };
        let lab = Lab::build(LabConfig::default().mtu(overlay, external).checksums(checksums))?;
        talkative(&lab)?;
        match self {
            Self::Net1 => {}
            Self::Eth0 => {
                lab.gateway.ns.sh("ip link set eth0 mtu 1400")?;
                lab.node.sh("ip link set overlay mtu 1400")?;
            }
            Self::Far => {
                lab.router.ns.sh("ip link set far0 mtu 1280")?;
                lab.far.ns.sh("ip link set eth0 mtu 1280")?;
            }
        }
        // A server's MSS would tell of its own narrow link; it says the Ethernet's, as if the narrow place were elsewhere.
        let (server, via) = (&self.server(&lab).ns, self == Self::Far);
        for (family, mss, router) in [(Family::V4, 1460, "203.0.113.1"), (Family::V6, 1440, "2001:db8:113::1")] {
            let via = if via { format!("via {router} ") } else { String::new() };
            let to = of(GATEWAY_OUTSIDE, family);
            server.sh(&format!("ip route add {to} {via}dev eth0 advmss {mss}"))?;
        }
        Ok(lab)
    }

    /// The sender heard of it, from the right one with the right number, and believed it.
    fn ensure_told(self, at_sender: &[Captured], sender: &Host, to: IpAddr) -> Result<()> {
        let family = Family::of(to);
        let told = at_sender.iter().filter(|it| it.direction == Direction::In).find_map(|it| {
            let ip = it.ip()?;
            let (kind, mtu) = if family == Family::V4 { (3, 6) } else { (2, 4) };
            let field = it.packet().get(ip.l4_offset + mtu..ip.l4_offset + 8)?;
            let mtu = field.iter().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
            let quotes = ip.quoted.as_ref().is_some_and(|it| it.destination == to);
            (ip.is_icmp(kind) && quotes).then_some((ip.source, mtu, it.checksums()?))
        });
        let (from, mtu, checksums) = told.context("nobody told the sender")?;
        ensure!((from, mtu) == (self.teller(family), self.mtu()), "{from} told of {mtu}");
        ensure!(checksums.are_real(), "{checksums}");
        let route = sender.ns.sh(&format!("ip route get {to}"))?;
        ensure!(route.contains(&format!("mtu {}", self.mtu())), "the sender's kernel says {route}");
        Ok(())
    }
}
