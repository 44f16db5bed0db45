//! Reads manifests from files: the only I/O of this folder.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    manifest::Source,
    report::{At, Report, SpecErrors},
};

/// Largest file that is read, bytes.
const LIMIT: u64 = 256 << 20;

/// The texts of these files. A directory, such as a mounted ConfigMap, stands for the `.yaml`, `.yml` and `.json` files
/// in it, by name; hidden ones (`..data`) are not followed.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>, SpecErrors> {
    let mut report = Report::default();
    let mut sources = Vec::new();
    for path in paths {
        match files(path) {
            Ok(files) if files.is_empty() => {
                report.error(
                    &At::nothing(),
                    &path.display().to_string(),
                    "the directory has no .yaml, .yml or .json file",
                );
            }
            Ok(files) => {
                for file in files {
                    match text(&file) {
                        Ok(text) => sources.push(Source { name: file.display().to_string(), text }),
                        Err(error) => report.error(&At::nothing(), &file.display().to_string(), error.to_string()),
                    }
                }
            }
            Err(error) => report.error(&At::nothing(), &path.display().to_string(), error.to_string()),
        }
    }
    report.finish(Some(sources)).map(|(sources, _)| sources)
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let manifest = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if manifest && !hidden && fs::metadata(&path)?.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("the file is larger than {} MiB", LIMIT >> 20)));
    }
    Ok(text)
}
