//! Brings what build, tests and demo need: looks, says what is missing and how it will come, then does it.

mod cached;
mod plan;
mod programs;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Result, bail};

use self::{
    plan::{Platform, State, Task},
    programs::{CARGO_FUZZ, LINKER, LLVM_PREFIX},
};
use crate::{
    sh,
    toolchain::{self, Candidates, Toolchain},
};

/// What builds use.
pub(crate) struct Tools {
    /// The compiler for BPF.
    pub(crate) toolchain: Toolchain,
    /// bpf-linker 0.13.
    pub(crate) linker: PathBuf,
    /// cargo-fuzz 0.13, if it is there.
    pub(crate) cargo_fuzz: Option<PathBuf>,
}

/// What to set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All that there is.
    Everything,
    /// The demo, the controls and the quick tests do not wait for what only the fuzz targets need.
    NoFuzzing,
}

/// `setup --check`: only says what is missing.
pub(crate) fn check() -> Result<ExitCode> {
    let (state, _) = look(Scope::Everything)?;
    let tasks = plan::plan(&state)?;
    report(&state, &tasks);
    Ok(if tasks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `setup`: brings what is missing, and hands back the tools.
pub(crate) fn bring(scope: Scope) -> Result<Tools> {
    let (mut state, mut tools) = look(scope)?;
    let tasks = plan::plan(&state)?;
    report(&state, &tasks);
    for task in tasks.iter().filter(|task| !task.by_hand) {
        sh::step(task.what, || task.commands.iter().try_for_each(|argv| execute(argv))).0?;
    }
    if !tasks.is_empty() {
        (state, tools) = look(scope)?;
        if let Some(task) = plan::plan(&state)?.first() {
            bail!("still missing: {} ({})", task.missing, task.typed().join(" && "));
        }
    }
    tools.map_err(|why| anyhow::anyhow!(why))
}

/// The tools of the BPF build as they are; what is missing is named with the commands that bring it.
pub(crate) fn find() -> Result<Tools> {
    let (state, tools) = look(Scope::NoFuzzing)?;
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

/// Where everything is kept that is brought from outside and belongs to no clone.
pub(crate) fn cache() -> Result<PathBuf> {
    let linker = LINKER.root()?;
    Ok(linker.parent().map_or_else(|| linker.clone(), Path::to_owned))
}

fn look(scope: Scope) -> Result<(State, Result<Tools, String>)> {
    let candidates = Candidates::of_this_machine();
    let explicit = candidates.explicit.is_some();
    let compiler = toolchain::choose(&candidates);
    let (cache, fuzz_cache) = (LINKER.root()?, CARGO_FUZZ.root()?);
    let linker = LINKER.find(&cache);
    let fuzzing = scope == Scope::Everything;
    let cargo_fuzz = if fuzzing { CARGO_FUZZ.find(&fuzz_cache) } else { None };
    let cargo_has = |command: &str| sh::capture(Command::new(sh::cargo()).args([command, "--version"])).is_ok();
    let state = State {
        platform: platform(),
        root: sh::capture(Command::new("id").arg("-u")).is_ok_and(|id| id == "0"),
        rustup: sh::has("rustup"),
        packages: programs::missing(fuzzing),
        explicit,
        compiler: compiler.clone(),
        bpf_clippy: compiler.as_ref().is_ok_and(|compiler| compiler.cargo_clippy().is_some()),
        linker: linker.clone(),
        libllvm: Path::new(LLVM_PREFIX).join("lib/libLLVM.so").exists(),
        cache,
        fuzz_cache: (fuzzing && cargo_fuzz.is_none()).then_some(fuzz_cache),
        rustfmt: cargo_has("fmt"),
        clippy: cargo_has("clippy"),
    };
    let tools = match (compiler, linker) {
        (Ok(toolchain), Some(linker)) => Ok(Tools { toolchain, linker, cargo_fuzz }),
        (Err(why), _) => Err(format!("no rustc can build for BPF:\n{why}")),
        (Ok(_), None) => Err(format!("no bpf-linker {} on PATH or in {}", LINKER.version, state.cache.display())),
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
