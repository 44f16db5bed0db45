//! `cargo xtask cluster`: brings what a cluster is made of, and runs the program in tests/ that starts it.

mod golang;
mod parts;

use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Error, Result};

use self::parts::Folders;
use crate::{
    agent, image,
    setup::{self, Scope, Tools},
    sh,
    workspace::Workspace,
};

/// Where everything is that a cluster is made of.
pub(crate) struct Parts {
    folders: Folders,
    images: PathBuf,
}

impl Parts {
    /// Tells the crate in tests/ where they are.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.variables())
    }

    fn variables(&self) -> [(&'static str, &PathBuf); 3] {
        [
            ("EGRESS_CLUSTER_PARTS", &self.folders.programs),
            ("EGRESS_CLUSTER_DEBIAN", &self.folders.debian),
            ("EGRESS_CLUSTER_IMAGES", &self.images),
        ]
    }
}

/// Says what of it would have to be brought, and how; returns whether anything.
pub(crate) fn report() -> Result<bool> {
    Folders::find().map(|folders| folders.report())
}

/// The same for who sets up: `setup` does not bring it.
pub(crate) fn report_apart() -> Result<()> {
    if report()? {
        sh::say("`cargo xtask cluster parts` brings these; test and demo --kubernetes do it by themselves");
    }
    Ok(())
}

/// Brings programs and builds images.
pub(crate) fn bring(workspace: &Workspace, tools: &Tools) -> Result<Parts> {
    let folders = parts::bring(workspace)?;
    image::agent(workspace, tools, image::NAME)?;
    image::pod(workspace)?;
    Ok(Parts { folders, images: image::folder(workspace) })
}

/// Does what the arguments say; what starts no cluster brings nothing either.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<ExitCode> {
    let task = task(args);
    let measures = task == Some("scale");
    let starts = measures || matches!(task, Some("up" | "demo"));
    let only_parts = task == Some("parts");
    let parts = if starts || only_parts {
        let tools = setup::bring(Scope::NoFuzzing)?;
        if measures {
            agent::build(workspace, &tools, &[])?;
        }
        bring(workspace, &tools)?
    } else {
        Parts { folders: Folders::find()?, images: image::folder(workspace) }
    };
    if only_parts {
        println!("{}", parts.variables().map(|(name, folder)| format!("{name}={}", folder.display())).join(" "));
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

/// The task among the arguments: the first word that is no option, nor an option's value. Words behind it are the task's own.
fn task(args: &[String]) -> Option<&str> {
    let mut words = args.iter().map(String::as_str);
    loop {
        match words.next()? {
            // Its value is the next word.
            "--name" => drop(words.next()),
            option if option.starts_with('-') => {}
            task => return Some(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::task;

    #[test]
    fn the_task_is_the_first_word_that_is_no_option() {
        for (line, wanted) in [
            ("up", Some("up")),
            ("--name up down", Some("down")),
            ("--name=x parts", Some("parts")),
            ("--name x parts", Some("parts")),
            ("shell node1 ip link set x up", Some("shell")),
            ("--name x kubectl --name scale", Some("kubectl")),
            ("--help", None),
            ("--name", None),
            ("", None),
        ] {
            let args: Vec<String> = line.split_whitespace().map(ToOwned::to_owned).collect();
            assert_eq!(task(&args), wanted, "{line}");
        }
    }
}
