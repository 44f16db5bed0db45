//! A second agent whose maps have another layout (feature `layout-next`), for the test of an upgrade.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{object, setup::Tools, sh, workspace::Workspace};

const FEATURE: &str = "layout-next";

/// Builds it; it lies at [`agent`]. The object that `build-ebpf` leaves is the usual one again afterwards.
pub(crate) fn build(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let folder = workspace.target.join("next");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let kept = folder.join("egress.o");
    object::build(workspace, tools, &[FEATURE.to_owned()])?;
    fs::copy(workspace.object(), &kept).with_context(|| format!("copying the object to {}", kept.display()))?;
    object::build(workspace, tools, &[])?;
    let mut cargo = workspace.cargo();
    // Not optimized: the tests have built what it depends on that way already.
    cargo.args(["build", "--package", "egress-agent", "--features", FEATURE]).env("EGRESS_EBPF_OBJ", &kept);
    sh::run(&mut cargo)?;
    // Not a copy: who runs the other one gets what is usual, once it is built.
    let (built, to) = (workspace.target.join("debug/egress-agent"), agent(workspace));
    fs::rename(&built, &to).with_context(|| format!("moving {} to {}", built.display(), to.display()))
}

/// Where it lies.
pub(crate) fn agent(workspace: &Workspace) -> PathBuf {
    workspace.target.join("next/egress-agent")
}
