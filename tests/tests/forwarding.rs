//! How packets leave the gateway: modes, attachment, super-packets, next hops and routes.

mod bulk;
mod clsact;
mod modes;
mod next_hop;
mod routes;
