//! The fuzz targets in tests/fuzz: built by cargo-fuzz, run by libFuzzer.

mod seeds;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    setup::{self, Scope, Tools},
    sh,
    tally::Tally,
    workspace::Workspace,
};

/// What the test command gives to each target.
const TEST_SECONDS: u64 = 5;
/// Longer inputs only cost time: every header that we read lies before.
const MAX_LEN: u32 = 512;

/// The targets, built.
struct Fuzz {
    /// tests/fuzz.
    source: PathBuf,
    /// Build directory; below it `seeds`, `corpus` and `artifacts` too, with a folder for each target.
    dir: PathBuf,
    /// Where in it the executables are.
    bin: PathBuf,
}

/// Where libFuzzer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Corpus {
    /// With the seeds, and random numbers that are always the same: for tests.
    Seeds,
    /// With what earlier runs found, too; keeps what it finds.
    Kept,
}

/// A few seconds for each target whose test name (`fuzz::<target>`) contains the filter; each is a test.
pub(crate) fn test(workspace: &Workspace, tools: &Tools, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let chosen: Vec<_> = targets(workspace)?
        .into_iter()
        .filter(|target| filter.is_none_or(|filter| format!("fuzz::{target}").contains(filter)))
        .collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let fuzz = build(workspace, tools)?;
    let mut first = Ok(());
    for target in chosen {
        let result = fuzz.run(&target, TEST_SECONDS, Corpus::Seeds);
        tally.test(result.is_ok());
        println!("test fuzz::{target} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        first = first.and(result);
    }
    first
}

/// `cargo xtask fuzz`: sets up, then this target (or each) for so long, or with this input once.
pub(crate) fn by_hand(workspace: &Workspace, target: Option<String>, seconds: u64, input: Option<&Path>) -> Result<()> {
    let all = targets(workspace)?;
    let chosen = match target {
        Some(target) if !all.contains(&target) => bail!("no fuzz target {target}; there are: {}", all.join(", ")),
        Some(target) => vec![target],
        None => all,
    };
    let fuzz = build(workspace, &setup::bring(Scope::Everything)?)?;
    chosen.iter().try_for_each(|target| match input {
        Some(input) => fuzz.once(target, input),
        None => fuzz.run(target, seconds, Corpus::Kept),
    })
}

/// Names of the targets: the files in fuzz_targets.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let dir = workspace.fuzz().join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
        names.extend(entry?.file_name().to_string_lossy().strip_suffix(".rs").map(ToOwned::to_owned));
    }
    names.sort();
    Ok(names)
}

fn build(workspace: &Workspace, tools: &Tools) -> Result<Fuzz> {
    let cargo_fuzz = tools.cargo_fuzz.as_ref().context("no cargo-fuzz: bring it by `cargo xtask setup`")?;
    let (source, dir) = (workspace.fuzz(), workspace.target.join("fuzz"));
    let path = path()?;
    let rustc = |print: &str| sh::capture(Command::new("rustc").env("PATH", &path).args(["--print", print]));
    let (host, sysroot) = (rustc("host-tuple")?, PathBuf::from(rustc("sysroot")?));
    let sanitizer = if has_asan(&sysroot.join("lib/rustlib").join(&host).join("lib")) { "address" } else { "none" };
    let mut command = Command::new(cargo_fuzz);
    command.current_dir(&workspace.root).env("PATH", &path).env_remove("CARGO_ENCODED_RUSTFLAGS");
    // For a stable compiler too, the sanitizer is an unstable flag.
    command.env("RUSTC_BOOTSTRAP", "1").args(["build", "--sanitizer", sanitizer, "--target", &host, "--fuzz-dir"]);
    sh::run(command.arg(&source).arg("--target-dir").arg(&dir))?;
    Ok(Fuzz { source, bin: dir.join(host).join("release"), dir })
}

/// `PATH` with our own cargo's folder first: cargo-fuzz starts `cargo`, and the sanitizer is that of the rustc beside it.
fn path() -> Result<OsString> {
    let own = PathBuf::from(sh::cargo()).parent().map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = own.into_iter().filter(|dir| dir.is_absolute()).chain(env::split_paths(&path));
    env::join_paths(dirs).context("making a PATH with cargo's folder first")
}

/// rustup's toolchains have sanitizers, those of distributions mostly not.
fn has_asan(lib: &Path) -> bool {
    let is_it = |name: &str| name.starts_with("librustc") && name.ends_with("rt.asan.a");
    fs::read_dir(lib).is_ok_and(|dir| dir.flatten().any(|entry| is_it(&entry.file_name().to_string_lossy())))
}

impl Fuzz {
    fn run(&self, target: &str, seconds: u64, corpus: Corpus) -> Result<()> {
        let [seeds, kept, artifacts] = ["seeds", "corpus", "artifacts"].map(|name| self.dir.join(name).join(target));
        fs::create_dir_all(&artifacts).with_context(|| format!("making {}", artifacts.display()))?;
        seeds::write(&self.source.join("seeds").join(format!("{target}.hex")), &seeds)?;
        let mut command = self.command(target);
        command.args([format!("-max_total_time={seconds}"), format!("-max_len={MAX_LEN}")]);
        command.args(["-timeout=10", "-verbosity=0", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        match corpus {
            Corpus::Seeds => command.arg("-seed=1"),
            Corpus::Kept => {
                fs::create_dir_all(&kept).with_context(|| format!("making {}", kept.display()))?;
                command.arg(kept)
            }
        };
        let start = SystemTime::now();
        sh::run(command.arg(seeds)).with_context(|| match newest(&artifacts, start) {
            Some(input) => format!(
                "fuzz target {target} fails with {input}; again: `cargo xtask fuzz {target} --input {input}`",
                input = input.display()
            ),
            None => format!("fuzz target {target}"),
        })
    }

    fn once(&self, target: &str, input: &Path) -> Result<()> {
        // libFuzzer would take a folder for a corpus, and run for ever.
        if !input.is_file() {
            bail!("no file {}", input.display());
        }
        sh::run(self.command(target).arg(input))
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(self.bin.join(target));
        // Leaks: the search needs ptrace, which containers often refuse.
        command.env("ASAN_OPTIONS", "detect_leaks=0:quarantine_size_mb=16").env("RUST_BACKTRACE", "1");
        command
    }
}

/// The file that was written last, if that was after `start`.
fn newest(dir: &Path, start: SystemTime) -> Option<PathBuf> {
    let files = fs::read_dir(dir).ok()?.flatten();
    let dated = files.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())));
    dated.filter(|(time, _)| *time >= start).max().map(|(_, path)| path)
}
