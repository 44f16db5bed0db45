//! Who is measured: gateways in labs that are alike.

use anyhow::Result;

use crate::gateway::{Agent, AgentOptions, KernelGateway, NftGateway, routes};
use crate::lab::addresses::{mac, no_snat_networks};
use crate::lab::{Client, RealChecksums};
use crate::system::Netns;
use crate::{Lab, LabConfig};

const CLUSTER: &str = include_str!("../../../manifests/samples/cluster.yaml");
const GATEWAY: &str = include_str!("../../../manifests/samples/gateway2-dual-stack.yaml");

/// A gateway or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// This project.
    Ours,
    /// Seed 000's rules: MASQUERADE --random-fully.
    Iptables,
    /// nftables' masquerade.
    Nft,
    /// The kernel's forwarding without NAT.
    Forward,
    /// Dropped on arrival at the gateway: what the generator and making an skb cost.
    Floor,
}

impl Peer {
    /// Its name in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Iptables => "iptables MASQUERADE",
            Self::Nft => "nft masquerade",
            Self::Forward => "kernel forward",
            Self::Floor => "skb floor",
        }
    }
}

/// A gateway that runs in its lab.
#[derive(Debug)]
pub(super) struct Bed<'lab> {
    pub(super) peer: Peer,
    pub(super) lab: &'lab Lab,
    agent: Option<Agent<'lab>>,
}

/// The network that all have.
pub(super) fn network() -> Result<LabConfig> {
    let mut config = LabConfig::default().checksums(RealChecksums::default()).mtu(1500, 1500);
    config.clients =
        vec![Client::new("client1", 17, 9), Client::new("client2", 17, 10), Client::new("bystander", 18, 5)];
    for address in ["172.17.0.12/16", "fd00:172:17::12/64"] {
        config = config.egress(address.parse()?);
    }
    // Forwarded packets get answers only if servers know the way back.
    config.return_routes = crate::lab::addresses::inside_networks();
    Ok(config)
}

impl<'lab> Bed<'lab> {
    /// With room for so many flows in our table; `more` are further lines of our profile's spec.
    pub(super) fn start(peer: Peer, lab: &'lab Lab, flows: u32, more: &str) -> Result<Self> {
        let agent = match peer {
            Peer::Ours => Some(Agent::start(lab, ours(lab, flows, more)?)?),
            Peer::Iptables => {
                KernelGateway::start(lab, &no_snat_networks())?;
                None
            }
            Peer::Nft => {
                NftGateway::start(lab, &no_snat_networks())?;
                None
            }
            Peer::Forward | Peer::Floor => {
                routes::forward(lab)?;
                None
            }
        };
        // What a Pod sends comes with its checksum unfinished, which saves conntrack from checking it; the generator's are
        // finished, and are spared too.
        let _ = lab.gateway.ns.sysctl(&[("net/netfilter/nf_conntrack_checksum", "0")]);
        for (family, server) in
            [("-4", crate::lab::addresses::SERVER.0.to_string()), ("-6", crate::lab::addresses::SERVER.1.to_string())]
        {
            // Its address must stay known when it gets nothing.
            let line = format!(
                "ip {family} neighbour replace {server} lladdr {} dev net1 nud permanent",
                mac::text(mac::SERVER)
            );
            lab.gateway.ns.sh(&line)?;
        }
        Ok(Self { peer, lab, agent })
    }

    /// What the agent has to say, if it is ours.
    pub(super) fn log(&self) -> Option<String> {
        self.agent.as_ref().map(Agent::stderr)
    }
}

fn ours(lab: &Lab, flows: u32, more: &str) -> Result<AgentOptions> {
    let profile = format!(
        "apiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata:\n  name: default\n  namespace: default\n\
         spec:\n  maxFlows: {flows}\n{more}"
    );
    let files = [("cluster.yaml", CLUSTER), ("gateway.yaml", GATEWAY), ("profile.yaml", &profile)];
    let paths = files.iter().map(|(name, text)| lab.write_file(name, text)).collect::<Result<Vec<_>>>()?;
    // With a gateway Pod's capabilities and no others.
    Ok(AgentOptions::files(paths).as_pod())
}

/// The cheapest way to drop that every kernel since 4.5 has: a filter in classic BPF that returns TC_ACT_SHOT.
pub(crate) fn drop_on_arrival(ns: &Netns, interface: &str) -> Result<()> {
    ns.sh(&format!("tc qdisc add dev {interface} clsact"))?;
    ns.feed("tc -batch -", &format!("filter add dev {interface} ingress bpf da bytecode \"1,6 0 0 2\"\n"))?;
    Ok(())
}

/// Takes it away again.
pub(super) fn take_in(ns: &Netns, interface: &str) -> Result<()> {
    ns.sh(&format!("tc qdisc del dev {interface} clsact"))?;
    Ok(())
}
