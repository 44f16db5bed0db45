//! Where things lie, and cargo set up to work there.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::sh;

/// The target that BPF objects are built for: little-endian, as every host we build on.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// The repository and its build directory, both absolute.
pub(crate) struct Workspace {
    /// Folder of the root Cargo.toml.
    pub(crate) root: PathBuf,
    /// `CARGO_TARGET_DIR`, else `target` in the root.
    pub(crate) target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        // cargo sets it at run time too, so that a moved clone finds itself.
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().context("xtask's folder has no parent: run it as `cargo xtask` in a clone")?;
        let here = env::current_dir().context("reading the current directory")?;
        Ok(Self {
            root: root.to_owned(),
            target: target_dir(root, &here, env::var_os("CARGO_TARGET_DIR").map(PathBuf::from)),
        })
    }

    /// Build directory of the BPF object, apart from the host's: another rustc writes it.
    pub(crate) fn bpf_target(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// The crate with the fuzz targets: a workspace of its own.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.root.join("tests/fuzz")
    }

    /// The BPF object that `build-ebpf` leaves; egress-agent/build.rs looks at the same place.
    pub(crate) fn object(&self) -> PathBuf {
        self.bpf_target().join(BPF_TARGET).join("release/egress")
    }

    /// The agent that `build` leaves.
    pub(crate) fn agent(&self) -> PathBuf {
        self.target.join("release/egress-agent")
    }

    /// cargo for the host, in the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(sh::cargo());
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        // The object is where build.rs looks without it; a value that comes and goes would rebuild the agent each time.
        cargo.env_remove("EGRESS_EBPF_OBJ");
        cargo
    }
}

/// cargo takes a relative `CARGO_TARGET_DIR` from the caller's directory, not from the root.
fn target_dir(root: &Path, here: &Path, from_env: Option<PathBuf>) -> PathBuf {
    match from_env {
        Some(dir) if !dir.as_os_str().is_empty() => here.join(dir),
        _ => root.join("target"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_dir_is_absolute() {
        let dir = |env: Option<&str>| target_dir(Path::new("/repo"), Path::new("/repo/tests"), env.map(PathBuf::from));
        assert_eq!(dir(None), Path::new("/repo/target"));
        assert_eq!(dir(Some("")), Path::new("/repo/target"));
        assert_eq!(dir(Some("out")), Path::new("/repo/tests/out"));
        assert_eq!(dir(Some("/var/out")), Path::new("/var/out"));
    }
}
