//! Address families, and addresses as Kube-OVN writes them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::{Index, IndexMut},
};

use ipnet::IpNet;

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) const fn of(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) const fn of_net(net: IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V4 { "IPv4" } else { "IPv6" })
    }
}

/// One value per family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dual<T> {
    v4: T,
    v6: T,
}

impl<T> Dual<T> {
    pub(crate) fn new(mut value: impl FnMut(Family) -> T) -> Self {
        Self { v4: value(Family::V4), v6: value(Family::V6) }
    }
}

impl<T> Index<Family> for Dual<T> {
    type Output = T;

    fn index(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl<T> IndexMut<Family> for Dual<T> {
    fn index_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// A CIDR; host bits are cut off, as Go's `net.ParseCIDR` does.
pub(crate) fn cidr(text: &str) -> Result<IpNet, String> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Err(format!("{text:?} has no prefix length; write {}", IpNet::from(addr)));
    }
    match text.parse::<IpNet>() {
        Ok(net) => Ok(net.trunc()),
        Err(_) => Err(format!("{text:?} is no CIDR; write it as 10.18.0.0/16 or fd00:10:18::/112")),
    }
}

/// An address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IP address; write it as 172.17.0.11 or fd00::11"))
}

/// `v4`, `v6` or `v4,v6`, in either order.
pub(crate) fn dual<T: Copy>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
    family: impl Fn(T) -> Family,
) -> Result<Dual<Option<T>>, String> {
    let mut values: Dual<Option<T>> = Dual::default();
    for part in text.split(',').map(str::trim) {
        let value = parse(part)?;
        if values[family(value)].replace(value).is_some() {
            return Err(format!("{text:?} names {} twice; write one of each family at most", family(value)));
        }
    }
    Ok(values)
}

/// The address that Kube-OVN gives the gateway of a Subnet that names none: the first one after the network's own, in a
/// point-to-point network (/31, /127) and below the network's own.
pub(crate) fn first_host(net: IpNet) -> IpAddr {
    let step = u8::from(net.max_prefix_len() - net.prefix_len() > 1);
    match net {
        IpNet::V4(net) => Ipv4Addr::from_bits(net.network().to_bits() | u32::from(step)).into(),
        IpNet::V6(net) => Ipv6Addr::from_bits(net.network().to_bits() | u128::from(step)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cut_off() {
        assert_eq!(cidr("10.30.1.5/16").unwrap().to_string(), "10.30.0.0/16");
        assert_eq!(cidr("fd00:10:18::1/112").unwrap().to_string(), "fd00:10:18::/112");
    }

    #[test]
    fn no_cidr() {
        for (text, want) in [
            ("192.0.2.7", "\"192.0.2.7\" has no prefix length; write 192.0.2.7/32"),
            ("fd00::7", "\"fd00::7\" has no prefix length; write fd00::7/128"),
            ("10.0.0.0/33", "\"10.0.0.0/33\" is no CIDR"),
            ("fd00::/129", "\"fd00::/129\" is no CIDR"),
            ("10.0.0.1-10.0.0.5", "\"10.0.0.1-10.0.0.5\" is no CIDR"),
            ("10.0.0.0/", "\"10.0.0.0/\" is no CIDR"),
            (" 10.0.0.0/8", "\" 10.0.0.0/8\" is no CIDR"),
            ("", "\"\" is no CIDR"),
        ] {
            let reason = cidr(text).unwrap_err();
            assert!(reason.starts_with(want), "{text}: {reason}");
        }
    }

    #[test]
    fn two_families_in_one_text() {
        let nets = dual("10.16.0.0/16, fd00:10:16::/112", cidr, Family::of_net).unwrap();
        assert_eq!(nets[Family::V4], Some("10.16.0.0/16".parse().unwrap()));
        assert_eq!(nets[Family::V6], Some("fd00:10:16::/112".parse().unwrap()));
        let one = dual("fd00::1", ip, Family::of).unwrap();
        assert_eq!((one[Family::V4], one[Family::V6]), (None, Some("fd00::1".parse().unwrap())));
        assert!(dual("10.0.0.1,10.0.0.2", ip, Family::of).unwrap_err().contains("names IPv4 twice"));
        assert!(dual("", ip, Family::of).is_err());
    }

    #[test]
    fn first_hosts() {
        for (net, want) in [
            ("192.168.0.0/24", "192.168.0.1"),
            ("10.0.0.4/31", "10.0.0.4"),
            ("10.0.0.4/32", "10.0.0.4"),
            ("0.0.0.0/0", "0.0.0.1"),
            ("fd00::/64", "fd00::1"),
            ("fd00::/127", "fd00::"),
        ] {
            assert_eq!(first_host(net.parse().unwrap()), want.parse::<IpAddr>().unwrap(), "{net}");
        }
    }
}
