//! Every test that needs root, in one binary; a module per topic.
//!
//! A test begins with `if skip(&[Need::Root, …]) { return Ok(()); }`, builds its own lab and returns errors with `?`.

mod lab;
mod protocols;
