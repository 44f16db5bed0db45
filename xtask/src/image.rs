//! `cargo xtask image`: the agent without libraries, and the archives of images, which a program of tests/ writes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    debian::{Debian, TREES},
    object,
    setup::{self, Tools},
    sh,
    workspace::Workspace,
};

/// The program of the image.
pub(crate) const AGENT: &str = "egress-agent";
/// That of the lab's own Pods.
const POD: &str = "egress-test-pod";
/// What the image is called if nobody says otherwise.
pub(crate) const NAME: &str = concat!("localhost/egress-agent:", env!("CARGO_PKG_VERSION"));
/// Programs without libraries are built for it: the host's own, so that only they are linked in another way.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// `ip`, which people use in a gateway Pod.
const PACKAGES: [&str; 1] = ["iproute2"];

/// Where images are left.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("images")
}

/// Where a program without libraries lies once it is built.
pub(crate) fn path(workspace: &Workspace, program: &str) -> PathBuf {
    workspace.target.join(TARGET).join("release").join(program)
}

/// The agent without libraries, with the object in it.
pub(crate) fn program(workspace: &Workspace, tools: &Tools) -> Result<PathBuf> {
    object::build(workspace, tools, &[])?;
    without_libraries(workspace, AGENT)
}

/// The image of the agent: its archive.
pub(crate) fn agent(workspace: &Workspace, tools: &Tools, name: &str) -> Result<PathBuf> {
    let program = program(workspace, tools)?;
    let tree = sh::step("packages of the image", || {
        let debian = Debian::open(setup::cache()?.join("image"), &TREES)?;
        debian.packages("root", &PACKAGES)
    })
    .0?;
    let archive = folder(workspace).join("egress-agent.tar");
    let metadata = folder(workspace).join("metadata.json");
    fs::create_dir_all(folder(workspace)).with_context(|| format!("creating {}", folder(workspace).display()))?;
    let mut cargo = workspace.cargo();
    let text = sh::output(cargo.args(["metadata", "--format-version=1", "--locked", "--filter-platform", TARGET]))?;
    fs::write(&metadata, text).with_context(|| format!("writing {}", metadata.display()))?;
    write(workspace, &archive, |writer| {
        writer.args(["agent", "--name", name, "--debian"]).arg(&tree).arg("--metadata").arg(&metadata).arg(&program);
        if let Ok(revision) = sh::capture(Command::new("git").current_dir(&workspace.root).args(["rev-parse", "HEAD"]))
        {
            writer.args(["--revision", &revision]);
        }
    })?;
    Ok(archive)
}

/// The image of the cluster lab's own Pods.
pub(crate) fn pod(workspace: &Workspace) -> Result<PathBuf> {
    let program = without_libraries(workspace, POD)?;
    let archive = folder(workspace).join("pod.tar");
    fs::create_dir_all(folder(workspace)).with_context(|| format!("creating {}", folder(workspace).display()))?;
    write(workspace, &archive, |writer| {
        writer.arg("pod").arg(&program);
    })?;
    Ok(archive)
}

/// A crate's program of its name.
fn without_libraries(workspace: &Workspace, program: &str) -> Result<PathBuf> {
    let built = sh::step(&format!("build {program} without libraries"), || {
        let mut cargo = workspace.cargo();
        // For this target only: what runs while building stays as it is.
        cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static");
        sh::run(cargo.args(["build", "--release", "--target", TARGET, "--package", program, "--bin", program]))
    });
    built.0?;
    Ok(path(workspace, program))
}

fn write(workspace: &Workspace, archive: &Path, arguments: impl FnOnce(&mut Command)) -> Result<()> {
    let mut writer = workspace.cargo();
    writer.args(["run", "--quiet", "--package", "egress-tests", "--bin", "image", "--", "--output"]).arg(archive);
    arguments(&mut writer);
    sh::step("write the image", || sh::run(&mut writer)).0
}
