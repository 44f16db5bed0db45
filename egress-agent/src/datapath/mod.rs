//! The BPF side: loading and attaching the programs, typed access to their maps.
//!
//! `load` and `attach` bring programs up, `xdp` those in front of them, `pins` says where they are found again, `alive` whether their
//! namespace is still there, `tables` opens the maps (with or without a
//! running agent), `settings` and `policy` bring the maps in line with a [`crate::spec::desired::Desired`], `flows`,
//! `expire`, `stats`, `top` and `audit` read them, `pace` says how often. `events` takes what the programs report, `journal` puts
//! it into words. `layout` says what lies where in the maps, and `old` and `upgrade` take over the flows of a build where it
//! lies elsewhere.

pub mod alive;
pub mod attach;
pub mod audit;
pub mod events;
pub mod expire;
pub mod flows;
pub mod foreign;
pub mod import;
pub mod journal;
pub mod layout;
pub mod load;
pub mod old;
pub mod pace;
pub mod pins;
pub mod policy;
pub mod probe;
pub mod settings;
pub mod shortcuts;
pub mod size;
pub mod stats;
pub mod sys;
pub mod tables;
pub mod top;
pub mod upgrade;
pub mod xdp;

use egress_common::abi::config::Config;
use nix::time::{ClockId, clock_gettime};

/// The datapath's clock in nanoseconds: `CLOCK_BOOTTIME` moved by the configuration's offset.
#[must_use]
pub fn now_ns(config: &Config) -> u64 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_BOOTTIME) else { return 0 };
    let ns = time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs();
    ns.wrapping_add(config.clock_offset_ns)
}

/// The same in seconds.
#[must_use]
pub fn now(config: &Config) -> u32 {
    u32::try_from(now_ns(config) / 1_000_000_000).unwrap_or(u32::MAX)
}
