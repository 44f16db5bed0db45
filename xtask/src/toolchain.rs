//! Which rustc builds the BPF object.
//!
//! The BPF target has no standard library at rustup, so `core` is either there prebuilt (Debian's
//! libstd-rust-web-dev-bpf) or built from source (rust-src and `-Z build-std`).

use std::{
    env,
    ffi::OsString,
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{sh, workspace::BPF_TARGET};

/// The nightly that is known to work: LLVM 22, as bpf-linker's. Later ones have LLVM 23.
pub(crate) const NIGHTLY: &str = "nightly-2026-05-20";
/// The rustc to use, whatever else is there.
pub(crate) const EXPLICIT: &str = "EGRESS_BPF_RUSTC";
/// bpf-linker reads bitcode of its own LLVM and older.
pub(crate) const LLVM: u32 = 22;
/// `rust-version` of the workspace.
const OLDEST: (u32, u32) = (1, 95);

/// What one rustc says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The executable.
    pub(crate) rustc: PathBuf,
    /// Its `--print sysroot`.
    pub(crate) sysroot: PathBuf,
    /// Version, LLVM and channel.
    pub(crate) version: Version,
    /// `core` for the BPF target is in the sysroot.
    pub(crate) prebuilt: bool,
    /// The source of `core` is in the sysroot.
    pub(crate) source: bool,
}

/// The lines of `rustc -vV` that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Major and minor.
    pub(crate) release: (u32, u32),
    /// Takes `-Z` flags without being told to.
    pub(crate) nightly: bool,
    /// Major version of its LLVM.
    pub(crate) llvm: u32,
}

/// How `core` comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// From the sysroot.
    Prebuilt,
    /// By `-Z build-std=core`.
    Source,
}

/// A rustc that can build for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) probe: Probe,
    /// Where its `core` comes from.
    pub(crate) core: Core,
}

/// Everything that was looked at, in the order of preference; an error says why that one says nothing.
#[derive(Default)]
pub(crate) struct Candidates {
    /// `EGRESS_BPF_RUSTC`.
    pub(crate) explicit: Option<Result<Probe, String>>,
    /// Every `rustc` on `PATH`, and /usr/bin/rustc.
    pub(crate) on_path: Vec<Probe>,
    /// rustup's dated nightly.
    pub(crate) nightly: Option<Probe>,
}

impl Candidates {
    /// Asks the compilers of this machine.
    pub(crate) fn of_this_machine() -> Self {
        let explicit = env::var_os(EXPLICIT).filter(|path| !path.is_empty());
        let mut on_path: Vec<Probe> = Vec::new();
        for probe in sh::find_all("rustc").iter().filter_map(|rustc| probe(rustc).ok()) {
            // /bin is /usr/bin on Debian, and rustup's proxies all lead to one toolchain.
            if !on_path.iter().any(|known| known.sysroot == probe.sysroot) {
                on_path.push(probe);
            }
        }
        let sysroot = sh::has("rustup")
            .then(|| sh::capture(Command::new("rustup").args(["run", NIGHTLY, "rustc", "--print", "sysroot"])).ok())
            .flatten();
        Self {
            explicit: explicit.map(|path| probe(Path::new(&path)).map_err(|error| format!("{error:#}"))),
            on_path,
            nightly: sysroot.and_then(|sysroot| probe(&Path::new(&sysroot).join("bin/rustc")).ok()),
        }
    }
}

/// The first candidate that can build for BPF; else why none can, a line each.
pub(crate) fn choose(candidates: &Candidates) -> Result<Toolchain, String> {
    match &candidates.explicit {
        Some(Ok(probe)) => return usable(probe, true).map_err(|why| format!("{EXPLICIT}: {why}")),
        Some(Err(why)) => return Err(format!("{EXPLICIT}: {why}")),
        None => {}
    }
    let mut refused = String::new();
    let on_path = candidates.on_path.iter().map(|probe| (probe, false));
    for (probe, source_too) in on_path.chain(candidates.nightly.iter().map(|probe| (probe, true))) {
        match usable(probe, source_too) {
            Ok(toolchain) => return Ok(toolchain),
            Err(why) => {
                let _infallible = writeln!(refused, "{why}");
            }
        }
    }
    if candidates.nightly.is_none() {
        let _infallible = writeln!(refused, "rustup has no {NIGHTLY}");
    }
    Err(refused.trim_end().to_owned())
}

