//! The agent of the egress gateway.
//!
//! - [`cli`]: the command line, and the commands that look at a gateway
//! - [`role`]: wiring; the only module that knows all others
//! - [`spec`]: manifests and interfaces in, desired state out; pure
//! - [`datapath`]: the BPF programs and their maps
//! - [`net`]: the kernel's network: links, routes, rules, sysctls, namespaces
//! - [`k8s`]: the API types that manifests hold
//! - [`controller`]: what objects a VpcEgressGateway needs in a cluster; pure

pub mod cli;
pub mod controller;
pub mod datapath;
pub mod k8s;
pub mod net;
pub mod role;
pub mod spec;
