//! The baseline: the documentation's gateway as Kube-OVN makes it with `ip` and `iptables`.

use anyhow::Result;
use ipnet::IpNet;

use super::{Gateway, routes};
use crate::{Family, Lab};

/// The gateway with the kernel's NAT. Its rules end with the lab.
#[derive(Debug)]
pub struct KernelGateway {
    families: Vec<Family>,
}

impl KernelGateway {
    /// Sets it up; `no_snat` are the CIDRs of `snat: false` policies.
    pub fn start(lab: &Lab, no_snat: &[IpNet]) -> Result<Self> {
        Self::set_up(lab, no_snat, restore)
    }

    /// With the tables of the old iptables, whatever `iptables` is here. The kernel may have none.
    pub fn legacy(lab: &Lab, no_snat: &[IpNet]) -> Result<Self> {
        Self::set_up(lab, no_snat, |family| match family {
            Family::V4 => "iptables-legacy-restore",
            Family::V6 => "ip6tables-legacy-restore",
        })
    }

    fn set_up(lab: &Lab, no_snat: &[IpNet], restore: impl Fn(Family) -> &'static str) -> Result<Self> {
        let ns = &lab.gateway.ns;
        routes::forward(lab)?;
        for family in &lab.config.families {
            ns.feed(restore(*family), &nat_table(*family, no_snat))?;
        }
        Ok(Self { families: lab.config.families.clone() })
    }

    /// Takes the translation away and leaves the routing: what leaves now has inside addresses.
    pub fn stop_translating(&self, lab: &Lab) -> Result<()> {
        for family in &self.families {
            lab.gateway.ns.feed(restore(*family), "*nat\nCOMMIT\n")?;
        }
        Ok(())
    }
}

impl Gateway for KernelGateway {
    fn label(&self) -> &'static str {
        "iptables"
    }
}

const fn restore(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    }
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
    fn exceptions_stand_before_the_translation_and_in_their_family_only() {
        let table = nat_table(Family::V4, &no_snat_networks());
        let exception = table.find("-A POSTROUTING -s 10.18.0.0/16 -j RETURN").unwrap();
        assert!(exception < table.find("-A POSTROUTING -j VEG-MASQUERADE").unwrap());
        assert!(!table.contains("fd00"));
    }
}
