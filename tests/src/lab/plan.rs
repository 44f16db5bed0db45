//! What has to be done to build a lab, as lists for `ip -batch`; pure.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::addresses::{FAR, FAR_ROUTER, Family, GATEWAY_INSIDE, GATEWAY_OUTSIDE, ROUTER, SERVER, SUBNETS, mac};
use super::config::{Client, LabConfig, Net1};
use super::names::{EXTERNAL_PORT, INTERNAL_PORT, NIC};

/// The routing table of the node that stands for OVN's reroute policy.
const REROUTE_TABLE: u32 = 100;

/// Work in one namespace. The node's comes first: it makes every cable.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// The part of the lab: `node`, `gw`, `router`, `server`, `far` or a client's name.
    pub(super) part: String,
    /// Lines for `ip -batch`.
    pub(super) links: String,
    /// Lines for `ip -batch`, once all links are there.
    pub(super) v4: String,
    /// Lines for `ip -6 -batch`, once all links are there.
    pub(super) v6: String,
    /// Whether it routes between its interfaces.
    pub(super) forwards: bool,
    /// Interfaces whose tx checksum offload is switched off.
    pub(super) tx_off: Vec<String>,
}

impl Steps {
    fn of(part: &str) -> Self {
        Self { part: part.to_owned(), ..Self::default() }
    }

    fn link(&mut self, line: &str) {
        let _ = writeln!(self.links, "{line}");
    }

    fn ip(&mut self, family: Family, line: &str) {
        let lines = if family == Family::V4 { &mut self.v4 } else { &mut self.v6 };
        let _ = writeln!(lines, "{line}");
    }

    fn address(&mut self, address: IpNet, interface: &str) {
        let flags = if address.addr().is_ipv6() { " nodad" } else { "" };
        self.ip(Family::of(address.addr()), &format!("addr add {address} dev {interface}{flags}"));
    }

    fn route(&mut self, to: IpNet, via: IpAddr, interface: &str) {
        self.ip(Family::of(via), &format!("route add {to} via {via} dev {interface}"));
    }
}

/// The wanted steps; `namespace` tells the namespace of a part.
pub(super) fn plan(config: &LabConfig, namespace: &dyn Fn(&str) -> String) -> Vec<Steps> {
    let mut parts = vec![node(config, namespace), gateway(config), router(config), server(config), far(config)];
    parts.extend(config.clients.iter().map(|it| client(config, it)));
    for steps in &mut parts {
        if !config.has(Family::V4) {
            steps.v4.clear();
        }
        if !config.has(Family::V6) {
            steps.v6.clear();
        }
    }
    parts
}

fn node(config: &LabConfig, namespace: &dyn Fn(&str) -> String) -> Steps {
    let mut node = Steps { forwards: true, ..Steps::of("node") };
    let (inner, outer) = (config.overlay_mtu, config.external_mtu);
    let bridge = |name: &str, mac, mtu| {
        format!("link add {name} address {} mtu {mtu} type bridge mcast_snooping 0", mac::text(mac))
    };
    node.link("link set lo up");
    node.link(&bridge("overlay", mac::OVERLAY, inner));
    node.link(&bridge("external", [2, 0, 0, 0, 0x17, 0xfe], outer));
    node.link("link set external addrgenmode none");
    let mut cable = |port: &str, bridge: &str, mtu: u32, far_end: &str| {
        node.link(&format!("link add {port} mtu {mtu} type veth peer name {far_end}"));
        let master = if config.bridged || ![INTERNAL_PORT, EXTERNAL_PORT].contains(&port) {
            format!("master {bridge} ")
        } else {
            String::new()
        };
        node.link(&format!("link set {port} {master}addrgenmode none up"));
    };
    for (port, part, address, bridge, mtu) in [
        (INTERNAL_PORT, "gw", mac::GATEWAY_INSIDE, "overlay", inner),
        ("router", "router", mac::ROUTER, "external", outer),
        ("server", "server", mac::SERVER, "external", outer),
    ] {
        let far_end = format!("eth0 address {} mtu {mtu} netns {}", mac::text(address), namespace(part));
        cable(port, bridge, mtu, &far_end);
    }
    for it in &config.clients {
        cable(&it.name, "overlay", inner, &format!("eth0 mtu {inner} netns {}", namespace(&it.name)));
    }
    let net1 = format!("address {} mtu {outer} netns {}", mac::text(mac::GATEWAY_OUTSIDE), namespace("gw"));
    match config.net1 {
        Net1::Veth => cable(EXTERNAL_PORT, "external", outer, &format!("net1 {net1}")),
        Net1::Macvlan => {
            cable(EXTERNAL_PORT, "external", outer, &format!("{NIC} mtu {outer}"));
            node.link(&format!("link set {NIC} addrgenmode none up"));
            node.link(&format!("link add link {NIC} name net1 {net1} type macvlan mode bridge"));
        }
    }
    node.link(&format!(
        "link add far0 mtu {outer} netns {} type veth peer name eth0 mtu {outer} netns {}",
        namespace("router"),
        namespace("far")
    ));
    node.link("link set overlay up");
    node.link("link set external up");
    for subnet in &SUBNETS {
        for network in [IpNet::V4(subnet.v4), IpNet::V6(subnet.v6)] {
            let family = Family::of(network.addr());
            node.address(network, "overlay");
            node.ip(family, &format!("rule add pref 100 to {} lookup main", network.trunc()));
            node.ip(family, &format!("rule add pref 120 iif overlay from {} lookup {REROUTE_TABLE}", network.trunc()));
        }
    }
    for address in [IpAddr::V4(GATEWAY_INSIDE.0), IpAddr::V6(GATEWAY_INSIDE.1)] {
        let family = Family::of(address);
        // The gateway's own packets are not sent back to it.
        node.ip(family, &format!("rule add pref 110 from {address} lookup main"));
        node.ip(family, &format!("route add default via {address} dev overlay table {REROUTE_TABLE}"));
    }
    if config.checksums.receivers {
        node.tx_off = ["router", "server"].map(str::to_owned).to_vec();
        node.tx_off.extend(config.clients.iter().map(|it| it.name.clone()));
    }
    if config.checksums.gateway && config.net1 == Net1::Macvlan {
        // A macvlan's own cannot be changed.
        node.tx_off.push(NIC.to_owned());
    }
    node
}

