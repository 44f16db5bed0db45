//! The whole way from text to a plan.

mod follows;
mod properties;
mod reading;
mod refusals;
mod samples;

use super::*;

pub(crate) const CLUSTER: &str = include_str!("../../../manifests/samples/cluster.yaml");
pub(crate) const GATEWAY1: &str = include_str!("../../../manifests/samples/gateway1.yaml");
pub(crate) const GATEWAY2: &str = include_str!("../../../manifests/samples/gateway2-dual-stack.yaml");
pub(crate) const PROFILE: &str = include_str!("../../../manifests/samples/profile.yaml");

/// Interfaces from lines such as `eth0 10.16.0.12/16 fd00::1/64:tentative`; a mark is `tentative`, `dynamic` or `link`.
pub(crate) fn observed(lines: &[&str]) -> Observed {
    let links = lines.iter().zip(1..).map(|(line, index)| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        let addresses = words.map(address).collect();
        Link { index, name, mac: [0; 6], mtu: 1500, up: true, kind: "veth".to_owned(), peer_elsewhere: true, addresses }
    });
    Observed { links: links.collect() }
}

fn address(word: &str) -> Address {
    let (net, mark) = match word.rsplit_once(':') {
        Some((net, mark @ ("tentative" | "dynamic" | "link"))) => (net, mark),
        _ => (word, ""),
    };
    Address {
        net: net.parse().unwrap(),
        permanent: mark != "dynamic",
        global: mark != "link",
        tentative: mark == "tentative",
    }
}

/// The interfaces of gateway1.
pub(crate) fn single() -> Observed {
    observed(&["lo 127.0.0.1/8 ::1/128", "net1 172.17.0.11/16 172.17.0.12/16 fe80::1/64:link", "eth0 10.16.0.12/16"])
}

/// The interfaces of gateway2.
pub(crate) fn dual() -> Observed {
    observed(&[
        "lo 127.0.0.1/8 ::1/128",
        "eth0 10.16.0.12/16 fd00:10:16::c/112 fe80::2/64:link",
        "net1 172.17.0.11/16 172.17.0.12/16 fd00:172:17::11/64 fd00:172:17::12/64 fe80::1/64:link",
    ])
}

pub(crate) fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(name, text)| Source { name: (*name).to_owned(), text: (*text).to_owned() }).collect()
}

pub(crate) fn run(
    files: &[(&str, &str)],
    choice: Option<&str>,
    observed: &Observed,
    flags: &Flags,
) -> Result<Desired, SpecErrors> {
    plan(&parse(&sources(files))?, choice, observed, flags)
}

/// gateway1 with one change of its text, in a cluster with one change of its text.
pub(crate) fn edited(gateway: (&str, &str), cluster: (&str, &str), observed: &Observed) -> Result<Desired, SpecErrors> {
    let edit = |text: &str, (from, to): (&str, &str)| {
        assert!(text.contains(from), "{from:?} is not in the text");
        text.replacen(from, to, 1)
    };
    let files = [("gateway.yaml", &*edit(GATEWAY1, gateway)), ("cluster.yaml", &*edit(CLUSTER, cluster))];
    run(&files, None, observed, &Flags::default())
}

pub(crate) fn ips(list: &[&str]) -> Vec<std::net::IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

pub(crate) fn nets(list: &[&str]) -> std::collections::BTreeSet<ipnet::IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}
