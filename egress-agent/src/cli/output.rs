//! Printing.

use std::io::{self, Write};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;

/// Writes to stdout; a reader that went away is no error.
pub(super) fn print(text: &str) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("write"),
        _ => Ok(()),
    }
}

/// Writes JSON.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value).context("JSON")?)
}

/// A table as kubectl prints them.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}
