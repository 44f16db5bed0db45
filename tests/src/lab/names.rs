//! Names of interfaces in the node.

/// The node's end of the gateway's eth0, a port of the bridge `overlay`.
pub const INTERNAL_PORT: &str = "gw-inside";
/// The node's end of the gateway's net1 (or of the NIC under its macvlan), a port of the bridge `external`.
pub const EXTERNAL_PORT: &str = "gw-outside";
/// The NIC that a macvlan net1 sits on.
pub(super) const NIC: &str = "nic";
