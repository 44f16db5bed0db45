//! From manifests and the state of the interfaces to what a gateway shall do. Pure: no clock, no randomness, no I/O but
//! [`read`].
//!
//! ```text
//! files ── read ─→ (name, text) ── manifest ─→ Objects ─┐
//! interfaces (crate::net) ───────────────────→ Observed ─┼─ plan ─→ Desired, or every mistake at once
//! command line ──────────────────────────────→ Flags    ─┘
//! ```
//!
//! An API watch fills [`Objects`] itself and calls the same [`plan`]. A mistake is an error, never a guess; what is no
//! mistake but worth knowing, such as a field of a VpcEgressGateway that is not served yet, is a warning in [`Desired`].
//! Fields that say where and how gateway Pods run (`replicas`, `prefix`, `image`, `nodeSelector`, `tolerations`,
//! `podAntiAffinity`, `resources`) mean nothing to a gateway that runs already and are passed over.

pub(crate) mod addr;
pub mod desired;
mod documents;
pub mod manifest;
mod mistyped;
pub mod objects;
pub mod observed;
pub(crate) mod plan;
pub mod profile;
pub mod read;
pub mod report;

#[cfg(test)]
pub(crate) mod tests;

pub use desired::{Desired, Side};
pub use manifest::{Source, parse, parse_for_api};
pub use objects::{Located, Objects};
pub use observed::{Address, Link, Observed};
pub use plan::{Flags, plan};
pub use profile::Profile;
pub use report::{Origin, Problem, SpecErrors};
