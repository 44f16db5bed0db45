//! The control plane's machine: the cables, OVN's databases and northd, the world outside, and Kubernetes' control plane.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::files::PLAYED_KUBECONFIG;
use super::super::layout::{API_SERVICE, CONTROL_PLANE, MANY_OUTSIDE, Machine, NODES_OUTSIDE, OUTSIDE, SERVICES};
use super::services::Services;
use super::{OWN_PROGRAM, feed, ovs, set_sysctl, sh, wait_for, wait_for_path};
use crate::lab::addresses::{ROUTER, SERVER};

const ETCD: &str = "http://127.0.0.1:24790";
const NB_PORT: u16 = 6641;
const SB_PORT: u16 = 6642;
/// Cables that all machines are plugged into, each a bridge here: management, tunnels, the external network.
pub(in super::super) const CABLES: [&str; 3] = ["mgmt", "tun", "ext"];

fn management() -> Ipv4Addr {
    Machine::named(CONTROL_PLANE).map_or(Ipv4Addr::LOCALHOST, |machine| machine.management().0)
}

/// Where chassis find the southbound database.
pub(super) fn southbound() -> String {
    format!("tcp:{}:{SB_PORT}", management())
}

/// Starts everything, what takes longest first.
pub(super) fn start(machine: &Machine, services: &mut Services) -> Result<()> {
    let (v4, v6) = machine.management();
    let mut lines = vec![format!("addr add {API_SERVICE}/32 dev lo")];
    for cable in CABLES {
        lines.push(format!("link add {cable} type bridge"));
        lines.push(format!("link set {cable} up"));
    }
    lines.extend([format!("addr add {v4}/24 dev mgmt"), format!("addr add {v6}/112 dev mgmt nodad")]);
    feed("ip -batch -", &lines.join("\n"))?;
    for table in ["iptables", "ip6tables", "arptables"] {
        // What only passes a cable is none of this machine's business. Without br_netfilter there is nothing to switch off.
        let setting = format!("net/bridge/bridge-nf-call-{table}");
        if Path::new("/proc/sys").join(&setting).exists() {
            set_sysctl(&setting, "0")?;
        }
    }
    services.start(
        "etcd",
        &[
            "etcd",
            "--data-dir=/var/lib/etcd",
            "--unsafe-no-fsync",
            "--log-level=warn",
            &format!("--listen-client-urls={ETCD}"),
            &format!("--advertise-client-urls={ETCD}"),
            "--listen-peer-urls=http://127.0.0.1:24800",
        ],
    )?;
    services.start("kube-apiserver", &apiserver(v4))?;
    databases(services)?;
    outside(services)?;
    feed(
        "ip -batch -",
        &format!("link add tun-cp type veth peer name {}\nlink set tun-cp master tun up", ovs::TUNNEL),
    )?;
    ovs::start(machine, services)?;
    let api = SocketAddr::from((API_SERVICE, 443));
    wait_for("the API server listens", || TcpStream::connect_timeout(&api, Duration::from_secs(1)).is_ok())?;
    let folder = "/etc/kubernetes";
    services.start(
        "kube-controller-manager",
        &[
            "kube-controller-manager",
            &format!("--kubeconfig={folder}/kcm.conf"),
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            "--profiling=false",
            &format!("--service-account-private-key-file={folder}/sa.key"),
            &format!("--root-ca-file={folder}/ca.crt"),
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ],
    )?;
    services.start(
        "kube-scheduler",
        &[
            "kube-scheduler",
            &format!("--kubeconfig={folder}/scheduler.conf"),
            "--leader-elect=false",
            "--profiling=false",
        ],
    )?;
    services.start("controller", &[OWN_PROGRAM, "played", "controller", PLAYED_KUBECONFIG])
}

