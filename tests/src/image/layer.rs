//! The files of an image.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    File { mode: u32, bytes: Vec<u8> },
    Link(String),
    Folder,
}

/// Files, links and folders by their path without a leading `/`. All belong to root and are of 1970: neither who built the image nor when is in it.
#[derive(Debug, Default)]
pub struct Layer(BTreeMap<PathBuf, Entry>);

impl Layer {
    /// A file with the content of one on this machine, executable if that is.
    pub fn add_file(&mut self, path: impl AsRef<Path>, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        let executable = from.metadata().is_ok_and(|it| it.permissions().mode() & 0o111 != 0);
        self.add(path.as_ref(), Entry::File { mode: if executable { 0o755 } else { 0o644 }, bytes });
        Ok(())
    }

    /// A program with the content of a file on this machine.
    pub fn add_program(&mut self, path: impl AsRef<Path>, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.add(path.as_ref(), Entry::File { mode: 0o755, bytes });
        Ok(())
    }

    /// A file with this content.
    pub fn add_bytes(&mut self, path: impl AsRef<Path>, bytes: Vec<u8>) {
        self.add(path.as_ref(), Entry::File { mode: 0o644, bytes });
    }

    /// A symbolic link.
    pub fn add_link(&mut self, path: impl AsRef<Path>, target: &str) {
        self.add(path.as_ref(), Entry::Link(target.to_owned()));
    }

    /// An empty folder.
    pub fn add_folder(&mut self, path: impl AsRef<Path>) {
        self.add(path.as_ref(), Entry::Folder);
    }

    /// Whether there is something at a path.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.0.contains_key(path.as_ref())
    }

    fn add(&mut self, path: &Path, entry: Entry) {
        for folder in path.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()) {
            self.0.entry(folder.to_owned()).or_insert(Entry::Folder);
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// As a tar archive: in the order of paths, so folders come before what is in them.
    pub(super) fn tar(&self) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = Header::new_gnu();
            let (kind, mode) = match entry {
                Entry::File { mode, .. } => (EntryType::Regular, *mode),
                Entry::Link(_) => (EntryType::Symlink, 0o777),
                Entry::Folder => (EntryType::Directory, if path.ends_with("tmp") { 0o1777 } else { 0o755 }),
            };
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            let result = match entry {
                Entry::File { bytes, .. } => {
                    header.set_size(bytes.len() as u64);
                    archive.append_data(&mut header, path, bytes.as_slice())
                }
                Entry::Link(target) => archive.append_link(&mut header, path, target),
                Entry::Folder => archive.append_data(&mut header, path, std::io::empty()),
            };
            result.with_context(|| format!("put {} into the layer", path.display()))?;
        }
        archive.into_inner().context("end the layer")
    }
}
