//! Every check in one command, from the quick to the slow; the first that fails ends it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{agent, cluster, fuzz, image, next, object, setup, setup::Scope, sh, tally::Tally, workspace::Workspace};

/// Tests that may say `SKIP:`; one more or less is a failure, so that skips cannot hide.
const EXPECTED_SKIPS: u64 = 0;
/// A file is one idea.
const MOST_LINES: usize = 500;
/// Members that compile for the host; egress-ebpf has its own lint.
const HOST_MEMBERS: &[&str] = &["egress-common", "egress-agent", "xtask", "egress-tests", "egress-test-pod"];

/// The steps so far.
#[derive(Default)]
struct Run {
    tally: Tally,
    times: Vec<(&'static str, Duration)>,
}

impl Run {
    /// A step that fails counts as a failure, unless tests in it already did.
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce(&mut Tally) -> Result<T>) -> Result<T> {
        let failed_before = self.tally.failed;
        let (result, took) = sh::step(name, || work(&mut self.tally));
        self.times.push((name, took));
        if result.is_err() && self.tally.failed == failed_before {
            self.tally.failed += 1;
        }
        result.with_context(|| name.to_owned())
    }
}

/// Runs the checks and prints the closing line.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>, quick: bool) -> ExitCode {
    let mut run = Run::default();
    let result = steps(&mut run, workspace, filter, quick);
    sh::say("==> times");
    for (name, took) in &run.times {
        sh::say(format!("    {:>9}  {name}", sh::seconds(*took)));
    }
    let verdict = result.and_then(|()| verdict(&run.tally, EXPECTED_SKIPS));
    for line in run.tally.said() {
        sh::say(format!("    {line}").trim_end());
    }
    if let Err(error) = &verdict {
        sh::say(format!("error: {error:#}"));
    }
    println!("{}", run.tally);
    if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn steps(run: &mut Run, workspace: &Workspace, filter: Option<&str>, quick: bool) -> Result<()> {
    let scope = if quick { Scope::NoFuzzing } else { Scope::Everything };
    let tools = run.step("set up", |_| {
        if !quick && filter.is_none() {
            cluster::report()?;
        }
        setup::bring(scope)
    })?;
    let fuzz = workspace.fuzz().join("Cargo.toml");
    run.step("format", |_| {
        sh::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
        sh::run(workspace.cargo().args(["fmt", "--check", "--manifest-path"]).arg(&fuzz))
    })?;
    run.step("file size", |_| small_files(&workspace.root))?;
    // The agent does not compile without the object, so it comes before the lints.
    run.step("object", |_| object::build(workspace, &tools, &[]))?;
    run.step("lint for BPF", |_| object::lint(workspace, &tools))?;
    run.step("lint for the host", |_| {
        let mut clippy = workspace.cargo();
        clippy.args(["clippy", "--all-targets"]).args(HOST_MEMBERS.iter().flat_map(|member| ["--package", member]));
        sh::run(clippy.args(["--", "-D", "warnings"]))?;
        let mut clippy = workspace.cargo();
        // Without default features libFuzzer is not built.
        clippy.args(["clippy", "--all-targets", "--no-default-features", "--manifest-path"]).arg(&fuzz);
        sh::run(clippy.args(["--", "-D", "warnings"]))
    })?;
    run.step("unit and property tests", |tally| {
        let mut cargo = workspace.cargo();
        tests(cargo.args(["test", "--no-fail-fast", "--", "--show-output"]).args(filter), tally)
    })?;
    if quick {
        return Ok(());
    }
    run.step("fuzz", |tally| fuzz::test(workspace, &tools, filter, tally))?;
    // What people get from the image; linked in the usual way, all of it would be built twice.
    run.step("build", |_| image::program(workspace, &tools))?;
    run.step("build another layout", |_| next::build(workspace, &tools))?;
    run.step("root tests", |tally| {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--no-fail-fast", "--package", "egress-tests", "--lib", "--bins", "--test", "root", "--"]);
        cargo.args(["--test-threads=4", "--show-output"]).args(filter);
        tests(of_the_image(&mut cargo, workspace), tally)
    })?;
    if let Some(filter) = filter
        && !are_on_a_cluster(workspace, filter)?
    {
        return Ok(());
    }
    let parts = run.step("parts of the cluster", |_| cluster::bring(workspace, &tools))?;
    // Alone: a cluster takes the whole machine.
    run.step("cluster tests", |tally| {
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--no-fail-fast", "--package", "egress-tests", "--test", "kubernetes", "--"]);
        cargo.args(["--test-threads=1", "--show-output"]).args(filter);
        tests(parts.tell(of_the_image(&mut cargo, workspace)), tally)
    })
}

