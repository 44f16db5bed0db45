//! The programs of a cluster: Kubernetes and containerd from their Go modules, everything else from Debian's packages, all in the cache.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::golang::{CONTAINERD, Go, KUBERNETES, Programs};
use crate::{
    debian::{self, Debian, TREES},
    setup, sh,
    workspace::Workspace,
};

/// Name of the tree of packages.
const TREE: &str = "debian";
/// A machine's `/usr`: OVN and Open vSwitch, etcd, runc, the CNI plugins, and what a person wants at hand in a shell.
const PACKAGES: [&str; 21] = [
    "bash",
    "containernetworking-plugins",
    "coreutils",
    "dash",
    "etcd-server",
    "ethtool",
    "findutils",
    "grep",
    "iproute2",
    "iputils-ping",
    "mawk",
    "mount",
    "nftables",
    "openvswitch-switch",
    "ovn-central",
    "ovn-host",
    "procps",
    "runc",
    "sed",
    "tcpdump",
    "util-linux",
];

/// Where they are kept.
pub(crate) struct Folders {
    /// Kubernetes and containerd; other versions have another folder.
    pub(crate) programs: PathBuf,
    /// The tree of the packages.
    pub(crate) debian: PathBuf,
}

impl Folders {
    pub(crate) fn find() -> Result<Self> {
        let programs = setup::cache()?.join(format!("cluster-{}-{}", KUBERNETES.version, CONTAINERD.version));
        Ok(Self { debian: debian::tree(&programs, &TREES, TREE, &PACKAGES), programs })
    }

    fn missing(&self) -> Vec<&'static Programs> {
        [&KUBERNETES, &CONTAINERD].into_iter().filter(|it| !self.programs.join(it.name).is_dir()).collect()
    }

    /// Says what is missing and how it comes; returns whether anything is.
    pub(crate) fn report(&self) -> bool {
        let programs = self.missing();
        for missing in &programs {
            let Programs { name, version, cost, .. } = missing;
            sh::say(format!("missing for clusters: {name} {version}; built from its Go module ({cost})"));
        }
        if !self.debian.is_dir() {
            let (names, folder) = (PACKAGES.join(", "), self.debian.display());
            sh::say(format!("missing for clusters: packages of Debian 13; unpacked into {folder} (76 MB): {names}"));
        }
        !programs.is_empty() || !self.debian.is_dir()
    }
}

/// Brings what is missing, after saying what that is.
pub(crate) fn bring(workspace: &Workspace) -> Result<Folders> {
    let folders = Folders::find()?;
    folders.report();
    let programs = folders.missing();
    if !programs.is_empty() {
        let go = Go::find()?;
        for missing in programs {
            let heading = format!("build {} {}", missing.name, missing.version);
            sh::step(&heading, || go.build(workspace, missing, &folders.programs)).0?;
        }
    }
    if !folders.debian.is_dir() {
        sh::step("packages of the machines", || {
            let folder = &folders.programs;
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
            Debian::open(folder.clone(), &TREES)?.packages(TREE, &PACKAGES)
        })
        .0?;
    }
    Ok(folders)
}
