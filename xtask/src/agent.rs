//! The agent with the object in it, and what runs it: the demo, the soak.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Error, Result};

use crate::{
    next, object,
    setup::{self, Scope, Tools},
    sh,
    workspace::Workspace,
};

/// Builds the object, then the agent that embeds it; it lies at [`Workspace::agent`].
pub(crate) fn build(workspace: &Workspace, tools: &Tools, features: &[String]) -> Result<()> {
    object::build(workspace, tools, features)?;
    sh::step("build the agent", || {
        let mut cargo = workspace.cargo();
        cargo.args(["build", "--release", "--package", "egress-agent"]);
        if !features.is_empty() {
            cargo.arg("--features").arg(features.join(","));
        }
        sh::run(&mut cargo)
    })
    .0
}

/// Writes manifests/crd from the agent's types.
pub(crate) fn write_crds(workspace: &Workspace) -> Result<()> {
    object::build(workspace, &setup::find()?, &[])?;
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", "egress-agent", "--", "crd", "--write"]);
    cargo.arg(workspace.root.join("manifests/crd"));
    sh::run(for_lab(&mut cargo, workspace))
}

/// Tells the crate in tests/ where the agent and the object are.
pub(crate) fn for_lab<'a>(command: &'a mut Command, workspace: &Workspace) -> &'a mut Command {
    command
        .env("EGRESS_AGENT", workspace.agent())
        .env("EGRESS_AGENT_NEXT", next::agent(workspace))
        .env("EGRESS_EBPF_OBJ", workspace.object())
}

/// Sets up, builds, and becomes a program of tests/, `demo`, `bench` or `soak`: signals then reach it and nobody else. Returns only if that
/// fails.
pub(crate) fn become_program(workspace: &Workspace, program: &str, args: &[String]) -> Error {
    let prepared = setup::bring(Scope::NoFuzzing).and_then(|tools| build(workspace, &tools, &[]));
    if let Err(error) = prepared {
        return error;
    }
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--release", "--package", "egress-tests", "--bin", program, "--"]).args(args);
    let command = for_lab(&mut cargo, workspace);
    sh::say(format!("==> {program}\n    $ {}", sh::show(command)));
    Error::new(command.exec()).context(format!("starting the {program}"))
}
