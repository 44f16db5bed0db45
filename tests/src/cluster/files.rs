//! Everything that is written before the machines start: certificates, and the configuration of kubelet, containerd and CNI.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::json;

use super::folder::Folder;
use super::layout::{API_SERVICE, CONTROL_PLANE, Machine};
use super::pki::{self, Authority};

/// The image of the sandboxes, which is also that of test Pods.
pub const POD_IMAGE: &str = "localhost/egress-test-pod:1";
/// The image of the agent, as `cargo xtask image` calls it.
pub const AGENT_IMAGE: &str = concat!("localhost/egress-agent:", env!("CARGO_PKG_VERSION"));
/// What the CNI plugin is called in `/opt/cni/bin`.
pub(super) const CNI_PLUGIN: &str = "egress-test-cni";
/// The kubeconfig of the played part of kube-ovn-controller and of the CNI plugin, in a machine.
pub(super) const PLAYED_KUBECONFIG: &str = "/etc/kubernetes/played.conf";
/// Where a machine has its certificates.
const KUBERNETES: &str = "/etc/kubernetes";

/// Writes the configuration of all machines, and the person's kubeconfig.
pub(super) fn write(cluster: &Folder, port: u16) -> Result<()> {
    let ca = Authority::new("egress-lab")?;
    let control_plane = Machine::all().into_iter().next().context("no control plane")?;
    let server = format!("https://{}", control_plane.management().0);
    let own = cluster.path().join("admin");
    fs::create_dir(&own).with_context(|| format!("create {}", own.display()))?;
    ca.write(&own.join("ca.crt"))?;
    ca.client(&own, "admin", "admin", Some("system:masters"))?;
    put(&cluster.kubeconfig(), pki::kubeconfig(&format!("https://127.0.0.1:{port}"), &own, "admin"))?;
    for machine in Machine::all() {
        let etc = cluster.root(&machine.name).join("etc");
        let folder = etc.join("kubernetes");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        ca.write(&folder.join("ca.crt"))?;
        let user = |file: &str, user: &str, group: Option<&str>| -> Result<()> {
            ca.client(&folder, file, user, group)?;
            put(&folder.join(format!("{file}.conf")), pki::kubeconfig(&server, Path::new(KUBERNETES), file))
        };
        if machine.name == CONTROL_PLANE {
            apiserver(&ca, &folder, &machine)?;
            user("kcm", "system:kube-controller-manager", None)?;
            user("scheduler", "system:kube-scheduler", None)?;
            user("played", "egress-lab:kube-ovn-controller", Some("system:masters"))?;
        } else {
            user("kubelet", &format!("system:node:{}", machine.name), Some("system:nodes"))?;
            user("played", "egress-lab:cni", Some("system:masters"))?;
            node(&ca, &etc, &machine)?;
        }
    }
    Ok(())
}

fn apiserver(ca: &Authority, folder: &Path, machine: &Machine) -> Result<()> {
    let (v4, v6) = machine.management();
    let mut names: Vec<String> = [v4.to_string(), v6.to_string(), API_SERVICE.to_string()].into();
    names.extend(
        ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(String::from),
    );
    ca.server(folder, "apiserver", "kube-apiserver", &names)?;
    ca.client(folder, "apiserver-kubelet", "apiserver-kubelet", Some("system:masters"))?;
    let front = Authority::new("egress-lab-front")?;
    front.write(&folder.join("front.crt"))?;
    front.client(folder, "front-proxy", "front-proxy", None)?;
    pki::signing_key(folder)
}

fn node(ca: &Authority, etc: &Path, machine: &Machine) -> Result<()> {
    let (v4, v6) = machine.management();
    let names = [v4.to_string(), v6.to_string(), machine.name.clone()];
    ca.server(&etc.join("kubernetes"), "serving", &format!("system:node:{}", machine.name), &names)?;
    put(&etc.join("kubernetes/kubelet.json"), kubelet()?.to_string())?;
    put(&etc.join("containerd.toml"), containerd())?;
    let cni = etc.join("cni/net.d");
    fs::create_dir_all(&cni).with_context(|| format!("create {}", cni.display()))?;
    let plugin = json!({"type": CNI_PLUGIN, "kubeconfig": PLAYED_KUBECONFIG, "external": "eth1", "mtu": 1400});
    put(
        &cni.join("10-egress-lab.conflist"),
        json!({"cniVersion": "1.0.0", "name": "kube-ovn", "plugins": [plugin]}).to_string(),
    )
}

fn kubelet() -> Result<serde_json::Value> {
    let files = getrlimit(Resource::RLIMIT_NOFILE).context("read RLIMIT_NOFILE")?.1;
    let full = ["memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree"];
    let eviction: serde_json::Map<_, _> = full.map(|it| (it.to_owned(), json!("0%"))).into_iter().collect();
    Ok(json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{KUBERNETES}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": format!("{KUBERNETES}/serving.crt"),
        "tlsPrivateKeyFile": format!("{KUBERNETES}/serving.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        // The machine's cgroups are of version 1: the kubelet wants to be told that this is meant.
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "maxOpenFiles": files,
        "enforceNodeAllocatable": ["none"],
        // The disk is shared with whatever else this machine does.
        "evictionHard": eviction,
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": false,
        "resolvConf": "/etc/resolv.conf",
        "clusterDomain": "cluster.local",
        "nodeStatusUpdateFrequency": "5s",
        "maxPods": 60,
        // The usual place is on the read-only /usr.
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
    }))
}

fn containerd() -> String {
    format!(
        r"version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{POD_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE no process may lower its oom_score_adj, and no sandbox would start.
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    BinaryName = '/usr/sbin/runc'
    SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin', '/usr/lib/cni']
  conf_dir = '/etc/cni/net.d'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.metadata.v1.bolt']
  no_sync = true
"
    )
}

fn put(path: &Path, text: String) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
