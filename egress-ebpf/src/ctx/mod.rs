//! What carries a packet.

pub(crate) mod copied;
pub(crate) mod skb;
pub(crate) mod xdp;
