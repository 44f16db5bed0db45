//! Nothing of the inside leaves net1, whatever the packet.

mod frames;
mod kernel;
mod odd;
mod outside;
mod vlan;
