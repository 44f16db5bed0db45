//! The checked-in numbers of verified instructions, by kernel and program.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const HEADING: &str = "\
# Instructions that the verifier walks through for each program, as `cargo xtask kernels --record` measured them.
# A fifth more fails the run: the kernel gives up at 1000000.
";
const MOST: u64 = 1_000_000;

/// Numbers by kernel series and program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record(BTreeMap<String, BTreeMap<String, u64>>);

/// Where it is kept.
pub(crate) fn path(root: &Path) -> PathBuf {
    root.join("tests/kernels.toml")
}

impl Record {
    /// Reads the file; one that is not there is empty.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// A table of integers for each kernel: all of TOML that is needed.
    fn parse(text: &str) -> Result<Self> {
        let mut record = Self::default();
        let mut kernel = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix("[\"").and_then(|rest| rest.strip_suffix("\"]")) {
                name.clone_into(&mut kernel);
                continue;
            }
            let (program, count) = line.split_once('=').with_context(|| format!("not understood: {line}"))?;
            let count = count.trim().parse().with_context(|| format!("not a number: {line}"))?;
            record.set(&kernel, program.trim(), count);
        }
        Ok(record)
    }

    /// Notes a number.
    pub(crate) fn set(&mut self, kernel: &str, program: &str, count: u64) {
        self.0.entry(kernel.to_owned()).or_default().insert(program.to_owned(), count);
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = HEADING.to_owned();
        for (kernel, programs) in &self.0 {
            let _infallible = writeln!(text, "\n[\"{kernel}\"]");
            for (program, count) in programs {
                let _infallible = writeln!(text, "{program} = {count}");
            }
        }
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// What is wrong with a number, if anything is.
    pub(crate) fn complaint(&self, kernel: &str, program: &str, count: u64) -> Option<String> {
        let Some(known) = self.0.get(kernel).and_then(|programs| programs.get(program)) else {
            return Some(format!("{program}: {count} instructions, and no number recorded (--record)"));
        };
        let limit = (known + known / 5).min(MOST);
        (count > limit || count == 0)
            .then(|| format!("{program}: {count} instructions, {known} recorded: more than a fifth"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_more_is_too_much() {
        let record = Record::parse("# heading\n[\"6.1\"]\negw_in = 1000\n\n[\"newest\"]\negw_in = 500\n").unwrap();
        assert_eq!(record.complaint("6.1", "egw_in", 1200), None);
        assert!(record.complaint("6.1", "egw_in", 1201).is_some());
        assert!(record.complaint("newest", "egw_in", 1000).is_some());
        assert!(record.complaint("6.1", "expire", 1).is_some());
        assert!(Record::parse("egw_in: 3").is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        let path = std::env::temp_dir().join(format!("xtask-record-{}", std::process::id()));
        let mut record = Record::default();
        record.set("6.12", "egw_out", 7);
        record.write(&path).unwrap();
        let read = Record::read(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), record);
    }
}
