//! Every test that needs root, in one binary; a module per topic.
//!
//! A test begins with `if skip(&[Need::Root, …]) { return Ok(()); }`, builds its own lab and returns errors with `?`.

mod forwarding;
mod guard;
mod lab;
mod limits;
mod own;
mod protocols;
mod policy;
mod rig;
mod wire;
