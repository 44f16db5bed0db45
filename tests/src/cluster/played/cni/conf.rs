//! The plugin's own configuration.

use serde::Deserialize;

/// Of `/etc/cni/net.d`.
#[derive(Debug, Deserialize)]
pub(super) struct Conf {
    /// Of the network.
    pub(super) name: String,
    /// How to reach the API.
    pub(super) kubeconfig: String,
    /// The Node's interface on the external network.
    pub(super) external: String,
    /// Of the first interface.
    pub(super) mtu: u32,
}
