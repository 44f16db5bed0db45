//! The baseline: the documentation's gateway as Kube-OVN makes it with `ip` and `iptables`.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;

use super::Gateway;
use crate::lab::addresses::{GATEWAY_INSIDE, GATEWAY_OUTSIDE, OVERLAY_ROUTER};
use crate::{Family, Lab};

/// The gateway with the kernel's NAT. Its rules end with the lab.
#[derive(Debug)]
pub struct KernelGateway {
    families: Vec<Family>,
}

impl KernelGateway {
    /// Sets it up; `no_snat` are the CIDRs of `snat: false` policies.
    pub fn start(lab: &Lab, no_snat: &[IpNet]) -> Result<Self> {
        let ns = &lab.gateway.ns;
        ns.sysctl(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/eth0/rp_filter", "0"),
        ])?;
        for family in &lab.config.families {
            let (ip, restore) = tools(*family);
            ns.feed(&format!("{ip} -batch -"), &rules(*family))?;
            ns.feed(restore, &nat_table(*family, no_snat))?;
        }
        Ok(Self { families: lab.config.families.clone() })
    }

    /// Takes the translation away and leaves the routing: what leaves now has inside addresses.
    pub fn stop_translating(&self, lab: &Lab) -> Result<()> {
        for family in &self.families {
            let (_, restore) = tools(*family);
            lab.gateway.ns.feed(restore, "*nat\nCOMMIT\n")?;
        }
        Ok(())
    }
}

impl Gateway for KernelGateway {
    fn label(&self) -> &'static str {
        "iptables"
    }
}

const fn tools(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("ip -4", "iptables-restore"),
        Family::V6 => ("ip -6", "ip6tables-restore"),
    }
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

fn nat_table(family: Family, no_snat: &[IpNet]) -> String {
    let exceptions: String = no_snat
        .iter()
        .filter(|it| Family::of(it.addr()) == family)
        .map(|it| format!("-A POSTROUTING -d {it} -j RETURN\n-A POSTROUTING -s {it} -j RETURN\n"))
        .collect();
    format!(
        "*nat\n\
         :VEG-MASQUERADE - [0:0]\n\
         -A PREROUTING -i eth0 -j MARK --set-xmark 0x4000/0x4000\n\
         {exceptions}\
         -A POSTROUTING -j VEG-MASQUERADE\n\
         -A VEG-MASQUERADE -j MARK --set-xmark 0x0/0xffffffff\n\
         -A VEG-MASQUERADE -j MASQUERADE --random-fully\n\
         COMMIT\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::addresses::no_snat_networks;

    #[test]
    fn the_rules_of_seed_000() {
        let rules = rules(Family::V4);
        assert!(rules.contains("route replace default via 10.16.0.1 dev eth0 table 1000\n"));
        assert!(rules.contains("rule add priority 1003 iif lo from 10.16.0.12 lookup 1000\n"));
        assert!(rules.contains("rule add priority 1004 iif lo from 172.17.0.11 lookup default\n"));
    }

    #[test]
    fn exceptions_stand_before_the_translation_and_in_their_family_only() {
        let table = nat_table(Family::V4, &no_snat_networks());
        let exception = table.find("-A POSTROUTING -s 10.18.0.0/16 -j RETURN").unwrap();
        assert!(exception < table.find("-A POSTROUTING -j VEG-MASQUERADE").unwrap());
        assert!(!table.contains("fd00"));
    }
}
