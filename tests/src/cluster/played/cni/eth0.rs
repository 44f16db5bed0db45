//! A Pod's first interface: a veth whose other end is a port of Open vSwitch that OVN binds to the Pod's logical port.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::annotations::{Annotations, OVN, key, list, routes, value};
use super::{Call, ip_inside, program};

/// Where it is to be.
pub(super) struct Port<'a> {
    pub(super) pod: &'a str,
    pub(super) namespace: &'a str,
    pub(super) call: &'a Call,
    pub(super) mtu: u32,
}

impl Port<'_> {
    /// Makes it; the CNI result.
    pub(super) fn make(&self, annotations: &Annotations) -> Result<Value> {
        let (host, interface, mtu) = (self.call.host_interface(), &self.call.interface, self.mtu.to_string());
        let wanted =
            |name: &str| value(annotations, OVN, name).with_context(|| format!("no annotation {}", key(OVN, name)));
        let (mac, ip) = (wanted("mac_address")?, wanted("ip_address")?);
        let netns = self.call.namespace.to_string_lossy();
        program(&[
            "ip", "link", "add", &host, "mtu", &mtu, "type", "veth", "peer", "name", interface, "mtu", &mtu, "address",
            mac, "netns", &netns,
        ])?;
        // Open vSwitch reads the veth by AF_PACKET: checksums must be whole when a packet gets there.
        program(&["nsenter", &format!("--net={netns}"), "ethtool", "-K", interface, "tx", "off"])?;
        program(&["ethtool", "-K", &host, "tx", "off"])?;
        // It does not take packets away from the Node's own stack, which therefore must be deaf here: a packet that comes by
        // bpf_redirect_peer carries no mark of being for somebody else, and would be forwarded a second time.
        for (setting, off) in
            [(format!("ipv4/conf/{host}/forwarding"), "0"), (format!("ipv6/conf/{host}/disable_ipv6"), "1")]
        {
            fs::write(format!("/proc/sys/net/{setting}"), off).with_context(|| format!("set net/{setting}"))?;
        }
        program(&["ip", "link", "set", &host, "up"])?;
        let id = |name: &str, value: &str| format!("external_ids:{name}=\"{value}\"");
        let ids = [
            id("iface-id", &format!("{}.{}", self.pod, self.namespace)),
            id("vendor", "kube-ovn"),
            id("pod_name", self.pod),
            id("pod_namespace", self.namespace),
            id("ip", &ip.replace(',', "/")),
            id("pod_netns", &netns),
        ];
        let mut words = vec![
            "ovs-vsctl",
            "--no-wait",
            "--timeout=10",
            "--",
            "--if-exists",
            "del-port",
            "br-int",
            &host,
            "--",
            "add-port",
            "br-int",
            &host,
        ];
        words.extend(["--", "set", "interface", &host]);
        words.extend(ids.iter().map(String::as_str));
        program(&words)?;
        let (addresses, gateways) = (addresses(annotations, OVN)?, list(wanted("gateway")?));
        let mut lines = vec![format!("link set {interface} up")];
        lines.extend(addresses.iter().map(|address| format!("addr add {address} dev {interface}{}", nodad(address))));
        lines.extend(gateways.iter().map(|gateway| {
            format!(
                "route add {} via {gateway} dev {interface}",
                if gateway.contains(':') { "::/0" } else { "0.0.0.0/0" }
            )
        }));
        lines.extend(route_lines(annotations, OVN, interface)?);
        ip_inside(self.call, &lines)?;
        let ips = addresses
            .iter()
            .zip(&gateways)
            .map(|(address, gateway)| json!({"address": address, "gateway": gateway, "interface": 1}));
        Ok(json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": host}, {"name": interface, "mac": mac, "sandbox": netns}],
            "ips": ips.collect::<Vec<_>>(),
            "routes": [{"dst": "0.0.0.0/0"}],
        }))
    }

    /// Waits until OVN has made the port's flows.
    pub(super) fn wait_until_installed(&self) -> Result<()> {
        let host = self.call.host_interface();
        program(&["ovs-vsctl", "--timeout=20", "wait-until", "interface", &host, "external_ids:ovn-installed=true"])
            .map(drop)
    }
}

/// Takes it away.
pub(super) fn unmake(host: &str) {
    // DEL comes again and again, also for what was never made.
    let _ = program(&["ovs-vsctl", "--no-wait", "--timeout=10", "--if-exists", "del-port", "br-int", host]);
    let _ = program(&["ip", "link", "del", host]);
}

/// Addresses of a provider's interface with their prefix lengths.
pub(super) fn addresses(annotations: &Annotations, provider: &str) -> Result<Vec<String>> {
    let wanted = |name: &str| {
        value(annotations, provider, name).with_context(|| format!("no annotation {}", key(provider, name)))
    };
    let networks = list(wanted("cidr")?);
    let with_length = |address: &str| -> Result<String> {
        let ip: IpAddr = address.parse().with_context(|| key(provider, "ip_address"))?;
        let network = networks.iter().find(|network| network.contains(':') == ip.is_ipv6());
        let network = network.with_context(|| format!("{} has no network for {address}", key(provider, "cidr")))?;
        Ok(format!("{address}/{}", network.split('/').nth(1).unwrap_or_default()))
    };
    list(wanted("ip_address")?).into_iter().map(with_length).collect()
}

/// A default route by another interface takes the place of eth0's, as with kube-ovn-cni.
pub(super) fn route_lines(annotations: &Annotations, provider: &str, interface: &str) -> Result<Vec<String>> {
    let routes = routes(annotations, provider)?;
    Ok(routes.iter().map(|route| format!("route replace {} via {} dev {interface}", route.dst, route.gw)).collect())
}

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}
