//! Programs of Debian's packages, unpacked but not installed, with the libraries that they need and their copyright files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Layer;

/// A package and the files that it brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// As Debian calls it.
    pub name: String,
    /// With epoch and revision.
    pub version: String,
    files: BTreeSet<PathBuf>,
}

/// The packages of a tree that `xtask` unpacked: `packages/<name>_<version>_<architecture>` lists the files of each.
pub fn packages(tree: &Path) -> Result<Vec<Package>> {
    let folder = tree.join("packages");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let mut fields = file.split('_');
        let (Some(name), Some(version)) = (fields.next(), fields.next()) else { continue };
        let text = fs::read_to_string(entry.path()).with_context(|| format!("read {file}"))?;
        let files = text.lines().map(|line| PathBuf::from(line.trim_start_matches("./"))).collect();
        found.push(Package { name: name.to_owned(), version: version.replace("%3a", ":"), files });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Adds a program of the tree and everything that its loader would load; the packages that these are from.
pub fn add_program(layer: &mut Layer, tree: &Path, packages: &[Package], path: &str) -> Result<Vec<Package>> {
    let mut wanted = vec![PathBuf::from(path)];
    wanted.extend(libraries(tree, path)?);
    let mut used = BTreeMap::new();
    for file in wanted {
        let from = fs::canonicalize(tree.join(&file)).with_context(|| format!("find {}", file.display()))?;
        let real = from.strip_prefix(fs::canonicalize(tree)?).context("a library outside of the tree")?.to_owned();
        layer.add_program(&file, &from)?;
        let package = packages.iter().find(|package| package.files.contains(&real));
        let package = package.with_context(|| format!("no package has {}", real.display()))?;
        let copyright = PathBuf::from(format!("usr/share/doc/{}/copyright", package.name));
        if tree.join(&copyright).is_file() && !layer.has(&copyright) {
            layer.add_file(&copyright, &tree.join(&copyright))?;
        }
        used.insert(package.name.clone(), package.clone());
    }
    Ok(used.into_values().collect())
}

/// What the tree's own loader says that a program needs, with the loader itself.
fn libraries(tree: &Path, program: &str) -> Result<Vec<PathBuf>> {
    const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
    let folder = tree.join("usr/lib/x86_64-linux-gnu");
    let mut command = Command::new(tree.join(LOADER));
    command.arg("--library-path").arg(&folder).arg("--list").arg(tree.join(program));
    let output = command.output().with_context(|| format!("start {}", tree.join(LOADER).display()))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().filter_map(|line| line.split(" => ").nth(1)?.split_whitespace().next());
    let inside = found.filter_map(|path| Path::new(path).strip_prefix(tree).ok());
    let mut libraries: Vec<_> = inside.map(Path::to_owned).filter(|path| *path != Path::new(LOADER)).collect();
    libraries.push(LOADER.into());
    Ok(libraries)
}
