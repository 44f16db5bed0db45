//! An initramfs: a cpio archive ("newc") of files and links, kept in memory.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const FILE: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;

/// The archive so far. Folders come by themselves.
#[derive(Clone, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    known: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds a file; one that is there already stays.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(Path::new(path), FILE, content);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(Path::new(path), LINK, target.as_bytes());
    }

    /// Adds an empty folder.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(Path::new(path), FOLDER, &[]);
    }

    /// Adds a file of this machine at its own path.
    pub(crate) fn copy(&mut self, path: &Path) -> Result<()> {
        let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        self.entry(path, FILE, &content);
        Ok(())
    }

    /// Whether the path is there.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.known.contains(path)
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.raw("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if path.parent().is_none() || !self.known.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.entry(parent, FOLDER, &[]);
        }
        let name = path.to_string_lossy();
        self.raw(name.trim_start_matches('/'), mode, content);
    }

    fn raw(&mut self, name: &str, mode: u32, content: &[u8]) {
        let number = self.known.len();
        // inode, mode, uid, gid, links, mtime, size, device (4 numbers), length of the name, checksum
        let fields = [number, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("/a/b/one", b"1");
        archive.file("/a/b/two", b"22");
        archive.file("/a/b/two", b"again");
        assert!(archive.has(Path::new("/a/b")));
        let bytes = archive.finish();
        let names: Vec<_> = ["a\0", "a/b\0", "a/b/one\0", "a/b/two\0", "TRAILER!!!\0"]
            .iter()
            .map(|name| bytes.windows(name.len()).filter(|window| *window == name.as_bytes()).count())
            .collect();
        assert_eq!(names, [1, 1, 1, 1, 1]);
        assert!(bytes.starts_with(b"070701") && bytes.len().is_multiple_of(4));
    }
}
