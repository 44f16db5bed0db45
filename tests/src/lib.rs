//! The namespace lab: a small cluster and an external network on one machine, traffic through them, and eyes on the wire.
//!
//! A test builds a [`lab::Lab`], starts a gateway in it ([`gateway::KernelGateway`] or [`gateway::Agent`]), sends traffic
//! with [`traffic`], watches with [`capture`] and asks [`oracle`] and [`packet::checksum`] what was wrong. Everything a lab
//! makes carries the maker's process in its name and is removed when the lab is dropped, when the process is interrupted,
//! and, if it was killed, by the next process that makes a lab.

pub mod bench;
pub mod capture;
pub mod cluster;
pub mod demo;
pub mod gateway;
pub mod generator;
pub mod image;
pub mod lab;
pub mod oracle;
pub mod packet;
pub mod skip;
pub mod soak;
pub mod system;
pub mod testrun;
pub mod traffic;

mod raw;
mod spread;
mod wait;

pub use lab::{Family, Host, Lab, LabConfig};
pub use skip::{Need, skip};
pub use wait::eventually;
