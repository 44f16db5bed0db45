//! By hand, what steers Pods to a gateway: the rows of OVN that a controller of VpcEgressGateways writes, with Kube-OVN's names and priorities.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::gateway::Gateway;
use super::{Cluster, output};

/// Policies of egress gateways go before those of Nodes.
const PRIORITY: &str = "29100";
const ROUTER: &str = "ovn-cluster";

/// Who is steered; taken away on drop.
#[derive(Debug)]
pub struct Steering<'a> {
    gateway: Gateway<'a>,
    /// Of their ports: `<pod>.<namespace>`.
    ports: Vec<String>,
    networks: Vec<IpNet>,
}

impl<'a> Steering<'a> {
    /// Pods (`namespace/name`) and networks that leave by the gateway once [`Self::by_ready_pods`] was called.
    pub fn of(gateway: &Gateway<'a>, pods: &[&str], networks: &[&str]) -> Result<Self> {
        let port = |pod: &&str| pod.split_once('/').map(|(namespace, name)| format!("{name}.{namespace}"));
        let ports = pods.iter().map(port).collect::<Option<_>>().context("pods as namespace/name")?;
        let networks = networks.iter().map(|it| it.parse()).collect::<Result<_, _>>().context("networks")?;
        Ok(Self { gateway: gateway.clone(), ports, networks })
    }

    /// Steers to every ready Pod of the gateway, in the families of its external addresses.
    pub fn by_ready_pods(&self) -> Result<Vec<IpAddr>> {
        let outside = self.gateway.object()?["status"]["externalIPs"].to_string();
        let served = |ip: &IpAddr| if ip.is_ipv4() { outside.contains('.') } else { outside.contains(':') };
        let pods = self.gateway.pods()?.into_iter().filter(|pod| pod.ready && !pod.ending);
        let mut hops: Vec<IpAddr> = pods.flat_map(|pod| pod.internal).filter(served).collect();
        hops.sort();
        self.by(&hops)?;
        Ok(hops)
    }

    /// Steers to these addresses.
    pub fn by(&self, hops: &[IpAddr]) -> Result<()> {
        ensure!(!hops.is_empty(), "{} has no Pod to steer to", self.gateway.key());
        let mut words = rows_gone(&self.gateway.key());
        words.extend(rows(&self.gateway.key(), &self.ports, &self.networks, hops));
        nbctl(self.gateway.cluster(), &words)
    }
}

impl Drop for Steering<'_> {
    fn drop(&mut self) {
        if let Err(error) = nbctl(self.gateway.cluster(), &rows_gone(&self.gateway.key())) {
            eprintln!("{error:#}");
        }
    }
}

fn nbctl(cluster: &Cluster, words: &[String]) -> Result<()> {
    output(cluster.nbctl()?.arg("--wait=sb").args(words)).map(drop)
}

/// `VEG.<start of a hash>`.
fn group(key: &str) -> String {
    let hash = Sha256::digest(key.as_bytes());
    hash[..6].iter().fold("VEG.".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// The two policies of a family: Pods, networks.
fn matches(group: &str, version: u8) -> [String; 2] {
    [format!("ip{version}.src == ${group}_ip{version}"), format!("ip{version}.src == ${group}.ipv{version}")]
}

fn rows_gone(key: &str) -> Vec<String> {
    let group = group(key);
    let mut words = Vec::new();
    let mut add = |line: &[&str]| words.extend(["--"].iter().chain(line).map(ToString::to_string));
    for version in [4, 6] {
        for matched in matches(&group, version) {
            add(&["--if-exists", "lr-policy-del", ROUTER, PRIORITY, &matched]);
        }
        add(&["--if-exists", "destroy", "address_set", &format!("{group}.ipv{version}")]);
    }
    add(&["--if-exists", "destroy", "port_group", &group]);
    words
}

fn rows(key: &str, ports: &[String], networks: &[IpNet], hops: &[IpAddr]) -> Vec<String> {
    let group = group(key);
    let ids = ["external_ids:vendor=kube-ovn".to_owned(), format!("external_ids:vpc-egress-gateway=\"{key}\"")];
    let quoted = |texts: Vec<String>| texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(",");
    let mut words = Vec::new();
    let mut add = |line: &[&str]| words.extend(["--"].iter().chain(line).map(ToString::to_string));
    let members: Vec<&str> = ports.iter().map(String::as_str).collect();
    add(&[&["pg-add", &*group], &*members].concat());
    add(&["set", "port_group", &group, &ids[0], &ids[1]]);
    for version in [4, 6] {
        let of_family = |v4: bool| v4 == (version == 4);
        let hops: Vec<_> = hops.iter().filter(|it| of_family(it.is_ipv4())).map(ToString::to_string).collect();
        if hops.is_empty() {
            continue;
        }
        let af = format!("external_ids:af=\"{version}\"");
        let networks = networks.iter().filter(|it| of_family(it.addr().is_ipv4())).map(ToString::to_string).collect();
        let addresses = format!("addresses=[{}]", quoted(networks));
        add(&["create", "address_set", &format!("name={group}.ipv{version}"), &addresses, &ids[0], &ids[1], &af]);
        let hops = format!("nexthops=[{}]", quoted(hops));
        for (number, matched) in matches(&group, version).iter().enumerate() {
            let id = format!("p{version}_{number}");
            let (priority, matched) = (format!("priority={PRIORITY}"), format!("match=\"{matched}\""));
            add(&[
                &format!("--id=@{id}"),
                "create",
                "logical_router_policy",
                &priority,
                &matched,
                "action=reroute",
                &hops,
                &ids[0],
                &ids[1],
                &af,
            ]);
            add(&["add", "logical_router", ROUTER, "policies", &format!("@{id}")]);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_policies_are_those_of_kube_ovn() {
        let networks = ["10.17.0.0/16".parse().unwrap(), "fd00:10:17::/112".parse().unwrap()];
        let hops = ["10.16.0.12".parse().unwrap(), "10.16.0.13".parse().unwrap()];
        let text = rows("default/gateway1", &["client1.ns1".to_owned()], &networks, &hops).join(" ");
        for wanted in [
            "-- pg-add VEG.8ca38ae7da18 client1.ns1 --",
            "name=VEG.8ca38ae7da18.ipv4 addresses=[\"10.17.0.0/16\"]",
            "priority=29100 match=\"ip4.src == $VEG.8ca38ae7da18_ip4\" action=reroute nexthops=[\"10.16.0.12\",\"10.16.0.13\"]",
            "match=\"ip4.src == $VEG.8ca38ae7da18.ipv4\"",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in {text}");
        }
        assert!(!text.contains("ip6"), "no next hop of IPv6: {text}");
    }
}
