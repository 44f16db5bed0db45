//! A UDP conversation of two real sockets through the gateway, and packets of it made by hand.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use egress_tests::lab::{addresses::mac, names};
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;
use egress_tests::traffic::{Call, PATIENCE, inject, udp};
use egress_tests::{Family, Host, Lab, eventually};

use crate::wire::header;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the Pod to the server.
    Out,
    /// Back.
    In,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Out, Self::In];

    pub(crate) const fn back(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
        }
    }

    /// The node's end of the gateway's interface on the side that the packet comes from.
    pub(crate) const fn port(self) -> &'static str {
        match self {
            Self::Out => names::INTERNAL_PORT,
            Self::In => names::EXTERNAL_PORT,
        }
    }

    /// The frame in which a packet comes to the gateway.
    pub(crate) fn frame(self, packet: &[u8]) -> Vec<u8> {
        match self {
            Self::Out => build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, packet),
            Self::In => build::ethernet(mac::GATEWAY_OUTSIDE, mac::ROUTER, packet),
        }
    }

    /// Hands a packet to the gateway, as its next hop on that side would.
    pub(crate) fn put(self, lab: &Lab, packet: &[u8]) -> Result<()> {
        self.put_frame(lab, &self.frame(packet))
    }

    /// Hands a frame to the gateway.
    pub(crate) fn put_frame(self, lab: &Lab, frame: &[u8]) -> Result<()> {
        inject(&lab.node, self.port(), frame)
    }
}

/// A flow, or what is not translated, with a socket at each end.
#[derive(Debug)]
pub(crate) struct Talk {
    /// The Pod's socket, connected to the server.
    pub(crate) inner: UdpSocket,
    /// The server's, connected to what it sees of the Pod.
    pub(crate) outer: UdpSocket,
    /// The Pod.
    pub(crate) inside: SocketAddr,
    /// What the server sees.
    pub(crate) egress: SocketAddr,
    /// The server.
    pub(crate) remote: SocketAddr,
}

impl Talk {
    /// The Pod's `port` and the server's `remote` exchange a datagram each.
    pub(crate) fn start(client: &Host, port: u16, server: &Host, remote: u16, family: Family) -> Result<Self> {
        let remote = SocketAddr::new(server.addr(family), remote);
        let outer = udp::bind_in(&server.ns, remote)?;
        let inner = udp::connect_in(&client.ns, Call::to(remote.ip(), remote.port()).from_port(port))?;
        inner.send(b"hello")?;
        let egress = udp::receive(&outer).context("the server heard nothing")?.peer;
        outer.connect(egress)?;
        let talk = Self { inner, outer, inside: SocketAddr::new(client.addr(family), port), egress, remote };
        talk.pass(Way::In, b"welcome")?;
        Ok(talk)
    }

    /// The socket that a packet of this way comes to.
    pub(crate) fn receiver(&self, way: Way) -> &UdpSocket {
        if way == Way::Out { &self.outer } else { &self.inner }
    }

    /// The socket at the other end.
    pub(crate) fn sender(&self, way: Way) -> &UdpSocket {
        if way == Way::Out { &self.inner } else { &self.outer }
    }

    /// Sends a datagram by the sockets and checks that it comes whole.
    pub(crate) fn pass(&self, way: Way, message: &[u8]) -> Result<()> {
        self.sender(way).send(message).with_context(|| format!("{way:?}: send {} bytes", message.len()))?;
        self.comes(way, message)
    }

    /// The next datagram that comes is this one.
    pub(crate) fn comes(&self, way: Way, message: &[u8]) -> Result<()> {
        let came = udp::receive(self.receiver(way)).with_context(|| format!("{way:?}: {} bytes", message.len()))?;
        ensure!(came.payload == message, "{way:?}: {} other bytes than {}", came.payload.len(), message.len());
        Ok(())
    }

    /// Source and destination before the gateway.
    pub(crate) fn ends(&self, way: Way) -> [(IpAddr, u16); 2] {
        let ends = if way == Way::Out { [self.inside, self.remote] } else { [self.remote, self.egress] };
        ends.map(|it| (it.ip(), it.port()))
    }

    /// Header and datagram of a packet before the gateway.
    pub(crate) fn parts(&self, way: Way, message: &[u8]) -> (Header, Vec<u8>) {
        let [from, to] = self.ends(way);
        (header(from.0, to.0, proto::UDP), build::udp(from, to, message))
    }

    /// A packet before the gateway.
    pub(crate) fn packet(&self, way: Way, message: &[u8]) -> Vec<u8> {
        let (header, datagram) = self.parts(way, message);
        header.packet(&datagram)
    }
}

/// Sends until the socket says that nobody is there.
pub(crate) fn ensure_refused(socket: &UdpSocket) -> Result<()> {
    // Elsewhere in this process a fork may hold the closed socket for a moment, and the first ones vanish in it.
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let ask = || match socket.send(b"is anybody there?").and_then(|_| socket.recv(&mut [0; 64])) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
        other => bail!("{other:?}"),
    };
    eventually("refused", PATIENCE, ask)
}

/// So many bytes that no piece of it looks like another.
pub(crate) fn message(length: usize, seed: u8) -> Vec<u8> {
    let byte = |at: usize| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ (at / 251) as u8 ^ seed;
    (0..length).map(byte).collect()
}
