//! The programs of a cluster: Kubernetes and containerd from their Go modules, everything else from Debian's packages, all in the cache.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::golang::{CONTAINERD, Go, KUBERNETES, Programs};
use crate::{
    debian::{Debian, TREES},
    setup, sh,
    workspace::Workspace,
};

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

/// Where they are kept; other versions have another folder.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(setup::cache()?.join(format!("cluster-{}-{}", KUBERNETES.version, CONTAINERD.version)))
}

/// Brings what is missing, after saying what that is.
pub(crate) fn bring(workspace: &Workspace) -> Result<PathBuf> {
    let folder = folder()?;
    let programs: Vec<&Programs> =
        [&KUBERNETES, &CONTAINERD].into_iter().filter(|it| !folder.join(it.name).is_dir()).collect();
    let debian = !folder.join("debian").is_dir();
    for missing in &programs {
        sh::say(format!("missing: {} {}, built from its Go module ({})", missing.name, missing.version, missing.cost));
    }
    if debian {
        let names = PACKAGES.join(", ");
        sh::say(format!("missing: packages of Debian 13, unpacked into {} (76 MB): {names}", folder.display()));
    }
    if !programs.is_empty() {
        let go = Go::find()?;
        for missing in programs {
            sh::step(&format!("build {} {}", missing.name, missing.version), || go.build(workspace, missing, &folder))
                .0?;
        }
    }
    if debian {
        sh::step("packages of the machines", || {
            fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
            Debian::open(folder.clone(), &TREES)?.packages("debian", &PACKAGES)
        })
        .0?;
    }
    Ok(folder)
}
