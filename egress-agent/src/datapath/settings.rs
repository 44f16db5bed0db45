//! The configuration as the programs read it, built from the desired state, and its exchange as a whole.

use std::{fs::File, io::Read, net::IpAddr};

use anyhow::{Context, Result, bail};
use egress_common::abi::{
    config::{Config, MAX_EGRESS, Timeouts, flags, forward},
    family::{Addr6, Address as _},
};

use super::{old::Kept, pins::Pins, tables::Tables};
use crate::spec::{
    desired::Desired,
    observed::{Link, Observed},
    profile::{Forward, Midflow, PortSelection},
};

/// ICMP identifiers above are left to the gateway's own pings.
const ICMP_MAX: u16 = 49_151;

/// What a configuration keeps over a restart of the agent, and what the kernel offers.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// See [`Config::port_key`].
    pub port_key: [u64; 2],
    /// See [`Config::clock_offset_ns`].
    pub clock_offset_ns: u64,
    /// See [`Config::netns_cookie`].
    pub netns_cookie: u64,
    /// The kernel knows `BPF_F_IPV6`.
    pub csum_ipv6: bool,
    /// See [`Config::capacity`].
    pub capacity: u32,
    /// See [`Config::boot_id`].
    pub boot_id: [u8; 16],
    /// Beginning and end of flows are logged.
    pub flow_events: bool,
    /// Directions in which XDP sends: bits of [`Config::flags`].
    pub xdp: u32,
}

impl Ground {
    /// From the configuration in use if it is of this namespace, else from the one of another layout `before` it, else new.
    pub fn find(
        tables: &Tables,
        pins: &Pins,
        netns_cookie: u64,
        csum_ipv6: bool,
        flow_events: bool,
        before: Option<Kept>,
    ) -> Result<Self> {
        let old = tables.config()?;
        let (port_key, clock_offset_ns) = if old.external_ifindex != 0 && old.netns_cookie == netns_cookie {
            (old.port_key, old.clock_offset_ns)
        } else if let Some(Kept { port_key, clock_offset_ns, .. }) = before {
            (port_key, clock_offset_ns)
        } else {
            (new_key()?, 0)
        };
        let (capacity, boot_id) = (tables.capacity(pins)?, boot_id()?);
        Ok(Self { port_key, clock_offset_ns, netns_cookie, csum_ipv6, capacity, boot_id, flow_events, xdp: 0 })
    }
}

fn new_key() -> Result<[u64; 2]> {
    let mut bytes = [[0; 8]; 2];
    let mut random = File::open("/dev/urandom").context("open /dev/urandom")?;
    for word in &mut bytes {
        random.read_exact(word).context("read /dev/urandom")?;
    }
    Ok(bytes.map(u64::from_ne_bytes))
}

fn boot_id() -> Result<[u8; 16]> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(PATH).with_context(|| format!("read {PATH}"))?;
    let number =
        u128::from_str_radix(&text.trim().replace('-', ""), 16).with_context(|| format!("{PATH}: {text:?}"))?;
    Ok(number.to_be_bytes())
}

/// How packets leave by an interface: asked for, else `peer` where the device is a veth or netkit whose peer is elsewhere.
#[must_use]
pub fn forward_mode(asked: Forward, link: &Link) -> Forward {
    match asked {
        Forward::Auto if link.peer_elsewhere && matches!(link.kind.as_str(), "veth" | "netkit") => Forward::Peer,
        Forward::Auto => Forward::Neigh,
        other => other,
    }
}

const fn number(forward: Forward) -> u32 {
    match forward {
        Forward::Peer => forward::PEER,
        Forward::Neigh | Forward::Auto => forward::NEIGH,
        Forward::Stack => forward::STACK,
    }
}

