//! Real connections: some that last, and others that come and go.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::traffic::{Call, icmp, tcp, udp};
use crate::{Family, Lab};

const PORT: u16 = 7007;
/// Between two new connections of a kind: their ports come back only once they were closed for a while.
const PAUSE: Duration = Duration::from_millis(10);

/// Echo servers of both families.
pub(super) struct Servers(#[expect(dead_code, reason = "held until the end")] Vec<(udp::Server, tcp::Server)>);

/// A TCP connection and a UDP socket of each family, from the beginning to the end.
pub(super) struct Lasting {
    streams: Vec<TcpStream>,
    sockets: Vec<UdpSocket>,
    exchanges: u64,
}

impl Lasting {
    pub(super) fn start(lab: &Lab) -> Result<(Servers, Self)> {
        let pod = &lab.client("pod1")?.ns;
        let mut servers = Vec::new();
        let mut lasting = Self { streams: Vec::new(), sockets: Vec::new(), exchanges: 0 };
        for family in Family::BOTH {
            let at = SocketAddr::new(lab.far.addr(family), PORT);
            let ns = &lab.far.ns;
            servers.push((udp::Server::start(ns, at)?, tcp::Server::start(ns, at, tcp::Serve::Echo)?));
            lasting.streams.push(tcp::connect_in(pod, Call::to(at.ip(), PORT))?);
            lasting.sockets.push(udp::connect_in(pod, Call::to(at.ip(), PORT))?);
        }
        lasting.exchange()?;
        Ok((Servers(servers), lasting))
    }

    /// A message there and back on each.
    pub(super) fn exchange(&mut self) -> Result<()> {
        for stream in &mut self.streams {
            tcp::exchange(stream, b"still there").context("a TCP connection that lasts")?;
            self.exchanges += 1;
        }
        for socket in &self.sockets {
            udp::exchange(socket, b"still there").context("a UDP flow that lasts")?;
            self.exchanges += 1;
        }
        Ok(())
    }

    /// Once more, and closes them; how many exchanges there were.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.exchange()?;
        Ok(self.exchanges)
    }
}

/// New connections one after the other, each with an exchange, until it is told to stop; how many.
pub(super) fn talk(lab: &Lab, stop: &AtomicBool) -> Result<u64> {
    let (pod, mut exchanges) = (&lab.client("pod2")?.ns, 0);
    while !stop.load(Ordering::Relaxed) {
        for family in Family::BOTH {
            let to = lab.far.addr(family);
            udp::once(pod, Call::to(to, PORT), b"here and gone").context("a new UDP flow")?;
            tcp::once(pod, Call::to(to, PORT), b"here and gone").context("a new TCP connection")?;
            icmp::once(pod, to, 1 + (exchanges % 10_000) as u16).context("a new echo")?;
            exchanges += 3;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(exchanges)
}
