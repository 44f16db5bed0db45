//! UDP: a server that echoes and remembers what came from whom, and calls.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::socket::SockType;

use super::service::Service;
use super::{Call, any, set_option, socket_in};
use crate::Family;
use crate::system::{Netns, locked};

const LARGEST: usize = 65_536;

/// A datagram as a server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its source.
    pub peer: SocketAddr,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A UDP echo server, ended on drop.
#[derive(Debug)]
pub struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    _service: Service,
}

impl Server {
    /// Listens at `at` inside the namespace.
    pub fn start(ns: &Netns, at: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::from(socket_in(ns, at, Some(at), SockType::Datagram)?);
        patient(&socket)?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let service = Service::start("udp-server", move |stop| {
            let mut buffer = vec![0; LARGEST];
            while stop.wait(socket.as_fd()) {
                // Errors are ICMP errors about earlier answers.
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                let payload = buffer[..length].to_vec();
                locked(&log).push(Seen { peer, payload: payload.clone() });
                let _ = socket.send_to(&payload, peer);
            }
        })?;
        Ok(Self { seen, _service: service })
    }

    /// What came, in order.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.seen).clone()
    }

    /// From whom it came, in order.
    pub fn peers(&self) -> Vec<SocketAddr> {
        locked(&self.seen).iter().map(|it| it.peer).collect()
    }
}

/// Room for what comes while a busy machine lets the receiver wait: a datagram that is lost in a socket's buffer says nothing
/// about the gateway.
fn patient(socket: &UdpSocket) -> Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20)
}

/// A socket that is not connected, as for answers from anybody.
pub fn bind_in(ns: &Netns, at: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::from(socket_in(ns, at, Some(at), SockType::Datagram)?);
    socket.set_read_timeout(Some(super::PATIENCE))?;
    Ok(socket)
}

/// The next datagram.
pub fn receive(socket: &UdpSocket) -> Result<Seen> {
    let mut buffer = vec![0; LARGEST];
    let (length, peer) = socket.recv_from(&mut buffer).context("no datagram")?;
    buffer.truncate(length);
    Ok(Seen { peer, payload: buffer })
}

/// A socket that is connected to the server: ICMP errors come back as errors of the next call.
pub fn connect_in(ns: &Netns, call: Call) -> Result<UdpSocket> {
    let from = call.from.unwrap_or_else(|| SocketAddr::new(any(Family::of(call.to.ip())), 0));
    let socket = UdpSocket::from(socket_in(ns, call.to, Some(from), SockType::Datagram)?);
    patient(&socket)?;
    socket.connect(call.to).with_context(|| format!("connect to {} from {}", call.to, ns.name()))?;
    socket.set_read_timeout(Some(call.patience))?;
    Ok(socket)
}

/// Sends one datagram and checks that it comes back.
pub fn exchange(socket: &UdpSocket, message: &[u8]) -> Result<()> {
    socket.send(message).context("send")?;
    let mut answer = vec![0; LARGEST];
    let length = socket.recv(&mut answer).context("no answer")?;
    ensure!(answer[..length] == *message, "the echo differs from what was sent");
    Ok(())
}

/// Exchanges one datagram with an echo server; returns the own address.
pub fn once(ns: &Netns, call: Call, message: &[u8]) -> Result<SocketAddr> {
    let socket = connect_in(ns, call)?;
    exchange(&socket, message).with_context(|| format!("UDP exchange with {}", call.to))?;
    Ok(socket.local_addr()?)
}
