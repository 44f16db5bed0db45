//! From Vpcs, Subnets, Nodes and Pods with their addresses to the rows that kube-ovn-controller would keep.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::objects::{DEFAULT_SUBNET, DEFAULT_VPC, JOIN_SUBNET, Subnet, Vpc};
use super::rows::Row;
use crate::cluster::layout::{API_SERVICE, CONTROL_PLANE, JOIN, Machine, mac_of};

/// To another Subnet: stays inside. To a Node: leaves by the Node. Everything else: leaves by the Pod's own Node.
const TO_SUBNET: u16 = 31000;
const TO_NODE: u16 = 30000;
const TO_OUTSIDE: u16 = 29000;

/// A Pod that has its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServedPod {
    pub(super) port: String,
    pub(super) key: String,
    pub(super) node: String,
    pub(super) subnet: String,
    pub(super) mac: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// Everything that decides about rows.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) vpcs: BTreeMap<String, Vpc>,
    pub(super) subnets: BTreeMap<String, Subnet>,
    /// By Node, its machine.
    pub(super) nodes: BTreeMap<String, Machine>,
    /// By UID.
    pub(super) pods: BTreeMap<String, ServedPod>,
}

/// The rows that should be there.
pub(super) fn rows(world: &World) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for (name, vpc) in &world.vpcs {
        rows.insert(Row::Router(name.clone()));
        let own: &[(&str, &str)] = if name == DEFAULT_VPC { &[("0.0.0.0/0", JOIN[0]), ("::/0", JOIN[1])] } else { &[] };
        let own = own.iter().map(|(destination, via)| ((*destination).to_owned(), without_length(via)));
        for (destination, via) in vpc.routes.iter().cloned().chain(own) {
            rows.insert(Row::Route { router: name.clone(), destination, via });
        }
    }
    for subnet in world.subnets.values().filter(|it| it.overlay && world.vpcs.contains_key(&it.vpc)) {
        of_subnet(subnet, &mut rows);
    }
    if world.subnets.contains_key(JOIN_SUBNET) && world.vpcs.contains_key(DEFAULT_VPC) {
        of_nodes(world, &mut rows);
    }
    of_pods(world, &mut rows);
    rows
}

/// What Kube-OVN reports about a Vpc.
pub(super) fn vpc_status(world: &World, name: &str) -> Value {
    let subnets: Vec<_> = world.subnets.values().filter(|it| it.overlay && it.vpc == name).map(|it| &it.name).collect();
    let default = subnets.iter().find(|it| name == DEFAULT_VPC && **it == DEFAULT_SUBNET);
    json!({"default": name == DEFAULT_VPC, "router": name, "subnets": subnets, "defaultLogicalSwitch": default})
}

fn without_length(text: &str) -> String {
    text.split('/').next().unwrap_or_default().to_owned()
}

