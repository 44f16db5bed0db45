//! The conformance page names tests: they exist.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const PAGE: &str = include_str!("../../docs/conformance.md");

/// What stands in backquotes in tables and looks like a test, or like a module of tests (`addresses::`).
fn named() -> BTreeSet<&'static str> {
    let rows = PAGE.lines().filter(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter(|it| it.contains("::")).collect()
}

#[test]
fn every_test_named_in_the_page_exists() -> Result<()> {
    let mut list = Command::new(env::current_exe()?);
    let output = list.args(["--list", "--format", "terse"]).output().context("list the tests")?;
    let text = String::from_utf8(output.stdout)?;
    let tests: Vec<&str> = text.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let there =
        |name: &&str| tests.iter().any(|test| test == name || (name.ends_with("::") && test.starts_with(*name)));
    let missing: Vec<_> = named().into_iter().filter(|name| !there(name)).collect();
    ensure!(named().len() > 30 && tests.len() > 90, "{} names, {} tests", named().len(), tests.len());
    ensure!(missing.is_empty(), "{missing:?}");
    Ok(())
}
