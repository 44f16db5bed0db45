//! Noticing that manifests changed: also when a file is replaced by a rename, or a mounted ConfigMap's `..data` link is.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

/// How often the files are looked at.
pub const EVERY: Duration = Duration::from_millis(250);

/// What tells one version of the files from another; links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<Option<[u64; 4]>>);

/// Looks at the files, and into directories.
#[must_use]
pub fn fingerprint(paths: &[PathBuf]) -> Fingerprint {
    let mut prints = Vec::new();
    for path in paths {
        prints.push(print(path));
        let Ok(entries) = fs::read_dir(path) else { continue };
        let mut inside: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        inside.sort();
        prints.extend(inside.iter().map(print));
    }
    Fingerprint(prints)
}

fn print(path: &PathBuf) -> Option<[u64; 4]> {
    let meta = fs::metadata(path).ok()?;
    let time = meta.mtime().unsigned_abs() ^ meta.mtime_nsec().unsigned_abs() << 32;
    Some([meta.dev(), meta.ino(), meta.size(), time])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn sees_edit_rename_and_symlink_swap() {
        let dir = std::env::temp_dir().join(format!("egress-fingerprint-{}", std::process::id()));
        fs::create_dir_all(dir.join("one")).unwrap();
        fs::create_dir_all(dir.join("two")).unwrap();
        fs::write(dir.join("one/a.yaml"), "1").unwrap();
        fs::write(dir.join("two/a.yaml"), "1").unwrap();
        symlink("one", dir.join("..data")).unwrap();
        let paths = [dir.join("..data/a.yaml")];
        let first = fingerprint(&paths);
        assert_eq!(first, fingerprint(&paths));
        symlink("two", dir.join("..new")).unwrap();
        fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
        let swapped = fingerprint(&paths);
        assert_ne!(first, swapped);
        fs::write(dir.join("other"), "1").unwrap();
        fs::rename(dir.join("other"), dir.join("two/a.yaml")).unwrap();
        let renamed = fingerprint(&paths);
        assert_ne!(swapped, renamed);
        fs::write(dir.join("two/a.yaml"), "22").unwrap();
        assert_ne!(renamed, fingerprint(&paths));
        fs::remove_dir_all(&dir).unwrap();
    }
}
