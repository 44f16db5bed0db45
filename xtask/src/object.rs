//! The BPF object: built with BTF, and linted by the compiler that builds it.

use std::{env::consts::ARCH, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    setup::Tools,
    sh,
    toolchain::Core,
    workspace::{BPF_TARGET, Workspace},
};

/// Builds egress-ebpf; the object lies at [`Workspace::object`].
pub(crate) fn build(workspace: &Workspace, tools: &Tools, features: &[String]) -> Result<()> {
    sh::step("build the BPF object", || {
        sh::say(format!("    with {}", tools.toolchain));
        let mut cargo = Command::new(tools.toolchain.cargo());
        cargo.arg("build");
        arguments(&mut cargo, workspace, tools, features, &[]);
        sh::run(&mut cargo)?;
        let object = workspace.object();
        let size = fs::metadata(&object).with_context(|| format!("looking for {}", object.display()))?.len();
        sh::say(format!("    {} ({} KiB)", object.display(), size.div_ceil(1024)));
        Ok(())
    })
    .0
}

/// Clippy for the BPF target where the compiler has one beside it, else the compiler's own lints.
pub(crate) fn lint(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let Some(clippy) = tools.toolchain.cargo_clippy() else {
        sh::say(format!("    {} has no clippy beside it: the compiler's own lints only", tools.toolchain));
        let mut cargo = Command::new(tools.toolchain.cargo());
        cargo.arg("check");
        arguments(&mut cargo, workspace, tools, &[], &["-Dwarnings"]);
        return sh::run(&mut cargo);
    };
    let mut command = Command::new(clippy);
    // cargo-clippy starts the cargo that CARGO names.
    command.env("CARGO", tools.toolchain.cargo()).arg("clippy");
    arguments(&mut command, workspace, tools, &[], &[]);
    sh::run(command.args(["--", "-D", "warnings"]))
}

fn arguments(cargo: &mut Command, workspace: &Workspace, tools: &Tools, features: &[String], more_flags: &[&str]) {
    let toolchain = &tools.toolchain;
    cargo.current_dir(&workspace.root);
    cargo.args(["--package", "egress-ebpf", "--bins", "--release", "--target", BPF_TARGET]);
    cargo.arg("--target-dir").arg(workspace.bpf_target());
    if toolchain.core == Core::Source {
        cargo.args(["-Z", "build-std=core"]);
    }
    if !features.is_empty() {
        cargo.arg("--features").arg(features.join(","));
    }
    cargo.env("RUSTC", &toolchain.probe.rustc);
    match toolchain.bootstrap() {
        Some(value) => cargo.env("RUSTC_BOOTSTRAP", value),
        None => cargo.env_remove("RUSTC_BOOTSTRAP"),
    };
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(ARCH, &tools.linker, more_flags));
}

/// rustc's flags, separated as cargo wants them: by 0x1f.
fn flags(arch: &str, linker: &Path, more: &[&str]) -> String {
    let mut flags = vec![
        // The layout of pt_regs and the like is the host's.
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        // BTF is made from debug info, and only when asked for.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
        // 32-bit ALU and jumps: kernels >= 5.1.
        "-Ctarget-cpu=v3".to_owned(),
    ];
    flags.extend(more.iter().map(ToString::to_string));
    flags.join("\u{1f}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_survive_spaces_in_the_linkers_path() {
        let flags = flags("x86_64", Path::new("/my cache/bpf-linker"), &["-Dwarnings"]);
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        assert_eq!(flags[0], "--cfg=bpf_target_arch=\"x86_64\"");
        assert!(flags.contains(&"-Clinker=/my cache/bpf-linker"));
        assert!(flags.contains(&"-Clink-arg=--btf"));
        assert_eq!(flags.last(), Some(&"-Dwarnings"));
    }
}