fn apiserver(address: Ipv4Addr) -> Vec<String> {
    let file = |flag: &str, file: &str| format!("--{flag}=/etc/kubernetes/{file}");
    vec![
        "kube-apiserver".to_owned(),
        format!("--etcd-servers={ETCD}"),
        "--secure-port=443".to_owned(),
        format!("--advertise-address={address}"),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("client-ca-file", "ca.crt"),
        file("kubelet-client-certificate", "apiserver-kubelet.crt"),
        file("kubelet-client-key", "apiserver-kubelet.key"),
        file("kubelet-certificate-authority", "ca.crt"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        file("service-account-key-file", "sa.pub"),
        file("service-account-signing-key-file", "sa.key"),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        file("requestheader-client-ca-file", "front.crt"),
        "--requestheader-allowed-names=front-proxy".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        file("proxy-client-cert-file", "front-proxy.crt"),
        file("proxy-client-key-file", "front-proxy.key"),
        // Without a kube-proxy it is the API server that must find the Pods of a Service.
        "--enable-aggregator-routing=true".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

fn databases(services: &mut Services) -> Result<()> {
    for folder in ["/run/ovn", "/var/lib/ovn"] {
        fs::create_dir_all(folder).with_context(|| format!("create {folder}"))?;
    }
    for (name, port) in [("nb", NB_PORT), ("sb", SB_PORT)] {
        let (db, socket) = (format!("/var/lib/ovn/{name}.db"), format!("/run/ovn/ovn{name}_db.sock"));
        sh(&format!("ovsdb-tool create {db} /usr/share/ovn/ovn-{name}.ovsschema"))?;
        if name == "sb" {
            sb_global(&db)?;
        }
        services.start(
            &format!("ovn-{name}"),
            &[
                "ovsdb-server",
                &db,
                "-vconsole:info",
                &format!("--pidfile=/run/ovn/{name}.pid"),
                &format!("--unixctl=/run/ovn/{name}.ctl"),
                &format!("--remote=punix:{socket}"),
                &format!("--remote=ptcp:{port}:0.0.0.0"),
            ],
        )?;
        wait_for_path(&socket)?;
    }
    services.start("ovn-northd", &["ovn-northd", "--pidfile", "-vconsole:info"])
}

/// Writes the row that northd would write as its first. An ovn-controller that reads the database before dies by SIGSEGV (OVN 25.03:
/// `pflow_output_get_debug` takes the row for granted), which happened in one start of twenty: so it is there before anybody can connect.
fn sb_global(db: &str) -> Result<()> {
    let row = r#"["OVN_Southbound",{"op":"insert","table":"SB_Global","row":{"external_ids":["map",[["made-by","egress-lab"]]]}}]"#;
    sh(&format!("ovsdb-tool transact {db} {row}")).map(drop)
}

/// A host on the external cable that says whom it sees.
fn outside(services: &mut Services) -> Result<()> {
    sh(&format!("ip netns add {OUTSIDE}"))?;
    let (nodes4, nodes6) = NODES_OUTSIDE;
    let lines = [
        format!("link add ext-out type veth peer name eth0 netns {OUTSIDE}"),
        "link set ext-out master ext up".to_owned(),
        format!("addr add {nodes4}/16 dev ext"),
        format!("addr add {nodes6}/112 dev ext nodad"),
    ];
    feed("ip -batch -", &lines.join("\n"))?;
    // What a program meets on its way must have whole checksums, as from a real network card.
    sh(&format!("ip netns exec {OUTSIDE} ethtool -K eth0 tx off"))?;
    let (router, server) = (ROUTER, SERVER);
    let mut lines = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
    for (v4, v6) in [router, server] {
        lines.extend([format!("addr add {v4}/16 dev eth0"), format!("addr add {v6}/112 dev eth0 nodad")]);
    }
    for number in 1..=MANY_OUTSIDE {
        lines.push(format!("addr add 172.17.1.{number}/16 dev eth0"));
        lines.push(format!("addr add fd00:172:17::{:x}/112 dev eth0 nodad", 0x100 + u16::from(number)));
    }
    feed(&format!("ip -n {OUTSIDE} -batch -"), &lines.join("\n"))?;
    let rules = "table inet egress_lab_outside { chain leave { type nat hook postrouting priority srcnat; oifname \"ext\" masquerade; }; }";
    feed("nft -f -", rules)?;
    services.start("outside", &["ip", "netns", "exec", OUTSIDE, OWN_PROGRAM, "outside"])
}
