//! Addresses of a Subnet, given out one per family.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::objects::Subnet;

/// Who has which address of which Subnet; owners are Pods' UIDs.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    used: BTreeMap<(String, IpAddr), String>,
    /// Where the search for the next free one begins: an address that was given back rests for a while.
    next: BTreeMap<(String, IpNet), u128>,
}

impl Addresses {
    /// Takes addresses for `owner`: the first of `wanted` (each one address per family) that is free, or if none are wanted the next free ones.
    pub(super) fn take(&mut self, subnet: &Subnet, owner: &str, wanted: &[Vec<IpAddr>]) -> Option<Vec<IpAddr>> {
        let found = if wanted.is_empty() {
            subnet.networks.iter().map(|network| self.next_free(subnet, *network)).collect::<Option<Vec<_>>>()?
        } else {
            let usable = |addresses: &&Vec<IpAddr>| addresses.iter().all(|it| self.is_usable(subnet, *it, owner));
            wanted.iter().find(usable)?.clone()
        };
        for address in &found {
            self.used.insert((subnet.name.clone(), *address), owner.to_owned());
        }
        Some(found)
    }

    /// Gives back everything of an owner.
    pub(super) fn release(&mut self, owner: &str) {
        self.used.retain(|_, it| it != owner);
    }

    fn is_usable(&self, subnet: &Subnet, address: IpAddr, owner: &str) -> bool {
        let holder = self.used.get(&(subnet.name.clone(), address));
        holder.is_none_or(|holder| holder == owner) && !subnet.gateways.contains(&address)
    }

    fn next_free(&mut self, subnet: &Subnet, network: IpNet) -> Option<IpAddr> {
        // Not the network's address nor the broadcast address.
        let size = (1_u128 << (u32::from(network.max_prefix_len() - network.prefix_len())).min(20)) - 2;
        let start = self.next.get(&(subnet.name.clone(), network)).copied().unwrap_or(0);
        let offset = (0..size).map(|step| (start + step) % size).find(|offset| {
            let address = nth(network, offset + 1);
            self.is_usable(subnet, address, "") && !subnet.excludes(address)
        })?;
        self.next.insert((subnet.name.clone(), network), offset + 1);
        Some(nth(network, offset + 1))
    }
}

fn nth(network: IpNet, offset: u128) -> IpAddr {
    match network.network() {
        // The offset is below 2^20.
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + offset as u32).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + offset).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet() -> Subnet {
        let spec = serde_json::json!({
            "cidrBlock": "10.16.0.0/29,fd00::/112", "gateway": "10.16.0.1,fd00::1", "excludeIps": ["10.16.0.2..10.16.0.3", "fd00::2"],
        });
        Subnet::read("s", &spec).unwrap()
    }

    fn text(addresses: Option<Vec<IpAddr>>) -> String {
        addresses
            .map_or_else(|| "none".to_owned(), |it| it.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn one_of_each_family_and_none_twice_until_the_subnet_is_full() {
        let (mut addresses, subnet) = (Addresses::default(), subnet());
        let mut take = |owner: &str| text(addresses.take(&subnet, owner, &[]));
        assert_eq!(
            ["a", "b", "c", "d"].map(&mut take),
            ["10.16.0.4,fd00::3", "10.16.0.5,fd00::4", "10.16.0.6,fd00::5", "none"]
        );
        addresses.release("b");
        assert_eq!(text(addresses.take(&subnet, "d", &[])), "10.16.0.5,fd00::6");
    }

    #[test]
    fn of_a_list_the_first_that_is_free_and_excluded_ones_may_be_wanted() {
        let (mut addresses, subnet) = (Addresses::default(), subnet());
        let pool: Vec<Vec<IpAddr>> = ["10.16.0.2", "10.16.0.3"].map(|it| vec![it.parse().unwrap()]).into();
        assert_eq!(text(addresses.take(&subnet, "a", &pool)), "10.16.0.2");
        assert_eq!(text(addresses.take(&subnet, "b", &pool)), "10.16.0.3");
        assert_eq!(text(addresses.take(&subnet, "c", &pool)), "none");
        assert_eq!(text(addresses.take(&subnet, "a", &pool)), "10.16.0.2");
    }
}
