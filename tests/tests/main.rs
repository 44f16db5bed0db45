//! Every test that needs root, in one binary; a module per topic.
//!
//! A test begins with `if skip(&[Need::Root, …]) { return Ok(()); }`, builds its own lab and returns errors with `?`.

mod addresses;
mod allocation;
mod bench;
mod bpftool;
mod capabilities;
mod churn;
mod commands;
mod conformance;
#[cfg(feature = "kernels")]
mod devices;
mod differential;
mod errors;
mod events;
mod expiry;
mod forwarding;
mod fragments;
mod gateways;
mod golden;
mod guard;
mod lab;
mod limits;
mod load;
mod midflow;
mod own;
mod path_mtu;
mod policy;
mod pressure;
mod protocols;
mod quotes;
mod refusals;
mod restart;
mod rig;
mod sweep;
mod takeover;
mod talk;
mod traceroute;
mod untranslated;
mod upgrade;
mod wire;
mod xdp;
