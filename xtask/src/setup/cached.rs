//! Programs that we build for ourselves: in a cache of our own, outside the tree, by version.

use std::{
    env,
    ffi::OsString,
    iter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::sh;

/// A program of crates.io.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cached {
    /// Crate and executable.
    pub(crate) name: &'static str,
    /// The version that is brought; any patch release of it will do.
    pub(crate) version: &'static str,
    /// What else its folder's name tells.
    pub(crate) built: &'static str,
}

impl Cached {
    /// Root of ours: `bin/<name>` below it.
    pub(crate) fn root(&self) -> Result<PathBuf> {
        let (cache, home) = (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"));
        self.root_in(cache, home).with_context(|| {
            let name = self.name;
            format!("neither XDG_CACHE_HOME nor HOME says where to keep {name}: set one to an absolute path")
        })
    }

    fn root_in(&self, cache: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
        // The XDG base directory specification has relative paths ignored.
        let absolute = |dir: Option<OsString>| dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
        let base = absolute(cache).or_else(|| Some(absolute(home)?.join(".cache")))?;
        Some(base.join("egress-gateway").join(format!("{}-{}{}", self.name, self.version, self.built)))
    }

    /// Ours, else one on `PATH`; only if it runs (its libraries may be gone) and is of our minor version.
    pub(crate) fn find(&self, root: &Path) -> Option<PathBuf> {
        let ours = iter::once(root.join("bin").join(self.name)).filter(|file| file.is_file());
        ours.chain(sh::find_all(self.name))
            .find(|file| sh::capture(Command::new(file).arg("--version")).is_ok_and(|text| self.is_ours(&text)))
    }

    fn is_ours(&self, version: &str) -> bool {
        let minor = self.version.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = version.strip_prefix(self.name).and_then(|rest| rest.strip_prefix(' '));
        number.is_some_and(|number| number.starts_with(minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKER: Cached = Cached { name: "bpf-linker", version: "0.13.0", built: "-llvm-22" };

    #[test]
    fn the_cache_follows_xdg() {
        let root = |xdg: Option<&str>, home: Option<&str>| LINKER.root_in(xdg.map(Into::into), home.map(Into::into));
        let folder = "egress-gateway/bpf-linker-0.13.0-llvm-22";
        assert_eq!(root(Some("/var/c"), Some("/home/me")), Some(Path::new("/var/c").join(folder)));
        assert_eq!(root(Some("c"), Some("/home/me")), Some(Path::new("/home/me/.cache").join(folder)));
        assert_eq!(root(None, Some("/home/me")), Some(Path::new("/home/me/.cache").join(folder)));
        assert_eq!(root(None, None), None);
    }

    #[test]
    fn only_our_minor_version_is_taken() {
        assert!(LINKER.is_ours("bpf-linker 0.13.0"));
        assert!(LINKER.is_ours("bpf-linker 0.13.4"));
        assert!(!LINKER.is_ours("bpf-linker 0.14.0"));
        assert!(!LINKER.is_ours("bpf-linker 0.1.3"));
        assert!(!LINKER.is_ours("cargo-fuzz 0.13.2"));
        assert!(!LINKER.is_ours(""));
    }
}
