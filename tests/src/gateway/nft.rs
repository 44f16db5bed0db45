//! The kernel's NAT again, by nftables: what our datapath is compared with.

use anyhow::Result;
use ipnet::IpNet;

use super::{Gateway, routes};
use crate::{Family, Lab};

/// A gateway with nftables' `masquerade`. Its rules end with the lab.
#[derive(Debug)]
pub struct NftGateway;

impl NftGateway {
    /// Sets it up; `no_snat` are the CIDRs of `snat: false` policies.
    pub fn start(lab: &Lab, no_snat: &[IpNet]) -> Result<Self> {
        Self::with(lab, no_snat, "masquerade fully-random")
    }

    /// The same for TCP and UDP alone, with ports from this one on.
    pub fn start_from(lab: &Lab, no_snat: &[IpNet], port: u16) -> Result<Self> {
        Self::with(lab, no_snat, &format!("meta l4proto {{ tcp, udp }} masquerade to :{port}-65535 fully-random"))
    }

    fn with(lab: &Lab, no_snat: &[IpNet], translate: &str) -> Result<Self> {
        routes::forward(lab)?;
        lab.gateway.ns.feed("nft -f -", &ruleset(no_snat, translate))?;
        // Windows are the receiver's business, and so are checksums: a NAT updates them, right or wrong.
        lab.gateway.ns.sysctl(&[
            ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
            ("net/netfilter/nf_conntrack_checksum", "0"),
        ])?;
        Ok(Self)
    }
}

impl Gateway for NftGateway {
    fn label(&self) -> &'static str {
        "nftables"
    }
}

/// Invalid packets pass `masquerade` by, so they may not be forwarded.
fn ruleset(no_snat: &[IpNet], translate: &str) -> String {
    let exceptions: String = no_snat
        .iter()
        .map(|it| {
            let ip = if Family::of(it.addr()) == Family::V4 { "ip" } else { "ip6" };
            format!("{ip} daddr {it} return\n{ip} saddr {it} return\n")
        })
        .collect();
    format!(
        "table inet veg {{\n\
         chain prerouting {{\n\
         type filter hook prerouting priority mangle\n\
         iifname eth0 meta mark set meta mark | 0x4000\n\
         }}\n\
         chain forward {{\n\
         type filter hook forward priority filter\n\
         ct state invalid drop\n\
         }}\n\
         chain postrouting {{\n\
         type nat hook postrouting priority srcnat\n\
         oifname net1 meta mark & 0x4000 == 0x4000 jump translate\n\
         }}\n\
         chain translate {{\n\
         {exceptions}\
         meta mark set 0\n\
         {translate}\n\
         }}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::addresses::no_snat_networks;

    #[test]
    fn exceptions_stand_before_the_translation() {
        let rules = ruleset(&no_snat_networks(), "masquerade");
        let exception = rules.find("ip6 saddr fd00:10:18::/112 return").unwrap();
        assert!(exception < rules.find("masquerade").unwrap());
    }
}
