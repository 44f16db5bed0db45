//! Tests that cannot run on a machine say so.

use std::env;
use std::path::Path;

use crate::cluster;
use crate::gateway::{agent_binary, next_agent_binary};

/// What a test needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// uid 0 in the initial namespaces.
    Root,
    /// A program in the search path.
    Tool(&'static str),
    /// The built agent.
    Agent,
    /// The one whose maps have another layout.
    NextAgent,
    /// What a cluster is made of.
    Cluster,
}

/// Prints `SKIP: reason` and returns true if something is missing; the test then returns at once.
///
/// The line goes to standard output, where `--show-output` shows it also for tests that pass.
#[must_use]
pub fn skip(needs: &[Need]) -> bool {
    let missing = needs.iter().find_map(|need| why_missing(*need));
    if let Some(reason) = &missing {
        println!("SKIP: {reason}");
    }
    missing.is_some()
}

fn why_missing(need: Need) -> Option<String> {
    match need {
        Need::Root => (!nix::unistd::geteuid().is_root()).then(|| "not root".to_owned()),
        Need::Tool(name) => (!in_path(name)).then(|| format!("no {name} on this machine")),
        Need::Cluster => cluster::why_not(),
        Need::NextAgent => {
            let path = next_agent_binary();
            (!path.is_file()).then(|| format!("no agent at {}; build it with `cargo xtask build-next`", path.display()))
        }
        Need::Agent => {
            let path = agent_binary();
            (!path.is_file()).then(|| format!("no agent at {}; build it with `cargo xtask build`", path.display()))
        }
    }
}

pub(crate) fn in_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).any(|it| is_executable(&it))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}
