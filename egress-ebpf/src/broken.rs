//! Faults that tests must notice. All off, unless the object was built to be broken (docs/testing.md).

/// Changed addresses do not reach the checksum of TCP, UDP and ICMPv6.
pub(crate) const CHECKSUM: bool = cfg!(feature = "broken-checksum");
/// A port that another flow has may be taken.
pub(crate) const CLAIM: bool = cfg!(feature = "broken-claim");
/// The guard lets everything pass.
pub(crate) const GUARD: bool = cfg!(feature = "broken-guard");
/// Every next hop is the Subnet's gateway, whatever the routes say.
pub(crate) const HOP: bool = cfg!(feature = "broken-hop");
/// XDP goes on finding halves that were removed.
pub(crate) const SHORTCUT: bool = cfg!(feature = "broken-shortcut");
