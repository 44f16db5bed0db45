//! From what is there to what has to be done; runs nothing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::programs::{CARGO_FUZZ, LINKER, LLVM_PREFIX};
use crate::toolchain::{NIGHTLY, Toolchain};

/// Who installs packages here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    /// Debian 12: its rustc-web has `core` for BPF.
    Debian12 {
        /// Debian's rustc, rust-clippy or rustup package is installed: rustc-web would push it out.
        own_rust: bool,
    },
    /// Packages are somebody else's business.
    Other,
}

/// What was found on this machine.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Who installs packages.
    pub(crate) platform: Platform,
    /// We may install packages.
    pub(crate) root: bool,
    /// There is a rustup.
    pub(crate) rustup: bool,
    /// Packages of the programs that are not there.
    pub(crate) packages: Vec<&'static str>,
    /// `EGRESS_BPF_RUSTC` is set: then no other compiler is brought.
    pub(crate) explicit: bool,
    /// The compiler for BPF, or why there is none.
    pub(crate) compiler: Result<Toolchain, String>,
    /// That compiler has a clippy beside it.
    pub(crate) bpf_clippy: bool,
    /// A bpf-linker that runs.
    pub(crate) linker: Option<PathBuf>,
    /// LLVM 22 is there to build bpf-linker against.
    pub(crate) libllvm: bool,
    /// Where bpf-linker is kept.
    pub(crate) cache: PathBuf,
    /// Where cargo-fuzz is to be brought, if it is wanted and not there.
    pub(crate) fuzz_cache: Option<PathBuf>,
    /// `cargo fmt` works.
    pub(crate) rustfmt: bool,
    /// `cargo clippy` works.
    pub(crate) clippy: bool,
}

/// One thing to bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Heading while it is done.
    pub(crate) what: &'static str,
    /// What is missing, in words.
    pub(crate) missing: String,
    /// Words of each command; `KEY=value` words before the program are variables.
    pub(crate) commands: Vec<Vec<String>>,
    /// We cannot do it, only say it.
    pub(crate) by_hand: bool,
    /// `build-ebpf` needs it, not only tests and demo.
    pub(crate) for_build: bool,
}

impl Task {
    /// The commands as they would be typed.
    pub(crate) fn typed(&self) -> Vec<String> {
        self.commands.iter().map(|words| words.join(" ")).collect()
    }
}

/// Reads /etc/os-release; `own_rust` as in [`Platform`].
pub(crate) fn platform(os_release: &str, own_rust: bool) -> Platform {
    let field = |name: &str| os_release.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim_matches('"'));
    match (field("ID="), field("VERSION_ID=")) {
        (Some("debian"), Some("12")) => Platform::Debian12 { own_rust },
        _ => Platform::Other,
    }
}

/// What has to be done, in order.
pub(crate) fn plan(state: &State) -> Result<Vec<Task>> {
    let mut tasks: Vec<Task> = Vec::new();
    let mut packages = state.packages.clone();
    let mut for_build = false;
    let debian_compiler = state.platform == Platform::Debian12 { own_rust: false };
    match &state.compiler {
        Err(why) if state.explicit => bail!("{why}; correct EGRESS_BPF_RUSTC or unset it"),
        Err(_) if debian_compiler => {
            packages.extend(["rustc-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"]);
            for_build = true;
        }
        Err(_) => tasks.push(nightly(state, &["rust-src", "clippy"])),
        Ok(_) if state.bpf_clippy || state.explicit => {}
        Ok(compiler) if compiler.probe.sysroot.ends_with("usr") && debian_compiler => packages.push("rust-web-clippy"),
        Ok(compiler) if compiler.is_dated_nightly() => tasks.push(nightly(state, &["clippy"])),
        // The compiler's own lints have to do.
        Ok(_) => {}
    }
    if state.linker.is_none() && !state.libllvm {
        packages.push("llvm-22-dev");
        for_build = true;
    }
    if !packages.is_empty() {
        tasks.insert(0, apt(state, &packages, for_build));
    }
    let components: Vec<_> = [("rustfmt", state.rustfmt), ("clippy", state.clippy)]
        .iter()
        .filter(|(_, there)| !there)
        .map(|(name, _)| *name)
        .collect();
    if !components.is_empty() {
        tasks.push(Task {
            what: "install Rust components",
            missing: format!("cargo's {}", components.join(", ")),
            commands: vec![words("rustup component add").chain(components.iter().map(ToString::to_string)).collect()],
            by_hand: !state.rustup,
            for_build: false,
        });
    }
    if state.linker.is_none() {
        tasks.push(linker(state));
    }
    tasks.extend(state.fuzz_cache.as_deref().map(cargo_fuzz));
    Ok(tasks)
}

fn apt(state: &State, packages: &[&str], for_build: bool) -> Task {
    // --no-remove: a package of the machine's owner is not ours to push out.
    let install = words("DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove");
    Task {
        what: "install packages",
        missing: format!("packages {}", packages.join(", ")),
        commands: vec![
            words("apt-get update -q").collect(),
            install.chain(packages.iter().map(ToString::to_string)).collect(),
        ],
        by_hand: state.platform == Platform::Other || !state.root,
        for_build,
    }
}

fn nightly(state: &State, components: &[&str]) -> Task {
    let components = components.iter().flat_map(|component| ["-c".to_owned(), (*component).to_owned()]);
    Task {
        what: "install the dated nightly",
        missing: format!("{NIGHTLY} with its components"),
        commands: vec![
            words("rustup toolchain install")
                .chain([NIGHTLY.to_owned()])
                .chain(words("--profile minimal"))
                .chain(components)
                .collect(),
        ],
        by_hand: !state.rustup,
        for_build: true,
    }
}

fn linker(state: &State) -> Task {
    let mut install: Vec<String> =
        vec![format!("LLVM_PREFIX={LLVM_PREFIX}"), "CARGO_PROFILE_RELEASE_DEBUG=0".to_owned()];
    install
        .extend(words("cargo install bpf-linker --locked --force --no-default-features --features llvm-22 --version"));
    install.extend([LINKER.version.to_owned(), "--root".to_owned(), state.cache.display().to_string()]);
    Task {
        what: "build bpf-linker (about a minute)",
        missing: format!("bpf-linker {}", LINKER.version),
        commands: vec![install],
        // Without packages from here, LLVM has to be there first.
        by_hand: !state.libllvm && (state.platform == Platform::Other || !state.root),
        for_build: true,
    }
}

fn cargo_fuzz(cache: &Path) -> Task {
    // Without optimisation it is there in half the time; all it does is start cargo.
    let install = "CARGO_PROFILE_RELEASE_OPT_LEVEL=0 cargo install cargo-fuzz --locked --force --version";
    Task {
        what: "build cargo-fuzz (about half a minute)",
        missing: format!("cargo-fuzz {}", CARGO_FUZZ.version),
        commands: vec![
            words(install)
                .chain([CARGO_FUZZ.version.to_owned(), "--root".to_owned(), cache.display().to_string()])
                .collect(),
        ],
        by_hand: false,
        for_build: false,
    }
}

/// Splits `KEY=value` words from the command behind them.
pub(crate) fn split_variables(argv: &[String]) -> (Vec<(&str, &str)>, &[String]) {
    let variables: Vec<_> = argv.iter().map_while(|word| word.split_once('=')).collect();
    let words = &argv[variables.len()..];
    (variables, words)
}

fn words(text: &str) -> impl Iterator<Item = String> + use<> {
    text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests;
