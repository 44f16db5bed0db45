//! What a lab shall look like.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::addresses::{Family, GATEWAY_OUTSIDE};

/// The kind of the gateway's net1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Net1 {
    /// A veth whose other end is a port of the external bridge, as a Kube-OVN underlay subnet makes it.
    #[default]
    Veth,
    /// A macvlan on a NIC of the node (a veth into the external bridge).
    Macvlan,
}

/// Where the kernel finishes checksums. Between veths it never does, so a wrong one would go unseen; what is switched off
/// here is cut and summed up before it leaves that interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RealChecksums {
    /// The gateway's eth0 and net1: packets that the gateway sends through its own interfaces.
    pub gateway: bool,
    /// The node's ends of the cables to clients and servers: what they receive is real however the gateway sent it
    /// (`redirect_peer` goes around the gateway's own interfaces).
    pub receivers: bool,
    /// The clients' and servers' own interfaces: the gateway gets finished checksums (and no GSO) to update.
    pub senders: bool,
}

impl RealChecksums {
    /// Real at every receiver, but clients hand out GSO packets with unfinished checksums as Pods do.
    pub const AT_RECEIVERS: Self = Self { gateway: true, receivers: true, senders: false };
    /// Real everywhere.
    pub const EVERYWHERE: Self = Self { gateway: true, receivers: true, senders: true };
}

/// A Pod of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Names its namespace; at most 15 bytes.
    pub name: String,
    /// Its IPv4 address; the subnet's router is `.0.1` of the same /16.
    pub v4: Ipv4Addr,
    /// Its IPv6 address; the subnet's router is `::1` of the same /112.
    pub v6: Ipv6Addr,
}

impl Client {
    /// `10.<second>.0.<last>` and its twin `fd00:10:<second>::<last>` (`second` in decimal digits, `last` in hexadecimal).
    pub fn new(name: &str, second: u8, last: u8) -> Self {
        let digits = u16::from(second / 10) * 16 + u16::from(second % 10);
        Self {
            name: name.to_owned(),
            v4: Ipv4Addr::new(10, second, 0, last),
            v6: Ipv6Addr::new(0xfd00, 0x10, digits, 0, 0, 0, 0, u16::from(last)),
        }
    }
}

/// What [`super::Lab::build`] builds. Start from `LabConfig::default()`, the documentation's network with both families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabConfig {
    /// Families that have addresses and routes.
    pub families: Vec<Family>,
    /// MTU of the overlay and of the gateway's eth0.
    pub overlay_mtu: u32,
    /// MTU of the external network and of net1.
    pub external_mtu: u32,
    /// Addresses of net1; the first of each family is the first egress address.
    pub egress: Vec<IpNet>,
    /// Kind of net1.
    pub net1: Net1,
    /// Where checksums become real.
    pub checksums: RealChecksums,
    /// The Pods: `pod1` 10.17.0.9, `pod2` 10.17.0.10, `bystander` 10.18.0.5 and their twins.
    pub clients: Vec<Client>,
    /// Inside networks that the external hosts route back through the gateway; they have no other way inside.
    pub return_routes: Vec<IpNet>,
    /// Whether the node's ends of the gateway's cables are ports of its bridges; if not, nobody answers there.
    pub bridged: bool,
    /// Whether the gateway has the routes of 10.17.0.0/16 and 10.18.0.0/16 that Kube-OVN's CNI plugin makes.
    pub policy_routes: bool,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self {
            families: Family::BOTH.to_vec(),
            overlay_mtu: 1400,
            external_mtu: 1500,
            egress: vec![
                IpNet::V4(Ipv4Net::new_assert(GATEWAY_OUTSIDE.0, 16)),
                IpNet::V6(Ipv6Net::new_assert(GATEWAY_OUTSIDE.1, 64)),
            ],
            net1: Net1::Veth,
            checksums: RealChecksums::default(),
            clients: vec![Client::new("pod1", 17, 9), Client::new("pod2", 17, 10), Client::new("bystander", 18, 5)],
            return_routes: Vec::new(),
            bridged: true,
            policy_routes: true,
        }
    }
}

impl LabConfig {
    /// The default lab with other families.
    pub fn families(mut self, families: &[Family]) -> Self {
        self.families = families.to_vec();
        self
    }

    /// With other MTUs.
    pub fn mtu(mut self, overlay: u32, external: u32) -> Self {
        self.overlay_mtu = overlay;
        self.external_mtu = external;
        self
    }

    /// With one more address on net1.
    pub fn egress(mut self, address: IpNet) -> Self {
        self.egress.push(address);
        self
    }

    /// With another kind of net1.
    pub fn net1(mut self, kind: Net1) -> Self {
        self.net1 = kind;
        self
    }

    /// With real checksums.
    pub fn checksums(mut self, checksums: RealChecksums) -> Self {
        self.checksums = checksums;
        self
    }

    /// With one more Pod.
    pub fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// External hosts know the way to these inside networks: through the gateway.
    pub fn return_routes(mut self, networks: &[IpNet]) -> Self {
        self.return_routes = networks.to_vec();
        self
    }

    /// With bare cables to the gateway.
    pub fn unbridged(mut self) -> Self {
        self.bridged = false;
        self
    }

    /// Without the gateway's routes to 10.17.0.0/16 and 10.18.0.0/16.
    pub fn without_policy_routes(mut self) -> Self {
        self.policy_routes = false;
        self
    }

    pub(super) fn has(&self, family: Family) -> bool {
        self.families.contains(&family)
    }
}
