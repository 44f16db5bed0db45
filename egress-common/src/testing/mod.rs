//! What tests of several modules need: frames built from scratch, a flow table in plain memory, actors that take turns on it.

pub(crate) mod actors;
pub(crate) mod frame;
pub(crate) mod headers;
pub(crate) mod protocols;
pub(crate) mod table;
pub(crate) mod watched;
