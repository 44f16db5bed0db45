//! The lab proves itself with the kernel's own NAT: what must pass passes, and what must be noticed is noticed.

mod agent;
mod life;
mod wire;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use egress_tests::traffic::{Call, icmp, tcp, udp};
use egress_tests::{Family, Host, Need};

/// What the tests with the kernel's gateway need.
const KERNEL: &[Need] =
    &[Need::Root, Need::Tool("ip"), Need::Tool("iptables-restore"), Need::Tool("ip6tables-restore")];

const PORT: u16 = 7007;

/// TCP, UDP and ping from a client to a server; returns the two source addresses that the server saw.
pub(crate) fn exchange_all(client: &Host, server: &Host, family: Family) -> Result<[SocketAddr; 2]> {
    let address = server.addr(family);
    let at = SocketAddr::new(address, PORT);
    let tcp_server = tcp::Server::start(&server.ns, at, tcp::Serve::Echo)?;
    let udp_server = udp::Server::start(&server.ns, at)?;
    tcp::once(&client.ns, Call::to(address, PORT), b"over TCP")?;
    udp::once(&client.ns, Call::to(address, PORT), b"over UDP")?;
    let reply = icmp::once(&client.ns, address, 77)?;
    ensure!(reply.from == address && reply.payload == b"egress lab", "{reply:?} is not {address}'s");
    let first = |peers: Vec<SocketAddr>| peers.first().copied().context("the server saw nobody");
    Ok([first(tcp_server.peers())?, first(udp_server.peers())?])
}

pub(crate) fn ensure_from(seen: &[SocketAddr], expected: IpAddr) -> Result<()> {
    ensure!(seen.iter().all(|it| it.ip() == expected), "the server saw {seen:?}, not {expected}");
    Ok(())
}
