//! Names and addresses of a cluster: the same in every one, since nothing of it is seen outside its own namespaces.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The machine with the control plane, OVN's databases and the cables between all machines; it is no Node.
pub const CONTROL_PLANE: &str = "cp";
/// The Nodes, by the names that the documentation's manifests select.
pub const NODES: [&str; 2] = ["node1", "node2"];
/// The namespace in the control plane's machine that plays the world outside.
pub const OUTSIDE: &str = "outside";

/// The Service `kubernetes`; there is no kube-proxy, it is an address of the control plane's machine.
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Services' addresses.
pub(super) const SERVICES: &str = "10.96.0.0/16,fd00:10:96::/112";
/// The Subnet of the Nodes' own ports.
pub(super) const JOIN: [&str; 2] = ["100.64.0.1/16", "fd00:100:64::1/112"];
/// Every overlay address, by which Nodes find them.
pub(super) const OVERLAY: [&str; 2] = ["10.16.0.0/12", "fd00:10::/32"];

/// What leaves by a Node and not by a gateway is seen outside under this address.
pub const NODES_OUTSIDE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(172, 17, 0, 254), Ipv6Addr::new(0xfd00, 0x172, 0x17, 0, 0, 0, 0, 0xfe));
/// More addresses of the outside server, for flows to many destinations: 172.17.1.1 and the 31 behind it, fd00:172:17::101 and the 31 behind it.
pub const MANY_OUTSIDE: u8 = 32;

/// One of the machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `cp`, `node1`, …
    pub name: String,
    /// 0 is the control plane.
    pub index: u8,
}

impl Machine {
    /// The machine of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|machine| machine.name == name)
    }

    /// The control plane first.
    pub fn all() -> Vec<Self> {
        let names = [CONTROL_PLANE].into_iter().chain(NODES);
        (0..).zip(names).map(|(index, name)| Self { name: name.to_owned(), index }).collect()
    }

    /// Whether it is a Node.
    pub fn is_node(&self) -> bool {
        self.index > 0
    }

    /// On the network of kubelets and API.
    pub fn management(&self) -> (Ipv4Addr, Ipv6Addr) {
        (Ipv4Addr::new(10, 99, 0, 10 + self.index), Ipv6Addr::new(0xfd00, 0x10, 0x99, 0, 0, 0, 0, self.low()))
    }

    /// On the network of Geneve.
    pub fn tunnel(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 98, 0, 10 + self.index)
    }

    /// Of its interface `ovn0` in the overlay.
    pub fn join(&self) -> (Ipv4Addr, Ipv6Addr) {
        (Ipv4Addr::new(100, 64, 0, 10 + self.index), Ipv6Addr::new(0xfd00, 0x100, 0x64, 0, 0, 0, 0, self.low()))
    }

    /// Of `ovn0`, as Kube-OVN would choose it.
    pub fn join_mac(&self) -> String {
        mac_of(self.join().0)
    }

    fn low(&self) -> u16 {
        0x10 + u16::from(self.index)
    }
}

/// The MAC address that belongs to an IPv4 address in the overlay.
pub(super) fn mac_of(ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("0a:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_differ_in_every_address() {
        let machines = Machine::all();
        let text = |machine: &Machine| format!("{:?} {} {:?}", machine.management(), machine.tunnel(), machine.join());
        assert_eq!(machines.len(), 3);
        assert!(machines.windows(2).all(|pair| text(&pair[0]) != text(&pair[1])));
        assert_eq!(machines[1].join_mac(), "0a:00:64:40:00:0b");
        assert_eq!(Machine::named("node3"), None);
    }
}