fn ids<const N: usize>(ids: [(&str, &str); N]) -> Vec<(String, String)> {
    ids.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn of_subnet(subnet: &Subnet, rows: &mut BTreeSet<Row>) {
    let (name, vpc) = (&subnet.name, &subnet.vpc);
    let (port, router_port) = (format!("{name}-{vpc}"), format!("{vpc}-{name}"));
    let networks = subnet
        .gateways
        .iter()
        .filter_map(|gateway| subnet.network_of(*gateway).map(|network| format!("{gateway}/{}", network.prefix_len())));
    let mac = subnet.gateways.iter().find_map(|it| if let IpAddr::V4(v4) = it { Some(mac_of(*v4)) } else { None });
    // A Subnet of IPv6 only.
    let mac = mac.unwrap_or_else(|| mac_of(Ipv4Addr::new(10, 0, 0, 1)));
    rows.insert(Row::RouterPort { router: vpc.clone(), port: router_port.clone(), mac, networks: networks.collect() });
    rows.insert(Row::Switch { name: name.clone(), port, router_port });
    if vpc == DEFAULT_VPC {
        for network in &subnet.networks {
            let version = if network.network().is_ipv4() { 4 } else { 6 };
            rows.insert(policy(TO_SUBNET, format!("ip{version}.dst == {network}"), None, ids([("subnet", name)])));
        }
    }
}

fn policy(priority: u16, matches: String, nexthop: Option<IpAddr>, ids: Vec<(String, String)>) -> Row {
    let action = if nexthop.is_some() { "reroute" } else { "allow" }.to_owned();
    let nexthop = nexthop.map(|nexthop| nexthop.to_string());
    Row::Policy { router: DEFAULT_VPC.to_owned(), priority, matches, action, nexthop, ids }
}

/// A Node's foot in the overlay, and the ways by it.
fn of_nodes(world: &World, rows: &mut BTreeSet<Row>) {
    // The control plane is no Node, but it has a foot in the overlay, and the API's addresses.
    let center = Machine::named(CONTROL_PLANE).map(|machine| (CONTROL_PLANE.to_owned(), machine));
    let nodes = world.nodes.iter().map(|(name, machine)| (name.clone(), machine.clone()));
    for (name, machine) in nodes.chain(center) {
        let (v4, v6): (Ipv4Addr, Ipv6Addr) = machine.join();
        let mut ways =
            vec![(IpAddr::V4(machine.management().0), v4.into()), (machine.management().1.into(), v6.into())];
        if !machine.is_node() {
            ways.push((IpAddr::V4(API_SERVICE), v4.into()));
        }
        rows.insert(Row::Port {
            switch: JOIN_SUBNET.to_owned(),
            name: format!("node-{name}"),
            addresses: format!("{} {v4} {v6}", machine.join_mac()),
            ids: Vec::new(),
        });
        for (address, foot) in ways {
            let version = if address.is_ipv4() { 4 } else { 6 };
            let matches = format!("ip{version}.dst == {address}");
            rows.insert(policy(TO_NODE, matches, Some(foot), ids([("node", &name)])));
        }
    }
    for (node, machine) in &world.nodes {
        rows.insert(Row::Group { name: node_group(node), ids: ids([("node", node)]) });
        let subnets = world.subnets.values();
        for subnet in subnets.filter(|it| it.overlay && it.vpc == DEFAULT_VPC && it.name != JOIN_SUBNET) {
            let group = subnet_group(&subnet.name, node);
            let ids = ids([("subnet", &subnet.name), ("node", node)]);
            rows.insert(Row::Group { name: group.clone(), ids: ids.clone() });
            let (v4, v6) = machine.join();
            for (version, foot) in [(4, IpAddr::V4(v4)), (6, v6.into())] {
                let matches = format!("ip{version}.src == ${group}_ip{version}");
                rows.insert(policy(TO_OUTSIDE, matches, Some(foot), ids.clone()));
            }
        }
    }
}

/// OVN takes no `-` in a name that a match uses.
fn node_group(node: &str) -> String {
    format!("node.{}", node.replace('-', "."))
}

fn subnet_group(subnet: &str, node: &str) -> String {
    format!("{}.{}", subnet.replace('-', "."), node.replace('-', "."))
}

fn of_pods(world: &World, rows: &mut BTreeSet<Row>) {
    let groups =
        rows.iter().filter_map(|row| if let Row::Group { name, .. } = row { Some(name.clone()) } else { None });
    let mut members: BTreeMap<String, BTreeSet<String>> = groups.map(|name| (name, BTreeSet::new())).collect();
    for pod in world.pods.values().filter(|pod| world.subnets.contains_key(&pod.subnet)) {
        let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
        rows.insert(Row::Port {
            switch: pod.subnet.clone(),
            name: pod.port.clone(),
            addresses: format!("{} {}", pod.mac, addresses.join(" ")),
            ids: ids([("pod", &pod.key), ("ls", &pod.subnet), ("ip", &addresses.join("/"))]),
        });
        for group in [node_group(&pod.node), subnet_group(&pod.subnet, &pod.node)] {
            // A Subnet of another Vpc has no ways by Nodes.
            if let Some(ports) = members.get_mut(&group) {
                ports.insert(pod.port.clone());
            }
        }
    }
    rows.extend(members.into_iter().map(|(group, ports)| Row::Members { group, ports }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let subnet = |name: &str, spec: Value| (name.to_owned(), Subnet::read(name, &spec).unwrap());
        let pod = ServedPod {
            port: "a.ns1".into(),
            key: "ns1/a".into(),
            node: "node1".into(),
            subnet: "ovn-default".into(),
            mac: "0a:00:0a:10:00:09".into(),
            addresses: vec!["10.16.0.9".parse().unwrap(), "fd00:10:16::9".parse().unwrap()],
        };
        World {
            vpcs: [(DEFAULT_VPC.to_owned(), Vpc::default())].into(),
            subnets: [
                subnet("join", json!({"cidrBlock": "100.64.0.0/16", "gateway": "100.64.0.1"})),
                subnet(
                    "ovn-default",
                    json!({"cidrBlock": "10.16.0.0/16,fd00:10:16::/112", "gateway": "10.16.0.1,fd00:10:16::1"}),
                ),
                subnet("ext", json!({"cidrBlock": "172.17.0.0/16", "provider": "e.default.ovn", "vlan": "v"})),
            ]
            .into(),
            nodes: [("node1".to_owned(), Machine::named("node1").unwrap())].into(),
            pods: [("uid".to_owned(), pod)].into(),
        }
    }

    #[test]
    fn the_default_vpc_names_its_default_subnet() {
        let status = vpc_status(&world(), DEFAULT_VPC);
        assert_eq!(status["defaultLogicalSwitch"], "ovn-default");
        assert_eq!(status["subnets"], json!(["join", "ovn-default"]));
    }

    fn commands(world: &World) -> String {
        let line = |command: Vec<String>| command.join(" ");
        rows(world).iter().flat_map(Row::make).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn names_priorities_and_groups_are_those_of_kube_ovn() {
        let text = commands(&world());
        for wanted in [
            "--may-exist lrp-add ovn-cluster ovn-cluster-ovn-default 0a:00:0a:10:00:01 10.16.0.1/16 fd00:10:16::1/112",
            "--may-exist lr-route-add ovn-cluster 0.0.0.0/0 100.64.0.1",
            "--may-exist lsp-add ovn-default a.ns1",
            "lsp-set-addresses a.ns1 0a:00:0a:10:00:09 10.16.0.9 fd00:10:16::9",
            "priority=31000 match=\"ip4.dst == 10.16.0.0/16\" action=allow",
            "priority=30000 match=\"ip4.dst == 10.99.0.11\" action=reroute nexthops=\"100.64.0.11\"",
            "priority=29000 match=\"ip4.src == $ovn.default.node1_ip4\" action=reroute nexthops=\"100.64.0.11\"",
            "pg-set-ports node.node1 a.ns1",
            "pg-set-ports ovn.default.node1 a.ns1",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert!(!text.contains("172.17"), "a network outside has no switch");
    }

    #[test]
    fn what_goes_takes_its_rows_along() {
        let mut world = world();
        let before = rows(&world);
        world.pods.clear();
        let after = rows(&world);
        let gone: Vec<_> = before.difference(&after).flat_map(Row::unmake).map(|it| it.join(" ")).collect();
        assert_eq!(gone, ["--if-exists lsp-del a.ns1"]);
        let new: Vec<_> = after.difference(&before).flat_map(Row::make).map(|it| it.join(" ")).collect();
        assert_eq!(new, ["clear port_group node.node1 ports", "clear port_group ovn.default.node1 ports"]);
    }
}
