//! Programs from Go modules: pinned with everything they are built from by the go.mod and go.sum in xtask/go.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    debian::{Debian, TREES},
    setup, sh,
    workspace::Workspace,
};

/// Since then a `go` fetches the toolchain that a go.mod asks for.
const OLDEST: (u32, u32) = (1, 21);

/// What is built together.
pub(crate) struct Programs {
    /// Also of the folder in xtask/go.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// What it takes from an empty cache.
    pub(crate) cost: &'static str,
    module: &'static str,
    programs: &'static [&'static str],
    /// A module build knows no version.
    variables: &'static [(&'static str, &'static str)],
    tags: &'static str,
}

pub(crate) const KUBERNETES: Programs = Programs {
    name: "kubernetes",
    version: "v1.36.3",
    cost: "about 7 minutes of two CPUs, 5 GB of cache",
    module: "k8s.io/kubernetes",
    programs: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"],
    variables: &[
        ("k8s.io/component-base/version.gitVersion", "v1.36.3"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "36"),
    ],
    tags: "",
};

pub(crate) const CONTAINERD: Programs = Programs {
    name: "containerd",
    version: "v2.2.4",
    cost: "one to two minutes of two CPUs",
    module: "github.com/containerd/containerd/v2",
    programs: &["containerd", "containerd-shim-runc-v2", "ctr"],
    variables: &[("github.com/containerd/containerd/v2/version.Version", "v2.2.4")],
    tags: "no_btrfs no_devmapper no_zfs",
};

/// A Go that can build.
pub(crate) struct Go(PathBuf);

impl Go {
    /// This machine's, if it is new enough, else Debian 13's, unpacked into the cache.
    pub(crate) fn find() -> Result<Self> {
        let candidates = sh::find_all("go").into_iter().chain([PathBuf::from("/usr/local/go/bin/go")]);
        let new = |go: &PathBuf| {
            let version = sh::capture(Command::new(go).arg("version").env("GOTOOLCHAIN", "local"));
            version.is_ok_and(|text| number(&text).is_some_and(|found| found >= OLDEST))
        };
        if let Some(go) = candidates.into_iter().find(new) {
            return Ok(Self(go));
        }
        sh::say("missing: Go from 1.21 on; Debian 13's is unpacked into the cache (60 MB)");
        let debian = Debian::open(setup::cache()?.join("go"), &TREES)?;
        Ok(Self(debian.packages("debian", &["golang-1.24-go"])?.join("usr/lib/go-1.24/bin/go")))
    }

    /// Builds programs into `folder/<name>`, which is there only when it is complete.
    pub(crate) fn build(&self, workspace: &Workspace, what: &Programs, folder: &Path) -> Result<()> {
        let part = folder.join(format!("{}.part", what.name));
        fs::create_dir_all(&part).with_context(|| format!("creating {}", part.display()))?;
        let cache = setup::cache()?.join("go");
        let variables: Vec<_> = what.variables.iter().map(|(name, value)| format!("-X {name}={value}")).collect();
        let mut go = Command::new(&self.0);
        go.current_dir(workspace.root.join("xtask/go").join(what.name)).arg("build").arg("-trimpath");
        go.arg(format!("-ldflags=-s -w {}", variables.join(" "))).arg(format!("-tags={}", what.tags));
        // A folder, by the slash at its end.
        go.arg("-o").arg(format!("{}/", part.display()));
        go.args(what.programs.iter().map(|program| format!("{}/cmd/{program}", what.module)));
        go.env("GOMODCACHE", cache.join("mod")).env("GOCACHE", cache.join("build")).env("CGO_ENABLED", "0");
        go.env("GOFLAGS", "-mod=readonly -modcacherw -buildvcs=false").env("GOTOOLCHAIN", "auto").env("GOWORK", "off");
        sh::run(&mut go)?;
        fs::rename(&part, folder.join(what.name)).with_context(|| format!("renaming {}", part.display()))
    }
}

/// The number in `go version go1.26.8 linux/amd64`.
fn number(text: &str) -> Option<(u32, u32)> {
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let minor = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((1, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_compared_by_number() {
        assert_eq!(number("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(number("go version go1.9rc1 linux/amd64"), Some((1, 9)));
        assert!(number("go version go1.19.8 linux/amd64").unwrap() < OLDEST);
        assert_eq!(number("command not found"), None);
    }
}
