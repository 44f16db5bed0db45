//! What carries a packet.

pub(crate) mod skb;
