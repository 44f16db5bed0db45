//! Which gateway a process speaks of: the one of its network namespace.

use std::{env, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    datapath::pins::{POD_PINS, Pins, ROOT},
    net::netns,
};

/// The Pod's UID, from the downward API.
const POD_UID: &str = "POD_UID";

/// A gateway's place.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its pins.
    pub pins: Pins,
    /// `SO_NETNS_COOKIE` of its namespace; 0 before Linux 5.14.
    pub cookie: u64,
}

impl Place {
    /// Enters `netns` if given, then names the gateway of the namespace. Call it before any thread starts.
    pub fn enter(netns: Option<&Path>) -> Result<Self> {
        if let Some(path) = netns {
            netns::enter(path).with_context(|| format!("--netns {}", path.display()))?;
        }
        let identity = netns::identity().context("identify the network namespace")?;
        let pins = match env::var(POD_UID) {
            // Another namespace than the Pod's own is not the Pod.
            Ok(uid) if netns.is_none() && !uid.is_empty() && !uid.contains(['/', '.']) => {
                if Path::new(POD_PINS).is_dir() { Pins::of_pod(&uid) } else { Pins::of(&uid) }
            }
            _ => Pins::of(&identity.to_string()),
        };
        Ok(Self { pins, cookie: identity.cookie.unwrap_or(0) })
    }

    /// Fails unless the namespace has a gateway; the error names those that exist.
    pub fn existing(self) -> Result<Self> {
        if self.pins.exist() {
            return Ok(self);
        }
        let others: Vec<String> = Pins::all().unwrap_or_default().into_iter().map(|pins| pins.id).collect();
        if others.is_empty() {
            bail!("no gateway in this network namespace ({}), and none on this machine under {ROOT}", self.pins.id);
        }
        bail!(
            "no gateway in this network namespace ({}); there are {}: name the namespace with --netns PATH",
            self.pins.id,
            others.join(", ")
        )
    }
}
