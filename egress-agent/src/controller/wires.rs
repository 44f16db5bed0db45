//! Whether one address in two external Subnets is one address outside: two objects may describe one network.

use std::net::IpAddr;

use serde_json::Value;

use crate::{
    k8s::api::Subnet,
    spec::{Objects, addr::cidr, plan::subnets::attachment_of},
};

/// What says on which network a Subnet is.
#[derive(PartialEq, Eq)]
enum Wire {
    /// Kube-OVN's Vlan of an underlay Subnet.
    Vlan(String),
    /// The nodes' interface of an attachment, and its VLAN there.
    Interface(String, Option<Value>),
}

/// Whether both Subnets have the address and nothing says that they are on different networks.
pub(super) fn meet(objects: &Objects, subnets: [&str; 2], ip: IpAddr) -> bool {
    let found = subnets.map(|name| objects.subnets.get(name).map(|subnet| &subnet.object));
    let [Some(one), Some(other)] = found else { return false };
    if [one, other].iter().any(|subnet| !has(subnet, ip) || is_overlay(subnet)) {
        return false;
    }
    if one.spec.provider == other.spec.provider && one.spec.vlan == other.spec.vlan {
        return true;
    }
    match (wire(objects, one), wire(objects, other)) {
        (Some(Wire::Vlan(one)), Some(Wire::Vlan(other))) => one == other,
        (Some(one @ Wire::Interface(..)), Some(other @ Wire::Interface(..))) => one == other,
        // A Vlan and an interface may be the same wire.
        _ => true,
    }
}

/// Whether it is a network of its own in OVN, on no wire.
fn is_overlay(subnet: &Subnet) -> bool {
    subnet.spec.vlan.is_empty() && subnet.spec.provider.ends_with(".ovn")
}

fn has(subnet: &Subnet, ip: IpAddr) -> bool {
    subnet.spec.cidr_block.split(',').filter_map(|net| cidr(net.trim()).ok()).any(|net| net.contains(&ip))
}

fn wire(objects: &Objects, subnet: &Subnet) -> Option<Wire> {
    if !subnet.spec.vlan.is_empty() {
        return Some(Wire::Vlan(subnet.spec.vlan.clone()));
    }
    let attachment = objects.attachments.get(&attachment_of(&subnet.spec.provider)?)?;
    let config: Value = serde_json::from_str(&attachment.object.spec.config).ok()?;
    // Of a chain the first plugin makes the interface.
    let plugin = config.pointer("/plugins/0").unwrap_or(&config);
    let master = plugin.get("master")?.as_str()?;
    Some(Wire::Interface(master.to_owned(), plugin.get("vlanId").cloned()))
}
