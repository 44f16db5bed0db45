//! Programs that build, tests and demo run, and where they come from.

use super::cached::Cached;
use crate::sh;

/// Links the BPF object.
pub(crate) const LINKER: Cached = Cached { name: "bpf-linker", version: "0.13.0", built: "-llvm-22" };
/// Where Debian's llvm-22-dev lies, for the linker.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// Builds the fuzz targets.
pub(crate) const CARGO_FUZZ: Cached = Cached { name: "cargo-fuzz", version: "0.13.2", built: "" };

/// Programs of everything but fuzzing, and Debian's package of each.
const PACKAGED: &[(&str, &str)] = &[
    ("bpftool", "bpftool"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ping", "iputils-ping"),
    ("iptables", "iptables"),
    ("ip6tables", "iptables"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
    ("tcpdump", "tcpdump"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];
/// libFuzzer is C++.
const PACKAGED_FOR_FUZZING: &[(&str, &str)] = &[("c++", "g++")];

/// Packages of the programs that are not there.
pub(crate) fn missing(fuzzing: bool) -> Vec<&'static str> {
    let more = if fuzzing { PACKAGED_FOR_FUZZING } else { &[] };
    let programs = PACKAGED.iter().chain(more);
    let mut packages: Vec<_> = programs.filter(|(program, _)| !sh::has(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}