/// Builds the configuration.
pub fn build(desired: &Desired, observed: &Observed, ground: &Ground) -> Result<Config> {
    let link = |name: &str| observed.link(name).with_context(|| format!("interface {name} does not exist"));
    let (internal, external) = (link(&desired.internal.interface)?, link(&desired.external.interface)?);
    let profile = &desired.profile;
    if profile.forward == Forward::Peer {
        for link in [internal, external] {
            if forward_mode(Forward::Auto, link) != Forward::Peer {
                bail!("forward: peer needs {} to be a veth or netkit whose peer is in another namespace", link.name);
            }
        }
    }
    let mut config = Config {
        clock_offset_ns: ground.clock_offset_ns,
        netns_cookie: ground.netns_cookie,
        port_key: ground.port_key,
        flags: ground.xdp,
        internal_ifindex: internal.index,
        external_ifindex: external.index,
        forward_out: number(forward_mode(profile.forward, external)),
        forward_in: number(forward_mode(profile.forward, internal)),
        internal_mtu: internal.mtu,
        external_mtu: external.mtu,
        capacity: ground.capacity,
        timeouts: timeouts(&profile.timeouts),
        port_min: profile.port_range.min,
        port_max: profile.port_range.max,
        icmp_max: ICMP_MAX,
        fair_from: profile.fairness.from_percent,
        source_flows: profile.fairness.max_flows_per_source.unwrap_or(0),
        source_rate: profile.fairness.new_flows_per_source_per_second.unwrap_or(0),
        internal_mac: internal.mac.into(),
        external_mac: external.mac.into(),
        boot_id: ground.boot_id,
        egress4_len: 0,
        egress6_len: 0,
        internal_gateway4: desired.internal.gateway4.map_or([0; 4], |a| a.octets()),
        external_gateway4: desired.external.gateway4.map_or([0; 4], |a| a.octets()),
        internal_gateway6: desired.internal.gateway6.map_or(Addr6::ZERO, Addr6::from),
        external_gateway6: desired.external.gateway6.map_or(Addr6::ZERO, Addr6::from),
        egress4: [[0; 4]; MAX_EGRESS],
        egress6: [Addr6::ZERO; MAX_EGRESS],
        ..Config::EMPTY
    };
    if profile.port_selection == PortSelection::Preserve {
        config.flags |= flags::PRESERVE_PORT;
    }
    config.flags |= match profile.midflow {
        Midflow::Takeover => 0,
        Midflow::Reset => flags::MIDFLOW_RESET,
        Midflow::Drop => flags::MIDFLOW_DROP,
    };
    if ground.csum_ipv6 {
        config.flags |= flags::CSUM_IPV6;
    }
    if ground.flow_events {
        config.flags |= flags::FLOW_EVENTS;
    }
    for addr in &desired.egress {
        let full = || format!("spec.externalIPs: more than {MAX_EGRESS} addresses of one family on one gateway");
        match addr {
            IpAddr::V4(addr) => {
                *config.egress4.get_mut(config.egress4_len as usize).with_context(full)? = addr.octets();
                config.egress4_len += 1;
            }
            IpAddr::V6(addr) => {
                *config.egress6.get_mut(config.egress6_len as usize).with_context(full)? = (*addr).into();
                config.egress6_len += 1;
            }
        }
    }
    Ok(config)
}

const fn timeouts(t: &crate::spec::profile::Timeouts) -> Timeouts {
    Timeouts {
        tcp_opening: t.tcp_opening,
        tcp_established: t.tcp_established,
        tcp_half_closed: t.tcp_half_closed,
        tcp_closing: t.tcp_closing,
        udp_unreplied: t.udp_unreplied,
        udp_replied: t.udp_replied,
        icmp: t.icmp,
        other: t.other,
    }
}

/// Writes the slot that is not in use, then makes it the one in use: no packet sees half a change.
pub fn exchange(tables: &mut Tables, config: Config) -> Result<()> {
    let old = tables.active.get(&0, 0).context("read map ACTIVE")?;
    let new = 1 - old.min(1);
    tables.config.set(new, config, 0).context("write map CONFIG")?;
    tables.active.set(0, new, 0).context("write map ACTIVE")
}
