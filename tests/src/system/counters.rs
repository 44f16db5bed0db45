//! What an interface has counted.

use std::fs;

use anyhow::{Context, Result};

use super::Netns;

/// Counters of one interface since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received; a GSO packet counts as one.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent; a GSO packet counts as one.
    pub tx_packets: u64,
}

impl Counters {
    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            rx_bytes: self.rx_bytes - earlier.rx_bytes,
            rx_packets: self.rx_packets - earlier.rx_packets,
            tx_bytes: self.tx_bytes - earlier.tx_bytes,
            tx_packets: self.tx_packets - earlier.tx_packets,
        }
    }
}

impl Netns {
    /// The counters of an interface.
    pub fn counters(&self, interface: &str) -> Result<Counters> {
        let table = self.run(|| fs::read_to_string("/proc/thread-self/net/dev"))?.context("read net/dev")?;
        parse(&table, interface).with_context(|| format!("no interface {interface} in {}", self.name()))
    }

    /// TCP segments that its sockets have sent again since it was made.
    pub fn retransmissions(&self) -> Result<u64> {
        let table = self.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))?.context("read net/snmp")?;
        retransmissions(&table).with_context(|| format!("no RetransSegs in net/snmp: {table}"))
    }
}

fn retransmissions(table: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next()?.split_whitespace(), lines.next()?.split_whitespace());
    names.zip(values).find(|(name, _)| *name == "RetransSegs")?.1.parse().ok()
}

fn parse(table: &str, interface: &str) -> Option<Counters> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    Some(Counters {
        rx_bytes: *numbers.first()?,
        rx_packets: *numbers.get(1)?,
        tx_bytes: *numbers.get(8)?,
        tx_packets: *numbers.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_columns_of_the_right_line() {
        let table = "head\n  eth01: 9 9 9 9 9 9 9 9 9 9\n   eth0:    1    2 3 4 5 6 7 8 9    10 11 12\n";
        let expected = Counters { rx_bytes: 1, rx_packets: 2, tx_bytes: 9, tx_packets: 10 };
        assert_eq!(parse(table, "eth0"), Some(expected));
        assert_eq!(parse(table, "net1"), None);
    }

    #[test]
    fn the_value_under_its_name() {
        let table = "Ip: A B\nIp: 1 2\nTcp: InSegs OutSegs RetransSegs\nTcp: 7 8 9\nUdp: A\nUdp: 1\n";
        assert_eq!(retransmissions(table), Some(9));
        assert_eq!(retransmissions("Tcp: InSegs\nTcp: 7\n"), None);
    }
}
