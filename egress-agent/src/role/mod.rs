//! What the binary does in each of its roles: wiring only.

pub mod controller;
pub mod files;
pub mod flow_log;
pub mod gateway;
pub mod place;
pub mod reporter;
pub mod running;
pub mod status;
pub mod takeover;
pub mod xdp;
