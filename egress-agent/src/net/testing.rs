//! A gateway as in Kube-OVN's documentation, dual-stack, for the tests of this module.

use std::{collections::BTreeSet, net::IpAddr};

use crate::spec::{
    desired::{Desired, Side},
    observed::{Address, Link, Observed},
    profile::Profile,
};

pub(super) const ETH0: u32 = 2;
pub(super) const NET1: u32 = 3;

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn desired() -> Desired {
    Desired {
        gateway: "default/gateway1".into(),
        internal: Side {
            interface: "eth0".into(),
            gateway4: Some("10.16.0.1".parse().unwrap()),
            gateway6: Some("fd00:10:16::1".parse().unwrap()),
        },
        external: Side {
            interface: "net1".into(),
            gateway4: Some("172.17.0.1".parse().unwrap()),
            gateway6: Some("fd00:172::1".parse().unwrap()),
        },
        egress: vec![ip("172.17.0.11"), ip("fd00:172::11")],
        no_snat: BTreeSet::new(),
        selected: BTreeSet::new(),
        routes: ["10.18.0.0/16", "fd00:18::/48"].iter().map(|c| c.parse().unwrap()).collect(),
        profile: Profile::default(),
        warnings: Vec::new(),
    }
}

pub(super) fn ipv4_only() -> Desired {
    let mut desired = desired();
    desired.external.gateway6 = None;
    desired
}

pub(super) fn observed() -> Observed {
    let link = |index, name: &str, nets: &[&str]| Link {
        index,
        name: name.into(),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1400,
        up: true,
        kind: "veth".into(),
        peer_elsewhere: true,
        addresses: nets
            .iter()
            .map(|net| Address {
                net: net.parse().unwrap(),
                permanent: true,
                global: !net.starts_with("fe80"),
                tentative: false,
            })
            .collect(),
    };
    Observed {
        links: vec![
            link(1, "lo", &[]),
            link(ETH0, "eth0", &["10.16.0.12/16", "fd00:10:16::c/64", "fe80::1/64"]),
            link(NET1, "net1", &["172.17.0.11/16", "172.17.0.12/16", "fd00:172::11/64"]),
        ],
    }
}