fn gateway(config: &LabConfig) -> Steps {
    let mut gateway = Steps::of("gw");
    for interface in ["lo", "eth0", "net1"] {
        gateway.link(&format!("link set {interface} up"));
    }
    gateway.address(net(GATEWAY_INSIDE.0, 16), "eth0");
    gateway.address(net(GATEWAY_INSIDE.1, 112), "eth0");
    for address in &config.egress {
        gateway.address(*address, "net1");
    }
    if config.policy_routes {
        for subnet in &SUBNETS[1..] {
            gateway.route(IpNet::V4(subnet.v4.trunc()), SUBNETS[0].v4.addr().into(), "eth0");
            gateway.route(IpNet::V6(subnet.v6.trunc()), SUBNETS[0].v6.addr().into(), "eth0");
        }
    }
    gateway.ip(Family::V4, &format!("route add default via {} dev net1", ROUTER.0));
    gateway.ip(Family::V6, &format!("route add default via {} dev net1", ROUTER.1));
    if config.checksums.gateway {
        gateway.tx_off.push("eth0".to_owned());
        if config.net1 == Net1::Veth {
            gateway.tx_off.push("net1".to_owned());
        }
    }
    gateway
}

fn router(config: &LabConfig) -> Steps {
    let mut router = Steps { forwards: true, ..Steps::of("router") };
    for interface in ["lo", "eth0", "far0"] {
        router.link(&format!("link set {interface} up"));
    }
    router.address(net(ROUTER.0, 16), "eth0");
    router.address(net(ROUTER.1, 64), "eth0");
    router.address(net(FAR_ROUTER.0, 24), "far0");
    router.address(net(FAR_ROUTER.1, 64), "far0");
    return_routes(config, &mut router);
    if config.checksums.receivers {
        router.tx_off.push("far0".to_owned());
    }
    if config.checksums.senders {
        router.tx_off.push("eth0".to_owned());
    }
    router
}

fn server(config: &LabConfig) -> Steps {
    let mut server = end_host("server", config);
    server.address(net(SERVER.0, 16), "eth0");
    server.address(net(SERVER.1, 64), "eth0");
    for (network, router) in far_networks() {
        server.route(network, router, "eth0");
    }
    return_routes(config, &mut server);
    server
}

fn far(config: &LabConfig) -> Steps {
    let mut far = end_host("far", config);
    far.address(net(FAR.0, 24), "eth0");
    far.address(net(FAR.1, 64), "eth0");
    far.route(net(ROUTER.0, 16).trunc(), FAR_ROUTER.0.into(), "eth0");
    far.route(net(ROUTER.1, 64).trunc(), FAR_ROUTER.1.into(), "eth0");
    for network in &config.return_routes {
        let router = if network.addr().is_ipv4() { IpAddr::V4(FAR_ROUTER.0) } else { IpAddr::V6(FAR_ROUTER.1) };
        far.route(*network, router, "eth0");
    }
    far
}

fn client(config: &LabConfig, client: &Client) -> Steps {
    let mut steps = end_host(&client.name, config);
    let (v4, v6) = (net(client.v4, 16), net(client.v6, 112));
    for address in [v4, v6] {
        steps.address(address, "eth0");
        let router = first(address);
        steps.ip(Family::of(router), &format!("route add default via {router} dev eth0"));
    }
    steps
}

fn end_host(part: &str, config: &LabConfig) -> Steps {
    let mut steps = Steps::of(part);
    steps.link("link set lo up");
    steps.link("link set eth0 up");
    if config.checksums.senders {
        steps.tx_off.push("eth0".to_owned());
    }
    steps
}

fn return_routes(config: &LabConfig, steps: &mut Steps) {
    for network in &config.return_routes {
        let gateway =
            if network.addr().is_ipv4() { IpAddr::V4(GATEWAY_OUTSIDE.0) } else { IpAddr::V6(GATEWAY_OUTSIDE.1) };
        steps.route(*network, gateway, "eth0");
    }
}

fn far_networks() -> [(IpNet, IpAddr); 2] {
    [(net(FAR.0, 24).trunc(), ROUTER.0.into()), (net(FAR.1, 64).trunc(), ROUTER.1.into())]
}

/// The router of a subnet: its network address plus one.
fn first(address: IpNet) -> IpAddr {
    match address.network() {
        IpAddr::V4(network) => IpAddr::V4((u32::from(network) + 1).into()),
        IpAddr::V6(network) => IpAddr::V6((u128::from(network) + 1).into()),
    }
}

fn net(address: impl Into<IpAddr>, length: u8) -> IpNet {
    IpNet::new_assert(address.into(), length)
}
