//! Ping, TCP and UDP from a client to a server outside, and what the server saw.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};

use crate::capture::{Capture, Captured, Direction};
use crate::packet::Transport;
use crate::traffic::icmp::Pinger;
use crate::traffic::{Call, PATIENCE, tcp, udp};
use crate::{Family, Host};

const HTTPS: u16 = 443;
const DNS: u16 = 53;
const ECHO_ID: u16 = 7;
const ECHO_REQUEST: [u8; 2] = [8, 128];

/// One exchange that was answered. Ping has its identifier in place of the port.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) protocol: &'static str,
    pub(super) sent_from: SocketAddr,
    pub(super) server: IpAddr,
    pub(super) server_port: Option<u16>,
    pub(super) seen_from: SocketAddr,
}

impl Exchange {
    /// Sender, server, and the sender as the server saw it.
    pub(super) fn cells(&self) -> [String; 3] {
        let end = |at: SocketAddr| match self.server_port {
            Some(_) => at.to_string(),
            None => format!("{} id {}", at.ip(), at.port()),
        };
        let server = self.server_port.map(|port| SocketAddr::new(self.server, port).to_string());
        [end(self.sent_from), server.unwrap_or_else(|| self.server.to_string()), end(self.seen_from)]
    }
}

/// All three protocols; `at_server` watches the server's interface.
pub(super) fn exchange(client: &Host, server: &Host, family: Family, at_server: &Capture) -> Result<[Exchange; 3]> {
    let address = server.addr(family);
    Ok([ping(client, address, at_server)?, tcp(client, server, address)?, udp(client, server, address)?])
}

fn ping(client: &Host, server: IpAddr, at_server: &Capture) -> Result<Exchange> {
    let from = client.addr(Family::of(server));
    // Tells this echo from those of other clients, in case their identifiers are alike outside.
    let payload = from.to_string();
    let reply = Pinger::new(&client.ns, Family::of(server))?.ping(server, ECHO_ID, 1, payload.as_bytes(), PATIENCE)?;
    ensure!(reply.from == server, "the echo to {server} was answered by {}", reply.from);
    let is_it = |it: &Captured| {
        let request = it.ip().is_some_and(|ip| ECHO_REQUEST.iter().any(|kind| ip.is_icmp(*kind)));
        it.direction == Direction::In && request && it.bytes.ends_with(payload.as_bytes())
    };
    let request = at_server.wait_for(PATIENCE, is_it).context("the server saw no echo request")?;
    let ip = request.ip().context("an echo request")?;
    let Some(Transport::Icmp { id, .. }) = ip.transport else { unreachable!("the filter wants ICMP") };
    Ok(Exchange {
        protocol: "ping",
        sent_from: SocketAddr::new(from, ECHO_ID),
        server,
        server_port: None,
        seen_from: SocketAddr::new(ip.source, id),
    })
}

fn tcp(client: &Host, server: &Host, address: IpAddr) -> Result<Exchange> {
    let service = tcp::Server::start(&server.ns, SocketAddr::new(address, HTTPS), tcp::Serve::Echo)?;
    let sent_from = tcp::once(&client.ns, Call::to(address, HTTPS), b"over TCP")?;
    socket_exchange("TCP", sent_from, SocketAddr::new(address, HTTPS), &service.peers())
}

fn udp(client: &Host, server: &Host, address: IpAddr) -> Result<Exchange> {
    let service = udp::Server::start(&server.ns, SocketAddr::new(address, DNS))?;
    let sent_from = udp::once(&client.ns, Call::to(address, DNS), b"over UDP")?;
    socket_exchange("UDP", sent_from, SocketAddr::new(address, DNS), &service.peers())
}

fn socket_exchange(
    protocol: &'static str,
    sent_from: SocketAddr,
    server: SocketAddr,
    peers: &[SocketAddr],
) -> Result<Exchange> {
    let seen_from = *peers.first().context("the server saw nobody")?;
    Ok(Exchange { protocol, sent_from, server: server.ip(), server_port: Some(server.port()), seen_from })
}
