//! The file that flows are logged to.

use std::{
    fs::{File, metadata},
    io::{self, BufWriter, Write},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::datapath::journal::Line;

/// Where flows are logged.
pub struct FlowLog(BufWriter<Box<dyn Write + Send>>);

impl FlowLog {
    /// Opens a file to append to, or `-`, standard output.
    pub fn open(path: &Path) -> Result<Self> {
        let to: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else if metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
            Box::new(Pipe { path: path.to_owned(), file: None })
        } else {
            let file = append(path);
            Box::new(file.with_context(|| format!("--flow-log {}: a file that can be written, or -", path.display()))?)
        };
        Ok(Self(BufWriter::with_capacity(64 << 10, to)))
    }

    /// Writes lines. Each goes into the buffer whole or not at all: after a failure the next line begins a line.
    pub fn write(&mut self, lines: &[Line]) -> Result<()> {
        let mut whole = Vec::new();
        for line in lines {
            whole.clear();
            serde_json::to_writer(&mut whole, line)?;
            whole.push(b'\n');
            self.0.write_all(&whole)?;
        }
        Ok(self.0.flush()?)
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// A named pipe: to open it waits for a reader, so it is opened when there is something to write.
struct Pipe {
    path: PathBuf,
    file: Option<File>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(append(&self.path)?),
        };
        file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

#[cfg(test)]
mod tests;
