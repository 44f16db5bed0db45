//! The programs that a cluster is made of, which `cargo xtask cluster` brings.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Where the parts are: the value of this variable.
pub const VARIABLE: &str = "EGRESS_CLUSTER_PARTS";
/// The tree of Debian's packages: the value of this variable.
pub const DEBIAN: &str = "EGRESS_CLUSTER_DEBIAN";
/// The folder with the archives of the images: the value of this variable.
pub const IMAGES: &str = "EGRESS_CLUSTER_IMAGES";

/// What must be there, below the folder.
const NEEDED: [&str; 8] = [
    "kubernetes/kube-apiserver",
    "kubernetes/kube-controller-manager",
    "kubernetes/kube-scheduler",
    "kubernetes/kubelet",
    "kubernetes/kubectl",
    "containerd/containerd",
    "containerd/containerd-shim-runc-v2",
    "containerd/ctr",
];
/// And below the tree.
const NEEDED_OF_DEBIAN: [&str; 4] =
    ["usr/bin/etcd", "usr/sbin/runc", "usr/bin/ovn-northd", "usr/lib/openvswitch-switch/ovs-vswitchd"];

/// The folders of programs, packages and images.
#[derive(Debug, Clone)]
pub struct Parts {
    folder: PathBuf,
    debian: PathBuf,
    images: PathBuf,
}

impl Parts {
    /// Those that the environment names.
    pub fn find() -> Result<Self> {
        let named = |variable: &str| -> Result<PathBuf> {
            let value = env::var_os(variable);
            value.map(PathBuf::from).with_context(|| format!("{variable} is not set: use `cargo xtask cluster`"))
        };
        Self::at(named(VARIABLE)?, named(DEBIAN)?, named(IMAGES)?)
    }

    /// Those in these folders; a missing one is named.
    pub fn at(folder: PathBuf, debian: PathBuf, images: PathBuf) -> Result<Self> {
        let parts = Self { folder, debian, images };
        let images = ["pod.tar", "egress-agent.tar"].map(|name| parts.images.join(name));
        let programs = NEEDED.iter().map(|it| parts.folder.join(it));
        let packages = NEEDED_OF_DEBIAN.iter().map(|it| parts.debian.join(it));
        let missing = programs.chain(packages).chain(images).find(|it| !it.is_file());
        if let Some(path) = missing {
            ensure!(false, "no {}: `cargo xtask cluster parts` brings it", path.display());
        }
        Ok(parts)
    }

    /// Programs that go into `/opt` of a machine, and their folders here.
    pub(super) fn opt(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("kubernetes", self.folder.join("kubernetes")),
            ("containerd", self.folder.join("containerd")),
            ("images", self.images.clone()),
        ]
    }

    /// The `/usr` of a machine.
    pub(super) fn usr(&self) -> PathBuf {
        self.debian.join("usr")
    }

    /// etcd, for this machine.
    pub(super) fn etcd(&self) -> PathBuf {
        self.debian.join("usr/bin/etcd")
    }

    /// The API server, for this machine.
    pub(super) fn apiserver(&self) -> PathBuf {
        self.folder.join("kubernetes/kube-apiserver")
    }

    /// kubectl, for this machine.
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join("kubernetes/kubectl")
    }

    /// Where the archives are.
    pub fn images(&self) -> &Path {
        &self.images
    }

    /// All folders, for the machines' first processes.
    pub(super) fn variables(&self) -> [(&'static str, &Path); 3] {
        [(VARIABLE, &self.folder), (DEBIAN, &self.debian), (IMAGES, &self.images)]
    }
}
