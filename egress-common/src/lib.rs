//! The egress gateway's NAT, written once: the BPF programs, host tests and the agent compile this same source.
//!
//! - [`abi`]: map keys, values and events, the only contract between kernel and user space
//! - [`packet`]: reading and changing a packet behind the [`packet::Packet`] trait
//! - [`nat`]: ports, the claim protocol, the rewrite
//! - [`conntrack`]: what state a flow is in, when it ends, how its two halves are removed
//! - [`delivery`]: how a packet leaves the gateway
//! - [`fragment`]: the datagrams whose fragments pass
//! - [`answer`]: ICMP errors that the gateway sends itself
//! - [`reset`]: TCP RST that it sends itself
//! - [`ecmp`]: keyed hash and rendezvous choice of the egress address
//! - [`policy`]: who is translated
//! - [`verdict`]: every reason for which a packet is dropped, every counter
#![no_std]

pub mod abi;
pub mod answer;
pub mod conntrack;
pub mod delivery;
pub mod ecmp;
pub mod fragment;
pub mod nat;
pub mod packet;
pub mod policy;
pub mod reset;
pub mod verdict;

#[cfg(test)]
extern crate std;

#[cfg(test)]
mod testing;
