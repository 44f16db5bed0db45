//! What was done for a sandbox, written down before it is done, so that DEL also undoes half an ADD.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

const FOLDER: &str = "/var/lib/cni/egress-lab";

/// One file per sandbox; a line per attached network: its configuration and interface.
pub(super) struct Record(PathBuf);

impl Record {
    pub(super) fn create(container: &str) -> Result<Self> {
        fs::create_dir_all(FOLDER).with_context(|| format!("create {FOLDER}"))?;
        let path = Path::new(FOLDER).join(container);
        fs::write(&path, "").with_context(|| format!("write {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn open(container: &str) -> Option<Self> {
        let path = Path::new(FOLDER).join(container);
        path.exists().then_some(Self(path))
    }

    pub(super) fn add(&self, conf: &Value, interface: &str) -> Result<()> {
        let mut text = fs::read_to_string(&self.0).unwrap_or_default();
        text += &format!("{interface} {conf}\n");
        fs::write(&self.0, text).with_context(|| format!("write {}", self.0.display()))
    }

    pub(super) fn networks(&self) -> Vec<(Value, String)> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let line = |line: &str| {
            let (interface, conf) = line.split_once(' ')?;
            Some((serde_json::from_str(conf).ok()?, interface.to_owned()))
        };
        text.lines().filter_map(line).collect()
    }

    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}
