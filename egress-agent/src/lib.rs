//! The agent of the egress gateway. `role` wires the modules together and is the only one that knows all of them.

pub mod k8s;
pub mod net;
pub mod spec;
