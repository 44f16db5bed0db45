//! A machine as a chassis of OVN. There is no openvswitch module: everything happens in ovs-vswitchd (`datapath_type=netdev`), Geneve included, so
//! the cable of the tunnels must be a port of a bridge of its own.

use std::fs;

use anyhow::{Context, Result};

use super::super::layout::{JOIN, Machine, OVERLAY};
use super::services::Services;
use super::{feed, interface_path, set_sysctl, sh, wait_for_path};

const RUN: &str = "/run/openvswitch";
/// The interface of the tunnels' cable.
pub(super) const TUNNEL: &str = "tun0";

/// Starts Open vSwitch and ovn-controller, and gives the machine its foot in the overlay, `ovn0`.
pub(super) fn start(machine: &Machine, services: &mut Services) -> Result<()> {
    for folder in [RUN, "/run/ovn", "/etc/openvswitch"] {
        fs::create_dir_all(folder).with_context(|| format!("create {folder}"))?;
    }
    sh(&format!("ovsdb-tool create {RUN}/conf.db /usr/share/openvswitch/vswitch.ovsschema"))?;
    let socket = format!("{RUN}/db.sock");
    let remote = format!("--remote=punix:{socket}");
    services
        .start("ovsdb-server", &["ovsdb-server", &format!("{RUN}/conf.db"), &remote, "--pidfile", "-vconsole:info"])?;
    wait_for_path(&socket)?;
    sh(&format!("ovs-vsctl --no-wait {}", rows(machine)))?;
    // Open vSwitch does not take packets away from this machine's stack, which would answer for br-tun's address with the MAC
    // of whatever interface the question came by. A peer that heard that answer last has lost the tunnel.
    set_sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    sh(&format!("ethtool -K {TUNNEL} tx off"))?;
    sh(&format!("ip link set {TUNNEL} up"))?;
    services.start("ovs-vswitchd", &["/usr/lib/openvswitch-switch/ovs-vswitchd", "--pidfile", "-vconsole:info"])?;
    for interface in ["br-tun", "ovn0"] {
        wait_for_path(interface_path(interface))?;
    }
    addresses(machine)?;
    services.start("ovn-controller", &["ovn-controller", "--pidfile", "-vconsole:info"])
}

fn rows(machine: &Machine) -> String {
    let (name, tunnel, mac) = (&machine.name, machine.tunnel(), machine.join_mac());
    let southbound = super::control_plane::southbound();
    [
        &format!("-- init -- set open . external_ids:system-id={name} external_ids:hostname={name}"),
        &format!("external_ids:ovn-remote={southbound} external_ids:ovn-encap-type=geneve"),
        &format!("external_ids:ovn-encap-ip={tunnel} external_ids:ovn-bridge-datapath-type=netdev"),
        "external_ids:ovn-monitor-all=true",
        "-- add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure other_config:disable-in-band=true",
        &format!("-- add-br br-tun -- set bridge br-tun datapath_type=netdev -- add-port br-tun {TUNNEL}"),
        "-- add-port br-int ovn0",
        &format!(
            "-- set interface ovn0 type=internal mtu_request=1400 external_ids:iface-id=node-{name} mac=\"{mac}\""
        ),
    ]
    .join(" ")
}

fn addresses(machine: &Machine) -> Result<()> {
    let (v4, v6) = machine.join();
    let [router4, router6] = JOIN.map(|it| it.split_once('/').map_or(it, |(address, _)| address));
    let [overlay4, overlay6] = OVERLAY;
    let lines = [
        format!("addr add {}/24 dev br-tun", machine.tunnel()),
        "link set br-tun up".to_owned(),
        format!("addr add {v4}/16 dev ovn0"),
        format!("addr add {v6}/112 dev ovn0 nodad"),
        "link set ovn0 up".to_owned(),
        format!("route add {overlay4} via {router4} dev ovn0"),
        format!("route add {overlay6} via {router6} dev ovn0"),
    ];
    feed("ip -batch -", &lines.join("\n"))?;
    set_sysctl("net/ipv4/ip_forward", "1")?;
    set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
    // A Node speaks to Pods, and Pods leave by their Node, under the Node's own address.
    let rules = "table inet egress_lab { chain leave { type nat hook postrouting priority srcnat;
        oifname \"ovn0\" ip saddr != 100.64.0.0/16 masquerade
        oifname \"ovn0\" ip6 saddr != fd00:100:64::/112 masquerade
        oifname \"eth0\" ip saddr != 10.99.0.0/24 masquerade
        oifname \"eth0\" ip6 saddr != fd00:10:99::/112 masquerade
    }
    }
";
    feed("nft -f -", rules)?;
    Ok(())
}
