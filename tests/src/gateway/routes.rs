//! Forwarding, routes and rules of the documentation's gateway, as Kube-OVN makes them with `ip`.

use std::net::IpAddr;

use anyhow::Result;

use crate::lab::addresses::{GATEWAY_INSIDE, GATEWAY_OUTSIDE, OVERLAY_ROUTER};
use crate::{Family, Lab};

/// What was said to the gateway's eth0 leaves by net1, and the other way round.
pub(crate) fn forward(lab: &Lab) -> Result<()> {
    let ns = &lab.gateway.ns;
    ns.sysctl(&[
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/eth0/rp_filter", "0"),
    ])?;
    for family in &lab.config.families {
        let ip = if *family == Family::V4 { "ip -4 -batch -" } else { "ip -6 -batch -" };
        ns.feed(ip, &rules(*family))?;
    }
    Ok(())
}

fn rules(family: Family) -> String {
    let pick = |(v4, v6): (_, _)| match family {
        Family::V4 => IpAddr::V4(v4),
        Family::V6 => IpAddr::V6(v6),
    };
    format!(
        "route replace default via {} dev eth0 table 1000\n\
         rule add priority 1001 iif eth0 lookup default\n\
         rule add priority 1002 iif net1 lookup 1000\n\
         rule add priority 1003 iif lo from {} lookup 1000\n\
         rule add priority 1004 iif lo from {} lookup default\n",
        pick(OVERLAY_ROUTER),
        pick(GATEWAY_INSIDE),
        pick(GATEWAY_OUTSIDE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_seed_000() {
        let rules = rules(Family::V4);
        assert!(rules.contains("route replace default via 10.16.0.1 dev eth0 table 1000\n"));
        assert!(rules.contains("rule add priority 1003 iif lo from 10.16.0.12 lookup 1000\n"));
        assert!(rules.contains("rule add priority 1004 iif lo from 172.17.0.11 lookup default\n"));
    }
}
