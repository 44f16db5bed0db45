//! Headings, sentences and tables on standard output.

use std::io::{self, Write};

use anyhow::Result;

const INDENT: &str = "  ";

/// Where the report goes.
#[derive(Debug, Default)]
pub(super) struct Report(());

impl Report {
    /// A heading with an empty line before it.
    pub(super) fn heading(&mut self, text: &str) -> Result<()> {
        self.raw(&format!("\n{text}\n"))
    }

    /// Lines, indented.
    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        let lines =
            text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{INDENT}{line}\n") });
        self.raw(&lines.collect::<String>())
    }

    /// A word or two, and what is to be said about it.
    pub(super) fn fact(&mut self, name: &str, text: &str) -> Result<()> {
        self.raw(&format!("{INDENT}{name:<11} {text}\n"))
    }

    /// Aligned columns, with an empty line before and after.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) -> Result<()> {
        self.raw(&format!("\n{}\n", align(header, rows)))
    }

    /// An empty line.
    pub(super) fn gap(&mut self) -> Result<()> {
        self.raw("\n")
    }

    /// A command that the user could type, and its output.
    pub(super) fn command(&mut self, line: &str, output: &str) -> Result<()> {
        self.raw(&format!("\n{INDENT}$ {line}\n"))?;
        let trimmed: Vec<_> = output.lines().map(str::trim_end).collect();
        self.text(&trimmed.join("\n"))
    }

    /// As it is.
    pub(super) fn raw(&mut self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

fn align(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|it| (*it).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| lines.iter().filter_map(|it| it.get(column)).map(|it| it.chars().count()).max();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().enumerate().map(|(column, it)| format!("{it:<0$}", width(column).unwrap_or_default()));
        format!("{INDENT}{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().copied().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["long cell".to_owned(), String::new()]];
        assert_eq!(align(&["ONE", "TWO"], &rows), "  ONE        TWO\n  a          b\n  long cell\n");
    }
}
