//! Translation: where a new flow's port comes from, how it is claimed, how a packet is rewritten.

pub mod claim;
pub mod port;
pub mod rewrite;
pub mod store;
