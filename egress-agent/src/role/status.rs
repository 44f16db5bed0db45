//! What a running agent leaves for `doctor`: the state it works towards, and a configuration that it refused.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{datapath::pins, spec::desired::Desired};

/// Folder of the status files.
const DIR: &str = "/run/egress-ebpf";

/// The file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the agent that wrote it.
    pub pid: u32,
    /// What it works towards.
    pub desired: Desired,
    /// Why the newest manifests are not in force, if they are not.
    pub refused: Option<String>,
    /// What went wrong while they were brought into force.
    pub failed: Option<String>,
    /// How the programs are attached.
    pub attach: String,
    /// How the table's size was found.
    pub table: String,
    /// Why interfaces have no XDP although it is asked for, by their names.
    #[serde(default)]
    pub xdp_refused: BTreeMap<String, String>,
}

fn path(id: &str) -> PathBuf {
    Path::new(DIR).join(format!("{id}.json"))
}

impl Status {
    /// Reads the status of a gateway; none if no agent ran since boot.
    pub fn read(id: &str) -> Result<Option<Self>> {
        let path = path(id);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("read {}", path.display()))
    }

    /// Replaces the status as a whole.
    pub fn write(&self, id: &str) -> Result<()> {
        let path = path(id);
        let new = path.with_extension("new");
        let write = || {
            fs::create_dir_all(DIR)?;
            fs::write(&new, serde_json::to_vec_pretty(self)?)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("write {}", path.display()))
    }

    /// Whether the agent that wrote it still runs.
    #[must_use]
    pub fn running(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.pid)).is_ok_and(|name| name.trim() == "egress-agent")
    }
}

/// Removes pins and status of gateways whose namespace is gone, but for the one with the id `keep`. Returns the ids.
pub fn sweep(keep: Option<&str>) -> Result<Vec<String>> {
    let swept = pins::sweep(keep)?;
    swept.iter().for_each(|id| remove(id));
    Ok(swept)
}

/// Removes the status of a gateway that is no more.
pub fn remove(id: &str) {
    // It may never have been written.
    let _ = fs::remove_file(path(id));
}
