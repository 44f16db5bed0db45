//! What must hold for everything that was captured.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::capture::Captured;
use crate::lab::addresses::inside_networks;
use crate::packet::Payload;
use crate::packet::checksum::Verdict;

/// An inside address that was seen outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// The address.
    pub address: IpAddr,
    /// Where it stood.
    pub place: Place,
}

/// Where in a frame an address stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// IP source.
    Source,
    /// Source or destination of a packet that an ICMP error quotes.
    Quoted,
    /// Sender of an ARP message.
    ArpSender,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {:?}", self.address, self.place)
    }
}

/// Inside addresses in frames of the external network, except those in `allowed`; empty is what is wanted.
pub fn leaks(frames: &[Captured], allowed: &[IpNet]) -> BTreeSet<Leak> {
    let inside = inside_networks();
    let holds = |networks: &[IpNet], address: &IpAddr| networks.iter().any(|it| it.contains(address));
    let seen = frames.iter().flat_map(addresses);
    seen.filter(|it| holds(&inside, &it.address) && !holds(allowed, &it.address)).collect()
}

fn addresses(captured: &Captured) -> Vec<Leak> {
    match captured.frame.as_ref().map(|it| &it.payload) {
        Some(Payload::Ip(ip)) => {
            let mut found = vec![Leak { address: ip.source, place: Place::Source }];
            let mut quoted = ip.quoted.as_deref();
            while let Some(inner) = quoted {
                found.extend([inner.source, inner.destination].map(|address| Leak { address, place: Place::Quoted }));
                quoted = inner.quoted.as_deref();
            }
            found
        }
        Some(Payload::Arp { sender, .. }) => vec![Leak { address: IpAddr::V4(*sender), place: Place::ArpSender }],
        _ => Vec::new(),
    }
}

/// What the checksums of captured frames were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChecksumReport {
    /// Packets whose transport checksum was there and right.
    pub real: usize,
    /// Packets whose transport checksum was left to the hardware, rightly prepared.
    pub unfinished: usize,
    /// Packets without one, or where it cannot be told.
    pub untold: usize,
    /// A line for each packet with a wrong one.
    pub wrong: Vec<String>,
}

/// Checks every IP packet.
pub fn checksums(frames: &[Captured]) -> ChecksumReport {
    let mut report = ChecksumReport::default();
    for (captured, ip) in frames.iter().filter_map(|it| Some((it, it.ip()?))) {
        let Some(checksums) = captured.checksums() else { continue };
        if !checksums.are_right() {
            let ports = ip.ports().map(|(from, to)| format!(" ports {from} {to}")).unwrap_or_default();
            report
                .wrong
                .push(format!("{} > {} protocol {}{ports}: {checksums}", ip.source, ip.destination, ip.protocol));
            continue;
        }
        match checksums.transport {
            Verdict::Right => report.real += 1,
            Verdict::Unfinished => report.unfinished += 1,
            _ => report.untold += 1,
        }
    }
    report
}

/// The longest frame in bytes; far more than the MTU when GSO was kept.
pub fn longest(frames: &[Captured]) -> usize {
    frames.iter().map(|it| it.bytes.len()).max().unwrap_or_default()
}

/// Mean length of the frames of `at_least` so many bytes (which leaves bare ACKs out): how well GSO was kept.
pub fn mean_length(frames: &[Captured], at_least: usize) -> usize {
    let long: Vec<_> = frames.iter().map(|it| it.bytes.len()).filter(|length| *length >= at_least).collect();
    long.iter().sum::<usize>() / long.len().max(1)
}
