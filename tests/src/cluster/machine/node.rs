//! A Node: a chassis of OVN with containerd and kubelet.

use anyhow::Result;

use super::super::layout::{CONTROL_PLANE, Machine};
use super::services::Services;
use super::{feed, interface_path, ovs, sh, wait_for, wait_for_path};

/// Interfaces and the cable that each is plugged into. Attached networks come by `eth1` (macvlan) or by the bridge `br-ext` (veth).
pub(in super::super) const PLUGS: [(&str, &str); 4] =
    [("mgmt", "eth0"), ("ext", "eth1"), ("ext", "eth2"), ("tun", ovs::TUNNEL)];

/// Starts everything.
pub(super) fn start(machine: &Machine, services: &mut Services) -> Result<()> {
    services.start("containerd", &["containerd", "--config=/etc/containerd.toml"])?;
    for (_, interface) in PLUGS {
        wait_for_path(interface_path(interface))?;
    }
    let (v4, v6) = machine.management();
    let mut lines = vec!["link add br-ext type bridge".to_owned(), "link set eth2 master br-ext".to_owned()];
    lines.extend(["eth0", "eth1", "eth2", "br-ext"].map(|interface| format!("link set {interface} up")));
    lines.extend([format!("addr add {v4}/24 dev eth0"), format!("addr add {v6}/112 dev eth0 nodad")]);
    if let Some(control_plane) = Machine::named(CONTROL_PLANE) {
        let (v4, v6) = control_plane.management();
        lines.extend([format!("route add 0.0.0.0/0 via {v4}"), format!("route add ::/0 via {v6}")]);
    }
    feed("ip -batch -", &lines.join("\n"))?;
    ovs::start(machine, services)?;
    wait_for("containerd answers", || sh("ctr version").is_ok())?;
    for image in std::fs::read_dir("/opt/images")?.flatten() {
        let path = image.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            sh(&format!("ctr -n k8s.io images import --local {}", path.display()))?;
        }
    }
    services.start(
        "kubelet",
        &[
            "kubelet",
            "--config=/etc/kubernetes/kubelet.json",
            "--kubeconfig=/etc/kubernetes/kubelet.conf",
            &format!("--hostname-override={}", machine.name),
            &format!("--node-ip={v4},{v6}"),
            "--root-dir=/var/lib/kubelet",
            "--cert-dir=/var/lib/kubelet/pki",
            "--v=2",
        ],
    )
}
