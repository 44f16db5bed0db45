//! Translation: where a new flow's port comes from, how it is claimed, how a packet or the packet that an ICMP error quotes
//! is rewritten.

pub mod carry;
pub mod claim;
pub mod fair;
pub mod port;
pub mod prepared;
pub mod relay;
pub mod rewrite;
pub mod store;
