//! Many gateways and Pods, as `cargo xtask cluster scale` has them, fewer of them.

use std::time::Duration;

use anyhow::Result;
use egress_tests::cluster::Parts;
use egress_tests::cluster::scale::{Size, run};

use super::skip_api;

#[test]
fn a_change_is_quick_and_nothing_is_asked_without_one() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    run(Parts::find()?, Size { gateways: 20, pods: 200, rest: Duration::from_secs(2), idle: Duration::from_secs(3) })
}
