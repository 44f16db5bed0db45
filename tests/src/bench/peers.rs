//! Who is measured: gateways in labs that are alike.

use anyhow::Result;

use super::limits::Attached;
use crate::gateway::{Agent, AgentOptions, KernelGateway, NftGateway, routes};
use crate::lab::addresses::{OVERLAY_ROUTER, SERVER, mac, no_snat_networks};
use crate::lab::names::{EXTERNAL_PORT, INTERNAL_PORT};
use crate::lab::{Client, RealChecksums};
use crate::raw::sys::Hook;
use crate::system::Netns;
use crate::{Lab, LabConfig};

const CLUSTER: &str = include_str!("../../../manifests/samples/cluster.yaml");
const GATEWAY: &str = include_str!("../../../manifests/samples/gateway2-dual-stack.yaml");

/// For our profile: the few senders of a measure may fill the table.
pub(super) const UNLIMITED: &str = "  fairness: {fromPercent: 100}\n";

/// A gateway or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// This project.
    Ours,
    /// The rules of Kube-OVN's gateway: MASQUERADE --random-fully.
    Iptables,
    /// nftables' masquerade.
    Nft,
    /// The kernel's forwarding without NAT.
    Forward,
    /// A TC program that sets both MACs and calls `bpf_redirect_peer`, without looking at the packet.
    Redirect,
    /// Dropped on arrival at the gateway: what the generator and making an skb cost.
    Floor,
    /// An XDP program that sets both MACs and calls `bpf_redirect`.
    XdpRedirect,
    /// Dropped by XDP on arrival at the gateway: what the generator and a cable cost.
    XdpFloor,
}

impl Peer {
    /// In the order of reports.
    pub const ALL: [Self; 8] = [
        Self::Ours,
        Self::Iptables,
        Self::Nft,
        Self::Forward,
        Self::Redirect,
        Self::Floor,
        Self::XdpRedirect,
        Self::XdpFloor,
    ];

    /// Its name in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Iptables => "iptables MASQUERADE",
            Self::Nft => "nft masquerade",
            Self::Forward => "kernel forward",
            Self::Redirect => "TC redirect_peer",
            Self::Floor => "skb floor",
            Self::XdpRedirect => "XDP redirect",
            Self::XdpFloor => "XDP floor",
        }
    }

    /// Whether it carries packets and their answers as a gateway does.
    pub const fn is_gateway(self) -> bool {
        matches!(self, Self::Ours | Self::Iptables | Self::Nft | Self::Forward)
    }

    /// Whether it translates.
    pub const fn is_nat(self) -> bool {
        matches!(self, Self::Ours | Self::Iptables | Self::Nft)
    }
}

/// Where packets end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The far end of net1's cable.
    Outside,
    /// The server's interface, behind the bridge that this cable goes to.
    Server,
    /// The gateway's eth0.
    Arrival,
    /// The far end of its cable.
    Inside,
}

/// A gateway that runs in its lab.
#[derive(Debug)]
pub(super) struct Bed<'lab> {
    pub(super) peer: Peer,
    pub(super) lab: &'lab Lab,
    pub(super) agent: Option<Agent<'lab>>,
    _program: Option<Attached>,
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
        let (mut agent, mut program) = (None, None);
        match peer {
            Peer::Ours => agent = Some(Agent::start(lab, ours(lab, flows, more)?)?),
            Peer::Iptables => _ = KernelGateway::start(lab, &no_snat_networks())?,
            Peer::Nft => _ = NftGateway::start(lab, &no_snat_networks())?,
            Peer::Forward => routes::forward(lab)?,
            Peer::Redirect => program = Some(Attached::redirect(Hook::Ingress, &lab.gateway.ns)?),
            Peer::XdpRedirect => program = Some(Attached::redirect(Hook::Xdp, &lab.gateway.ns)?),
            Peer::XdpFloor => program = Some(Attached::drop_frames(&lab.gateway.ns, "eth0")?),
            Peer::Floor => drop_on_arrival(&lab.gateway.ns, "eth0")?,
        }
        // What a Pod sends comes with its checksum unfinished, which saves conntrack from checking it; the generator's are
        // finished, and are spared too. Flows last as long as ours.
        for setting in [("nf_conntrack_checksum", "0"), ("nf_conntrack_udp_timeout", "120")] {
            let _ = lab.gateway.ns.sysctl(&[(&format!("net/netfilter/{}", setting.0), setting.1)]);
        }
        // Those who get packets but answer none must stay known.
        for (address, mac, interface) in [
            (SERVER.0.to_string(), mac::SERVER, "net1"),
            (SERVER.1.to_string(), mac::SERVER, "net1"),
            (OVERLAY_ROUTER.0.to_string(), mac::OVERLAY, "eth0"),
            (OVERLAY_ROUTER.1.to_string(), mac::OVERLAY, "eth0"),
        ] {
            let family = if address.contains(':') { "-6" } else { "-4" };
            let mac = mac::text(mac);
            let line = format!("ip {family} neighbour replace {address} lladdr {mac} dev {interface} nud permanent");
            lab.gateway.ns.sh(&line)?;
        }
        if lab.config.bridged {
            let line = format!("bridge fdb replace {} dev server master static", mac::text(mac::SERVER));
            lab.node.sh(&line)?;
        }
        Ok(Self { peer, lab, agent, _program: program })
    }

    /// What the agent has to say, if it is ours.
    pub(super) fn log(&self) -> Option<String> {
        self.agent.as_ref().map(Agent::stderr)
    }

    /// A place in its lab.
    pub(super) const fn at(&self, end: End) -> (&'lab Netns, &'static str) {
        match end {
            End::Outside => (&self.lab.node, EXTERNAL_PORT),
            End::Server => (&self.lab.server.ns, "eth0"),
            End::Arrival => (&self.lab.gateway.ns, "eth0"),
            End::Inside => (&self.lab.node, INTERNAL_PORT),
        }
    }
}

/// Those of gateways.
pub(super) fn gateways<'a, 'lab>(beds: &'a [Bed<'lab>]) -> Vec<&'a Bed<'lab>> {
    beds.iter().filter(|bed| bed.peer.is_gateway()).collect()
}

/// So many labs that are alike.
pub(super) fn labs(config: &LabConfig, count: usize) -> Result<Vec<Lab>> {
    (0..count).map(|_| Lab::build(config.clone())).collect()
}

/// A peer in each lab, in order.
pub(super) fn beds<'lab>(peers: &[Peer], labs: &'lab [Lab], flows: u32) -> Result<Vec<Bed<'lab>>> {
    peers.iter().zip(labs).map(|(peer, lab)| Bed::start(*peer, lab, flows, "")).collect()
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

/// Such a filter, for as long as this lives.
#[derive(Debug)]
pub(super) struct Sink<'lab>(&'lab Netns, &'static str);

impl<'lab> Sink<'lab> {
    /// At a place of a lab.
    pub(super) fn at(bed: &Bed<'lab>, end: End) -> Result<Self> {
        let (ns, interface) = bed.at(end);
        // What is half there is taken away too.
        let sink = Self(ns, interface);
        drop_on_arrival(ns, interface)?;
        Ok(sink)
    }

    /// The same place of each lab.
    pub(super) fn of<'a>(beds: impl IntoIterator<Item = &'a Bed<'lab>>, end: End) -> Result<Vec<Self>>
    where
        'lab: 'a,
    {
        beds.into_iter().map(|bed| Self::at(bed, end)).collect()
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        let _ = self.0.sh(&format!("tc qdisc del dev {} clsact", self.1));
    }
}