/// The lab's programs, the agent being the image's.
fn of_the_image<'a>(command: &'a mut Command, workspace: &Workspace) -> &'a mut Command {
    agent::for_lab(command, workspace).env("EGRESS_AGENT", image::path(workspace, image::AGENT))
}

/// Whether the filter names tests that need a cluster, whose parts take minutes to build.
fn are_on_a_cluster(workspace: &Workspace, filter: &str) -> Result<bool> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--package", "egress-tests", "--test", "kubernetes", "--", "--list", filter]);
    Ok(sh::output(&mut cargo)?.lines().any(|line| line.ends_with(": test")))
}

fn tests(command: &mut Command, tally: &mut Tally) -> Result<()> {
    sh::stream(command, |line| tally.line(line))
}

fn verdict(tally: &Tally, expected_skips: u64) -> Result<()> {
    if tally.failed > 0 {
        bail!("{} failed", tally.failed);
    }
    if tally.skipped != expected_skips {
        bail!("{} skipped where {expected_skips} are expected: see the lines `SKIP: reason` above", tally.skipped);
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn small_files(root: &Path) -> Result<()> {
    let mut sources = Vec::new();
    rust_sources(root, &mut sources)?;
    let mut too_long = Vec::new();
    for source in &sources {
        let lines =
            fs::read_to_string(source).with_context(|| format!("reading {}", source.display()))?.lines().count();
        if lines > MOST_LINES {
            too_long.push(format!("{} has {lines} lines", source.display()));
        }
    }
    if !too_long.is_empty() {
        bail!("{}; {MOST_LINES} at most: split by idea", too_long.join(", "));
    }
    sh::say(format!("    {} files, none over {MOST_LINES} lines", sources.len()));
    Ok(())
}

fn rust_sources(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            // `target` anywhere: a member built alone leaves one.
            if !name.starts_with('.') && name != "target" {
                rust_sources(&path, into)?;
            }
        } else if name.ends_with(".rs") {
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        let mut tally = Tally::default();
        (tally.passed, tally.failed, tally.skipped) = (passed, failed, skipped);
        tally
    }

    #[test]
    fn only_all_passed_and_the_expected_skips_are_good() {
        assert!(verdict(&tally(3, 0, 0), 0).is_ok());
        assert!(verdict(&tally(3, 0, 1), 1).is_ok());
        assert!(verdict(&tally(3, 1, 0), 0).is_err());
        assert!(verdict(&tally(3, 0, 1), 0).is_err());
        assert!(verdict(&tally(3, 0, 0), 1).is_err());
        assert!(verdict(&tally(0, 0, 0), 0).is_err());
    }

    #[test]
    fn a_failed_step_counts_once() {
        let mut run = Run::default();
        assert!(run.step("lint", |_| -> Result<()> { bail!("warnings") }).is_err());
        assert_eq!(run.tally.to_string(), "0 passed, 1 failed, 0 skipped");
        let result = run.step("tests", |tally| -> Result<()> {
            tally.line("test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
            bail!("exit status 101")
        });
        assert!(result.is_err());
        assert_eq!(run.tally.to_string(), "5 passed, 3 failed, 0 skipped");
    }

    #[test]
    fn long_files_are_named_and_build_output_is_not_looked_at() {
        let root = std::env::temp_dir().join(format!("xtask-size-{}", std::process::id()));
        fs::create_dir_all(root.join("target")).unwrap();
        fs::write(root.join("short.rs"), "//\n".repeat(MOST_LINES)).unwrap();
        fs::write(root.join("target/long.rs"), "//\n".repeat(MOST_LINES + 1)).unwrap();
        let short = small_files(&root);
        fs::write(root.join("long.rs"), "//\n".repeat(MOST_LINES + 1)).unwrap();
        let long = small_files(&root);
        fs::remove_dir_all(&root).unwrap();
        assert!(short.is_ok());
        assert!(long.unwrap_err().to_string().contains("long.rs has 501 lines"));
    }
}