impl Toolchain {
    /// The `cargo-clippy` of this very compiler, if it is there.
    pub(crate) fn cargo_clippy(&self) -> Option<PathBuf> {
        let bin = self.probe.sysroot.join("bin");
        bin.join("clippy-driver").is_file().then(|| bin.join("cargo-clippy")).filter(|file| file.is_file())
    }

    /// The cargo to build with: `-Z build-std` wants the one that belongs to the source of `core`.
    pub(crate) fn cargo(&self) -> OsString {
        let own = self.probe.sysroot.join("bin/cargo");
        if self.core == Core::Source && own.is_file() { own.into() } else { sh::cargo() }
    }

    /// Value of `RUSTC_BOOTSTRAP`: unstable features for those crates (or `1`: for all) of a stable compiler.
    pub(crate) fn bootstrap(&self) -> Option<&'static str> {
        match self.core {
            _ if self.probe.version.nightly => None,
            // aya-ebpf wants feature(asm_experimental_arch), our binary `egress` core_intrinsics for its atomics.
            Core::Prebuilt => Some("aya_ebpf,egress"),
            Core::Source => Some("1"),
        }
    }

    /// rustup's [`NIGHTLY`].
    pub(crate) fn is_dated_nightly(&self) -> bool {
        let name = self.probe.sysroot.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(NIGHTLY)
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { release: (major, minor), llvm, .. } = self.probe.version;
        let core = match self.core {
            Core::Prebuilt => "its core",
            Core::Source => "core from source",
        };
        write!(f, "{} ({major}.{minor}, LLVM {llvm}, {core})", self.probe.rustc.display())
    }
}

fn usable(probe: &Probe, source_too: bool) -> Result<Toolchain, String> {
    let Probe { rustc, version: Version { release, llvm, .. }, .. } = probe;
    let (rustc, (major, minor)) = (rustc.display(), *release);
    let core = match (probe.prebuilt, probe.source) {
        (true, _) => Core::Prebuilt,
        (false, true) if source_too => Core::Source,
        (false, _) if source_too => {
            return Err(format!(
                "{rustc} has neither core for {BPF_TARGET} nor rust-src in {}",
                probe.sysroot.display()
            ));
        }
        (false, _) => return Err(format!("{rustc} has no core for {BPF_TARGET} in {}", probe.sysroot.display())),
    };
    if *release < OLDEST {
        return Err(format!("{rustc} is {major}.{minor}, older than {}.{}", OLDEST.0, OLDEST.1));
    }
    if *llvm > LLVM {
        return Err(format!("{rustc} has LLVM {llvm}, bpf-linker reads bitcode up to LLVM {LLVM}"));
    }
    Ok(Toolchain { probe: probe.clone(), core })
}

fn probe(rustc: &Path) -> anyhow::Result<Probe> {
    let text = sh::capture(Command::new(rustc).arg("-vV"))?;
    let version = parse_version(&text)
        .ok_or_else(|| anyhow::anyhow!("{} -vV names no release or no LLVM version", rustc.display()))?;
    let sysroot = PathBuf::from(sh::capture(Command::new(rustc).args(["--print", "sysroot"]))?);
    let rustlib = sysroot.join("lib/rustlib");
    Ok(Probe {
        prebuilt: rustlib.join(BPF_TARGET).is_dir(),
        source: rustlib.join("src/rust/library/core/Cargo.toml").is_file(),
        rustc: rustc.to_owned(),
        sysroot,
        version,
    })
}

fn parse_version(text: &str) -> Option<Version> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let release = field("release:")?;
    let mut numbers = release.split(['.', '-']);
    Some(Version {
        release: (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?),
        nightly: release.contains("-nightly") || release.contains("-dev"),
        llvm: field("LLVM version:")?.split('.').next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests;
