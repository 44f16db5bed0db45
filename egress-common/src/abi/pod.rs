//! The map types are plain old data: any bytes are a value, and no byte is padding.

use aya::Pod;

use super::{
    config::Config,
    event::Event,
    family::{Addr6, V4, V6},
    flow::{FlowKey, FlowValue},
    shortcut::Shortcut,
    usage::{Cell, Pace},
};
use crate::verdict::{Counters, Drops};

// SAFETY: repr(C), only integers and arrays of integers, sizes asserted to leave no padding.
unsafe impl Pod for FlowKey<[u8; 4]> {}
// SAFETY: as above.
unsafe impl Pod for FlowKey<Addr6> {}
// SAFETY: as above.
unsafe impl Pod for FlowValue<V4> {}
// SAFETY: as above.
unsafe impl Pod for FlowValue<V6> {}
// SAFETY: as above.
unsafe impl Pod for Shortcut<V4> {}
// SAFETY: as above.
unsafe impl Pod for Shortcut<V6> {}
// SAFETY: as above.
unsafe impl Pod for Config {}
// SAFETY: as above.
unsafe impl Pod for Event {}
// SAFETY: as above.
unsafe impl Pod for Cell {}
// SAFETY: as above.
unsafe impl Pod for Pace {}
// SAFETY: as above.
unsafe impl Pod for Drops {}
// SAFETY: as above.
unsafe impl Pod for Counters {}
