//! Choosing by hash: which egress address a Pod has, where the search for a port begins.

pub mod hash;
pub mod rendezvous;
