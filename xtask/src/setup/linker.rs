//! bpf-linker: a cache of our own, outside the tree, by version.

use std::{
    env,
    ffi::OsString,
    iter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::sh;

/// The version that is brought; any patch release of it will do.
pub(crate) const VERSION: &str = "0.13.0";
/// Where Debian's llvm-22-dev lies.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Root of our bpf-linker: `bin/bpf-linker` below it.
pub(crate) fn cache() -> Result<PathBuf> {
    let (cache, home) = (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"));
    cache_in(cache, home)
        .context("neither XDG_CACHE_HOME nor HOME says where to keep bpf-linker: set one to an absolute path")
}

fn cache_in(cache: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    // The XDG base directory specification has relative paths ignored.
    let absolute = |dir: Option<OsString>| dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = absolute(cache).or_else(|| Some(absolute(home)?.join(".cache")))?;
    Some(base.join("egress-gateway").join(format!("bpf-linker-{VERSION}-llvm-22")))
}

/// Ours, else one on `PATH`; only if it runs (its LLVM may be gone) and is of our minor version.
pub(crate) fn find(cache: &Path) -> Option<PathBuf> {
    let ours = iter::once(cache.join("bin/bpf-linker")).filter(|file| file.is_file());
    ours.chain(sh::find_all("bpf-linker"))
        .find(|file| sh::capture(Command::new(file).arg("--version")).is_ok_and(|text| is_ours(&text)))
}

fn is_ours(version: &str) -> bool {
    version.strip_prefix("bpf-linker ").is_some_and(|number| number.starts_with("0.13."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_xdg() {
        let cache = |xdg: Option<&str>, home: Option<&str>| cache_in(xdg.map(Into::into), home.map(Into::into));
        let folder = "egress-gateway/bpf-linker-0.13.0-llvm-22";
        assert_eq!(cache(Some("/var/c"), Some("/home/me")), Some(Path::new("/var/c").join(folder)));
        assert_eq!(cache(Some("c"), Some("/home/me")), Some(Path::new("/home/me/.cache").join(folder)));
        assert_eq!(cache(None, Some("/home/me")), Some(Path::new("/home/me/.cache").join(folder)));
        assert_eq!(cache(None, None), None);
    }

    #[test]
    fn only_our_minor_version_is_taken() {
        assert!(is_ours("bpf-linker 0.13.0"));
        assert!(is_ours("bpf-linker 0.13.4"));
        assert!(!is_ours("bpf-linker 0.14.0"));
        assert!(!is_ours("bpf-linker 0.1.3"));
        assert!(!is_ours(""));
    }
}
