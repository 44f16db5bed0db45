//! Client Pods, a node whose bridge stands for the overlay, a gateway and an external network, all in namespaces.
//!
//! ```text
//! pod1 10.17.0.9 ──┐                                         ┌── router 172.17.0.1 ── far 203.0.113.10
//! pod2 10.17.0.10 ─┤ overlay ── eth0 [ gw ] net1 ── external ┤
//! bystander ───────┘ (node)   10.16.0.12  172.17.0.11 (node) └── server 172.17.0.100
//! ```
//!
//! The node routes what clients send to other than cluster subnets to 10.16.0.12, as OVN's reroute policy does. External
//! hosts have no route to inside addresses, so an untranslated packet cannot be answered by luck.

pub mod addresses;
mod config;
pub mod names;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::thread;

use anyhow::{Context, Result, ensure};

pub use self::addresses::Family;
pub use self::config::{Client, LabConfig, Net1, RealChecksums};
use self::plan::Steps;
use crate::capture::Capture;
use crate::system::cleanup::{self, LabFolder};
use crate::system::name::InstanceName;
use crate::system::setting::Setting;
use crate::system::{Netns, switch_off_tx_checksums};

/// A namespace with one address of each family that others know it by.
#[derive(Debug)]
pub struct Host {
    /// Its namespace.
    pub ns: Netns,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Host {
    /// Its address. For the gateway this is net1's first egress address.
    pub const fn addr(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

/// A running lab; removed when dropped.
#[derive(Debug)]
pub struct Lab {
    /// How it was built.
    pub config: LabConfig,
    /// The node with the bridges `overlay` and `external`.
    pub node: Netns,
    /// The gateway's namespace.
    pub gateway: Host,
    /// The external router.
    pub router: Host,
    /// A server on the external network.
    pub server: Host,
    /// A server behind the router.
    pub far: Host,
    clients: Vec<(String, Host)>,
    folder: LabFolder,
}

/// What goes from veth to veth waits in a queue of its CPU, 1,000 packets by default. A busy machine fills it, and what is lost there
/// no gateway lost.
fn roomy_queues() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = Setting::raise_for_good("/proc/sys/net/core/netdev_max_backlog", 10_000) {
            eprintln!("{error:#}");
        }
    });
}

impl Lab {
    /// Builds it; takes some tens of milliseconds.
    pub fn build(config: LabConfig) -> Result<Self> {
        cleanup::prepare()?;
        roomy_queues();
        let mut seen = HashSet::from(["node", "gw", "router", "server", "far", "overlay", "external"]);
        for client in &config.clients {
            ensure!(client.name.len() < 16, "client name {} is longer than an interface name", client.name);
            ensure!(seen.insert(&client.name), "client name {} is taken", client.name);
        }
        let instance = InstanceName::next()?;
        let host =
            |part: &str, (v4, v6)| Ok::<_, anyhow::Error>(Host { ns: Netns::create(&instance.of(part))?, v4, v6 });
        let clients = config.clients.iter().map(|it| Ok((it.name.clone(), host(&it.name, (it.v4, it.v6))?)));
        let lab = Self {
            folder: LabFolder::create(&instance)?,
            node: Netns::create(&instance.of("node"))?,
            gateway: host("gw", addresses::GATEWAY_OUTSIDE)?,
            router: host("router", addresses::ROUTER)?,
            server: host("server", addresses::SERVER)?,
            far: host("far", addresses::FAR)?,
            clients: clients.collect::<Result<_>>()?,
            config,
        };
        let steps = plan::plan(&lab.config, &|part| instance.of(part));
        lab.apply(&steps).with_context(|| format!("build lab {instance}"))?;
        Ok(lab)
    }

    fn apply(&self, steps: &[Steps]) -> Result<()> {
        for part in steps {
            prepare_sysctls(self.part(&part.part)?, part, self.config.has(Family::V6))?;
        }
        let (node, others) = steps.split_first().context("an empty plan")?;
        batch(&self.node, "ip -batch -", &node.links)?;
        self.in_parallel(others, |ns, part| batch(ns, "ip -batch -", &(part.links.clone() + &part.v4)))?;
        batch(&self.node, "ip -batch -", &node.v4)?;
        self.in_parallel(steps, |ns, part| {
            batch(ns, "ip -6 -batch -", &part.v6)?;
            part.tx_off.iter().try_for_each(|interface| switch_off_tx_checksums(ns, interface))
        })
    }

    fn in_parallel(&self, steps: &[Steps], work: impl Fn(&Netns, &Steps) -> Result<()> + Sync) -> Result<()> {
        thread::scope(|scope| {
            let started: Vec<_> = steps.iter().map(|part| scope.spawn(|| work(self.part(&part.part)?, part))).collect();
            started.into_iter().try_for_each(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn part(&self, name: &str) -> Result<&Netns> {
        match name {
            "node" => Ok(&self.node),
            "gw" => Ok(&self.gateway.ns),
            "router" => Ok(&self.router.ns),
            "server" => Ok(&self.server.ns),
            "far" => Ok(&self.far.ns),
            client => Ok(&self.client(client)?.ns),
        }
    }

    /// A client by its name in the configuration.
    pub fn client(&self, name: &str) -> Result<&Host> {
        let found = self.clients.iter().find(|(client, _)| client == name);
        found.map(|(_, host)| host).with_context(|| format!("the lab has no client {name}"))
    }

    /// The clients and their names.
    pub fn clients(&self) -> impl Iterator<Item = (&str, &Host)> {
        self.clients.iter().map(|(name, host)| (name.as_str(), host))
    }

    /// Every namespace of the lab.
    pub fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        let hosts = [&self.gateway, &self.router, &self.server, &self.far].into_iter();
        std::iter::once(&self.node).chain(hosts.chain(self.clients.iter().map(|(_, host)| host)).map(|host| &host.ns))
    }

    /// The routers and servers outside.
    pub const fn external_hosts(&self) -> [&Host; 3] {
        [&self.router, &self.server, &self.far]
    }

    /// A folder for this lab's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the lab's folder and returns its path.
    pub fn write_file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder().join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Captures what passes between net1 and the external network. The tap sits at the node's end, so that it also sees
    /// what `redirect_peer` sends around net1.
    pub fn capture_external(&self) -> Result<Capture> {
        Capture::start(&self.node, names::EXTERNAL_PORT)
    }

    /// Captures what passes between eth0 and the overlay, at the node's end.
    pub fn capture_internal(&self) -> Result<Capture> {
        Capture::start(&self.node, names::INTERNAL_PORT)
    }
}

fn batch(ns: &Netns, line: &str, input: &str) -> Result<()> {
    if !input.is_empty() {
        ns.feed(line, input)?;
    }
    Ok(())
}

/// No waiting for duplicate addresses, no chatter, and routers that route; before any interface is made.
fn prepare_sysctls(ns: &Netns, steps: &Steps, v6: bool) -> Result<()> {
    ns.sysctl(&[
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/dad_transmits", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/default/router_solicitations", "0"),
    ])?;
    if !v6 {
        ns.sysctl(&[("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1")])?;
    }
    if steps.part == "node" {
        // br_netfilter would drop crafted packets before they reach the gateway. Without it there is no such sysctl.
        for kind in ["iptables", "ip6tables", "arptables"] {
            let _ = ns.sysctl(&[(&format!("net/bridge/bridge-nf-call-{kind}"), "0")]);
        }
    }
    if steps.forwards {
        ns.sysctl(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/default/send_redirects", "0"),
        ])?;
    }
    Ok(())
}
