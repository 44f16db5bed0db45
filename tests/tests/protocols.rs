//! Every protocol and family through the wire, and what `flows` says about it.

mod compare;
mod everything;
mod lite;
mod options;
mod queries;
mod raw;
mod sctp;
mod states;
mod zero;

pub(crate) use self::compare::{ensure_flows_tell_what_passed, ensure_ttl_lowered_once};
