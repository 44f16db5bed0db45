//! The programs that a cluster is made of, which `cargo xtask cluster` brings.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Where the parts are: the value of this variable.
pub const VARIABLE: &str = "EGRESS_CLUSTER_PARTS";
/// The folder with the archives of the images: the value of this variable.
pub const IMAGES: &str = "EGRESS_CLUSTER_IMAGES";

/// What must be there, below the folder.
const NEEDED: [&str; 12] = [
    "kubernetes/kube-apiserver",
    "kubernetes/kube-controller-manager",
    "kubernetes/kube-scheduler",
    "kubernetes/kubelet",
    "kubernetes/kubectl",
    "containerd/containerd",
    "containerd/containerd-shim-runc-v2",
    "containerd/ctr",
    "debian/usr/bin/etcd",
    "debian/usr/sbin/runc",
    "debian/usr/bin/ovn-northd",
    "debian/usr/lib/openvswitch-switch/ovs-vswitchd",
];

/// The folders of programs and images.
#[derive(Debug, Clone)]
pub struct Parts {
    folder: PathBuf,
    images: PathBuf,
}

impl Parts {
    /// Those that the environment names.
    pub fn find() -> Result<Self> {
        let named = |variable: &str| -> Result<PathBuf> {
            let value = env::var_os(variable);
            value.map(PathBuf::from).with_context(|| format!("{variable} is not set: use `cargo xtask cluster`"))
        };
        Self::at(named(VARIABLE)?, named(IMAGES)?)
    }

    /// Those in these folders; a missing one is named.
    pub fn at(folder: PathBuf, images: PathBuf) -> Result<Self> {
        let parts = Self { folder, images };
        let images = ["pod.tar", "egress-agent.tar"].map(|name| parts.images.join(name));
        let missing = NEEDED.iter().map(|it| parts.folder.join(it)).chain(images).find(|it| !it.is_file());
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
        self.folder.join("debian/usr")
    }

    /// A program of the folder, for this machine.
    pub(super) fn program(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// kubectl, for this machine.
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join("kubernetes/kubectl")
    }

    /// Where the archives are.
    pub fn images(&self) -> &Path {
        &self.images
    }

    /// Both folders, for the machines' first processes.
    pub(super) fn variables(&self) -> [(&'static str, &Path); 2] {
        [(VARIABLE, &self.folder), (IMAGES, &self.images)]
    }
}
