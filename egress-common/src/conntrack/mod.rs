//! What state a flow is in, and how it ends.
//!
//! Each half of a flow only collects what its own direction showed; the state is derived from both. So an established packet
//! touches one entry, and no update has to be carried from one half to the other.

pub mod removal;
pub mod state;
pub mod stray;
