//! Conversations of every kind that go on while something happens to the gateway, in both families: nothing of them may be
//! lost, none may break, and the servers must see each from one address and port.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use egress_tests::traffic::bulk::{self, Transfer, Way};
use egress_tests::traffic::stream::Stream;
use egress_tests::traffic::{Call, PATIENCE, tcp, udp};
use egress_tests::{Family, Lab, eventually};

use crate::rig::PORT;

/// Where newcomers call.
pub(crate) const DOOR: u16 = PORT + 1;

/// What goes on in one family.
struct Side {
    udp: udp::Server,
    bulk: tcp::Server,
    echo: tcp::Server,
    _doors: (udp::Server, tcp::Server),
    stream: Stream,
    transfer: Transfer,
    dialogue: Repeated,
    newcomers: Repeated,
}

/// All that goes on.
pub(crate) struct Load(Vec<Side>);

/// What it amounted to.
#[derive(Debug)]
pub(crate) struct Sums {
    /// Datagrams to and fro.
    pub(crate) datagrams: u64,
    /// Bytes of the transfers.
    pub(crate) bytes: u64,
    /// Messages to and fro in the lasting TCP connections.
    pub(crate) messages: u64,
    /// New connections and UDP conversations.
    pub(crate) newcomers: u64,
}

impl Load {
    pub(crate) fn start(lab: &Lab, families: &[Family]) -> Result<Self> {
        families.iter().map(|family| Side::start(lab, *family)).collect::<Result<_>>().map(Self)
    }

    /// Waits until all of it is a good deal further.
    pub(crate) fn advance(&self) -> Result<()> {
        self.0.iter().try_for_each(|side| {
            side.transfer.advance(1 << 20, PATIENCE)?;
            side.dialogue.advance(20).context("lasting TCP connection")?;
            side.newcomers.advance(4).context("new connections")
        })
    }

    /// From where the servers saw the lasting conversations.
    pub(crate) fn peers(&self) -> Vec<SocketAddr> {
        let of = |side: &Side| {
            let peers = side.udp.peers().into_iter().chain(side.bulk.peers()).chain(side.echo.peers());
            peers.collect::<BTreeSet<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Ends all; an error if anything was lost or broken.
    pub(crate) fn finish(self) -> Result<Sums> {
        let peers = self.peers();
        ensure!(peers.len() == 3 * self.0.len(), "one address and port for each: {peers:?}");
        let mut sums = Sums { datagrams: 0, bytes: 0, messages: 0, newcomers: 0 };
        for side in self.0 {
            let stream = side.stream.finish()?;
            let (first, last) = (stream.missing.first(), stream.missing.last());
            ensure!(
                stream.missing.is_empty() && stream.repeated == 0,
                "{} of {} datagrams lost, {first:?} to {last:?}, {} twice",
                stream.missing.len(),
                stream.sent,
                stream.repeated
            );
            let transfer = side.transfer.stop()?;
            ensure!(transfer.intact && transfer.retransmits == 0, "transfer: {transfer:?}");
            sums.datagrams += stream.sent;
            sums.bytes += transfer.bytes;
            sums.messages += side.dialogue.finish().context("lasting TCP connection")?;
            sums.newcomers += side.newcomers.finish().context("new connections")?;
        }
        Ok(sums)
    }
}

impl Side {
    fn start(lab: &Lab, family: Family) -> Result<Self> {
        let ns = &lab.far.ns;
        let at = |port| SocketAddr::new(lab.far.addr(family), port);
        let call = |port| Call::to(lab.far.addr(family), port);
        let any = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let (one, two) = (&lab.client("pod1")?.ns, &lab.client("pod2")?.ns);
        let udp = udp::Server::start(ns, at(PORT))?;
        let bulk = tcp::Server::start(ns, at(PORT), tcp::Serve::Bulk)?;
        let echo = tcp::Server::start(ns, at(PORT + 2), tcp::Serve::Echo)?;
        let doors = (udp::Server::start(ns, at(DOOR))?, tcp::Server::start(ns, at(DOOR), tcp::Serve::Echo)?);
        let mut lasting = tcp::connect_in(two, call(PORT + 2))?;
        let dialogue = Repeated::start(Duration::from_millis(1), move |number| {
            tcp::exchange(&mut lasting, &[number as u8; 700])?;
            no_retransmits(&lasting)
        })?;
        let (door, enter) = (at(DOOR), one.door()?);
        let newcomers = Repeated::start(Duration::from_millis(5), move |number| {
            if number == 0 {
                enter()?;
            }
            let mut stream = TcpStream::connect_timeout(&door, PATIENCE).context("connect")?;
            stream.set_read_timeout(Some(PATIENCE))?;
            tcp::exchange(&mut stream, b"new here")?;
            no_retransmits(&stream)?;
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.connect(door)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            udp::exchange(&socket, b"new here")
        })?;
        Ok(Self {
            stream: Stream::start(one, call(PORT), Duration::from_millis(1))?,
            transfer: Transfer::start(two, call(PORT), Way::Up, u64::MAX, Some(4 << 20))?,
            udp,
            bulk,
            echo,
            _doors: doors,
            dialogue,
            newcomers,
        })
    }
}

/// TCP mends what is lost; then it was lost all the same.
fn no_retransmits(stream: &TcpStream) -> Result<()> {
    let mut again = bulk::retransmits(stream)?;
    if again > 0 {
        // On a busy machine an answer may only have been late: the other side then says that it has had it.
        thread::sleep(Duration::from_millis(300));
        again = bulk::retransmits(stream)?;
    }
    ensure!(again == 0, "{again} segments were sent again");
    Ok(())
}

/// Something done again and again by a thread until it fails or is told to end.
struct Repeated {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Repeated {
    fn start(pause: Duration, mut work: impl FnMut(u64) -> Result<()> + Send + 'static) -> Result<Self> {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (done, until) = (Arc::clone(&count), Arc::clone(&stop));
        let thread = thread::Builder::new().name("repeated".into()).spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let number = done.load(Ordering::Relaxed);
                work(number).with_context(|| format!("number {number}"))?;
                done.fetch_add(1, Ordering::Relaxed);
                thread::sleep(pause);
            }
            Ok(())
        });
        Ok(Self { count, stop, thread: thread.context("thread")? })
    }

    fn advance(&self, by: u64) -> Result<()> {
        let goal = self.count.load(Ordering::Relaxed) + by;
        eventually("it goes on", PATIENCE, || {
            Ok(self.thread.is_finished() || self.count.load(Ordering::Relaxed) >= goal)
        })
    }

    fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        Ok(self.count.load(Ordering::Relaxed))
    }
}
