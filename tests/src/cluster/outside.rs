//! The host outside: says by HTTP and UDP whom it sees.

use std::net::IpAddr;
use std::thread;

use anyhow::Result;

use super::layout::MANY_OUTSIDE;
use crate::lab::addresses::{ROUTER, SERVER};

/// Serves on all of its addresses; returns only with an error.
pub fn serve() -> Result<()> {
    thread::spawn(|| egress_test_pod::serve(egress_test_pod::HTTP, "outside"));
    egress_test_pod::echo(&addresses(), egress_test_pod::ECHO)
}

fn addresses() -> Vec<IpAddr> {
    let few = [ROUTER, SERVER].into_iter().flat_map(|(v4, v6)| [IpAddr::V4(v4), IpAddr::V6(v6)]);
    let many = (1..=MANY_OUTSIDE).flat_map(|number| {
        let v6 = [0xfd00, 0x172, 0x17, 0, 0, 0, 0, 0x100 + u16::from(number)];
        [IpAddr::from([172, 17, 1, number]), IpAddr::from(v6)]
    });
    few.chain(many).collect()
}
