//! Brings what build, tests and demo need: looks, says what is missing and how it will come, then does it.

mod linker;
mod plan;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Result, bail};

use self::plan::{Platform, State, Task};
use crate::{
    sh,
    toolchain::{self, Candidates, Toolchain},
};

/// What a BPF build uses.
pub(crate) struct Tools {
    /// The compiler.
    pub(crate) toolchain: Toolchain,
    /// bpf-linker 0.13.
    pub(crate) linker: PathBuf,
}

/// Programs that build, tests and demo run, and Debian's package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("bpftool", "bpftool"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ping", "iputils-ping"),
    ("iptables", "iptables"),
    ("ip6tables", "iptables"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
    ("tcpdump", "tcpdump"),
    ("nsenter", "util-linux"),
];

/// `setup --check`: only says what is missing.
pub(crate) fn check() -> Result<ExitCode> {
    let (state, _) = look()?;
    let tasks = plan::plan(&state)?;
    report(&state, &tasks);
    Ok(if tasks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `setup`: brings what is missing, and hands back the tools of the BPF build.
pub(crate) fn bring() -> Result<Tools> {
    let (mut state, mut tools) = look()?;
    let tasks = plan::plan(&state)?;
    report(&state, &tasks);
    for task in tasks.iter().filter(|task| !task.by_hand) {
        sh::step(task.what, || task.commands.iter().try_for_each(|argv| execute(argv))).0?;
    }
    if !tasks.is_empty() {
        (state, tools) = look()?;
        if let Some(task) = plan::plan(&state)?.first() {
            bail!("still missing: {} ({})", task.missing, task.typed().join(" && "));
        }
    }
    tools.map_err(|why| anyhow::anyhow!(why))
}

/// The tools of the BPF build as they are; what is missing is named with the commands that bring it.
pub(crate) fn find() -> Result<Tools> {
    let (state, tools) = look()?;
    tools.or_else(|why| {
        let mut text = format!("{why}\nbring it by `cargo xtask setup`");
        let tasks = plan::plan(&state)?;
        let commands: Vec<_> = tasks.iter().filter(|task| task.for_build).flat_map(Task::typed).collect();
        if !commands.is_empty() {
            text += &format!(", or by\n    {}", commands.join("\n    "));
        }
        bail!(text)
    })
}

fn look() -> Result<(State, Result<Tools, String>)> {
    let candidates = Candidates::of_this_machine();
    let explicit = candidates.explicit.is_some();
    let compiler = toolchain::choose(&candidates);
    let cache = linker::cache()?;
    let linker = linker::find(&cache);
    let mut packages: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !sh::has(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    let cargo_has = |command: &str| sh::capture(Command::new(sh::cargo()).args([command, "--version"])).is_ok();
    let state = State {
        platform: platform(),
        root: sh::capture(Command::new("id").arg("-u")).is_ok_and(|id| id == "0"),
        rustup: sh::has("rustup"),
        packages,
        explicit,
        compiler: compiler.clone(),
        bpf_clippy: compiler.as_ref().is_ok_and(|compiler| compiler.cargo_clippy().is_some()),
        linker: linker.clone(),
        libllvm: Path::new(linker::LLVM_PREFIX).join("lib/libLLVM.so").exists(),
        cache,
        rustfmt: cargo_has("fmt"),
        clippy: cargo_has("clippy"),
    };
    let tools = match (compiler, linker) {
        (Ok(toolchain), Some(linker)) => Ok(Tools { toolchain, linker }),
        (Err(why), _) => Err(format!("no rustc can build for BPF:\n{why}")),
        (Ok(_), None) => Err(format!("no bpf-linker {} on PATH or in {}", linker::VERSION, state.cache.display())),
    };
    Ok((state, tools))
}

fn platform() -> Platform {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let installed = ["rustc", "rust-clippy", "rustup"].iter().any(|package| {
        let status = sh::capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]));
        status.is_ok_and(|status| status == "installed")
    });
    plan::platform(&release, installed)
}

fn report(state: &State, tasks: &[Task]) {
    if let (Ok(compiler), Some(linker)) = (&state.compiler, &state.linker) {
        sh::say(format!("setup: BPF compiler {compiler}, linker {}", linker.display()));
    }
    if tasks.is_empty() {
        sh::say("setup: nothing is missing");
    }
    for task in tasks {
        let how = if task.by_hand { "cannot be brought from here, by hand" } else { "comes by" };
        sh::say(format!("setup: missing {}; {how}:\n    {}", task.missing, task.typed().join("\n    ")));
    }
}

fn execute(argv: &[String]) -> Result<()> {
    let (variables, words) = plan::split_variables(argv);
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut command = if program == "cargo" { Command::new(sh::cargo()) } else { Command::new(program) };
    command.args(arguments).envs(variables);
    // `cargo install` builds in a folder of its own that it removes.
    command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_ENCODED_RUSTFLAGS");
    sh::run(&mut command)
}
