//! `cargo xtask cluster`: brings what a cluster is made of, and runs the program in tests/ that starts it.

mod golang;
mod parts;

use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Error, Result};

use crate::{
    agent, image,
    setup::{self, Scope, Tools},
    sh,
    workspace::Workspace,
};

/// Where everything is that a cluster is made of.
pub(crate) struct Parts {
    programs: PathBuf,
    images: PathBuf,
}

impl Parts {
    /// Tells the crate in tests/ where they are.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("EGRESS_CLUSTER_PARTS", &self.programs).env("EGRESS_CLUSTER_IMAGES", &self.images)
    }
}

/// Brings programs and builds images.
pub(crate) fn bring(workspace: &Workspace, tools: &Tools) -> Result<Parts> {
    let programs = parts::bring(workspace)?;
    image::agent(workspace, tools, image::NAME)?;
    image::pod(workspace)?;
    Ok(Parts { programs, images: image::folder(workspace) })
}

/// Does what the arguments say; what starts no cluster brings nothing either.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<ExitCode> {
    let measures = args.iter().any(|it| it == "scale");
    let starts = measures || args.iter().any(|it| it == "up" || it == "demo");
    let only_parts = args.first().is_some_and(|it| it == "parts");
    let parts = if starts || only_parts {
        let tools = setup::bring(Scope::NoFuzzing)?;
        if measures {
            agent::build(workspace, &tools, &[])?;
        }
        bring(workspace, &tools)?
    } else {
        Parts { programs: parts::folder()?, images: image::folder(workspace) }
    };
    if only_parts {
        println!("{}\n{}", parts.programs.display(), parts.images.display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", "egress-tests", "--bin", "cluster", "--"]).args(args);
    let command = parts.tell(agent::for_lab(&mut cargo, workspace));
    if starts {
        sh::say(format!("==> cluster\n    $ {}", sh::show(command)));
    }
    Err(Error::new(command.exec()).context("starting the cluster"))
}
