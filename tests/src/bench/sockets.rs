//! What programs notice: connections per second and bulk TCP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use nix::sys::socket::{Shutdown, shutdown};

use super::book::Book;
use super::peers::{Bed, Peer, gateways};
use super::series::{Goal, Measure, State, Unit};
use crate::Family;
use crate::traffic::tcp::{Serve, Server};
use crate::traffic::{Call, bulk};

const PORT: u16 = 7300;
const CONNECTIONS: u32 = 2000;
/// Of each round, and some before that find nothing in the caches.
const REQUESTS: u32 = 10_000;
const WARM_UP: u32 = 100;
/// Bytes.
const REQUEST: usize = 64;
/// Of each round: where four streams and the receiver share few cores, one transfer says little.
const TRANSFERS: usize = 3;

const CONNECT: &str = "TCP connect, request, answer, close";

/// Connect, one byte there and one back, close; one after the other.
pub(super) fn connections(book: &mut Book<'_>, beds: &[Bed<'_>]) {
    book.take(&[CONNECT], u64::from(CONNECTIONS) * book.plan.rounds as u64, |plan| {
        let goal = Goal { against: Some(Peer::Iptables), must: 0.80, aim: 0.70, at_most: true };
        let mut measure = Measure::new(CONNECT, Unit::Microseconds, Some(goal));
        let before = sent_again(beds)?;
        for round in 0..plan.rounds {
            for bed in in_turns(beds, round) {
                measure.add(bed.peer, one_by_one(bed)?);
            }
        }
        let again = sent_again(beds)?
            .into_iter()
            .zip(before)
            .map(|((peer, now), (_, before))| format!("{} {}", peer.label(), now - before));
        measure.notes.push(format!("SYNs sent again: {}", again.collect::<Vec<_>>().join(", ")));
        Ok([measure])
    });
}

/// Segments that the Pods had to send again.
fn sent_again(beds: &[Bed<'_>]) -> Result<Vec<(Peer, u64)>> {
    gateways(beds).into_iter().map(|bed| Ok((bed.peer, bed.lab.client("client1")?.ns.retransmissions()?))).collect()
}

const ANSWER: &str = "TCP request and answer, 64 B each, on an open connection";

/// The time of a request and its answer; one after the other.
pub(super) fn answers(book: &mut Book<'_>, beds: &[Bed<'_>]) {
    book.take(&[ANSWER], book.plan.rounds as u64, |plan| {
        let mut measure = Measure::new(ANSWER, Unit::Microseconds, None).state(State::Warm);
        for round in 0..plan.rounds {
            for bed in in_turns(beds, round) {
                measure.add(bed.peer, over_one(bed)?);
            }
        }
        Ok([measure])
    });
}

fn over_one(bed: &Bed<'_>) -> Result<f64> {
    let at = SocketAddr::new(bed.lab.server.addr(Family::V4), PORT + 2);
    let listener = bed.lab.server.ns.run(|| TcpListener::bind(at))?.context("listen")?;
    let (requests, size) = (REQUESTS + WARM_UP, [0; REQUEST]);
    let mut client = bed.lab.client("client1")?.ns.run(|| TcpStream::connect(at))?.context("connect")?;
    let (mut served, _) = listener.accept().context("accept")?;
    client.set_nodelay(true)?;
    served.set_nodelay(true)?;
    let server = thread::spawn(move || -> Result<()> {
        let mut request = size;
        for _ in 0..requests {
            served.read_exact(&mut request)?;
            served.write_all(&request)?;
        }
        Ok(())
    });
    let (mut answer, mut start) = (size, Instant::now());
    for number in 0..requests {
        if number == WARM_UP {
            start = Instant::now();
        }
        client.write_all(&size)?;
        client.read_exact(&mut answer)?;
    }
    let time = start.elapsed();
    server.join().map_err(|_| anyhow!("the server panicked"))??;
    Ok(time.as_nanos() as f64 / 1e3 / f64::from(REQUESTS))
}

/// The gateways; another one begins in each round.
fn in_turns<'a, 'lab>(beds: &'a [Bed<'lab>], round: usize) -> Vec<&'a Bed<'lab>> {
    let mut all = gateways(beds);
    let first = round % all.len().max(1);
    all.rotate_left(first);
    all
}

fn one_by_one(bed: &Bed<'_>) -> Result<f64> {
    let at = SocketAddr::new(bed.lab.server.addr(Family::V4), PORT);
    let listener = bed.lab.server.ns.run(|| TcpListener::bind(at))?.context("listen")?;
    let serve = || -> Result<()> {
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept()?;
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            stream.write_all(&byte)?;
        }
        Ok(())
    };
    let pod = &bed.lab.client("client1")?.ns;
    thread::scope(|scope| {
        let server = scope.spawn(serve);
        let time = pod.run(|| -> Result<_> {
            let start = Instant::now();
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(at)?;
                stream.write_all(b"x")?;
                stream.read_exact(&mut [0])?;
            }
            Ok(start.elapsed())
        });
        let time = time.flatten().inspect_err(|_| {
            // The server would wait for the next one for ever.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        })?;
        server.join().map_err(|_| anyhow!("the server panicked"))??;
        Ok(time.as_micros() as f64 / f64::from(CONNECTIONS))
    })
}

/// One and four streams from the Pod to the server.
pub(super) fn bulk(book: &mut Book<'_>, beds: &[Bed<'_>]) {
    for streams in [1, 4] {
        let name = format!("bulk TCP, {streams} streams");
        let transfers = TRANSFERS * book.plan.rounds;
        let sizes = format!("{name}, bytes per packet at the server");
        book.take(&[&name, &sizes], streams * transfers as u64, |plan| {
            let goal = Goal { against: Some(Peer::Iptables), must: 0.97, aim: 1.05, at_most: false };
            let mut measure = Measure::new(&name, Unit::GbitPerSecond, Some(goal));
            let mut segments = Measure::new(&sizes, Unit::BytesPerPacket, None);
            for round in 0..transfers {
                for bed in in_turns(beds, round) {
                    let (rate, segment) = transfer(bed, streams, plan.bytes)?;
                    measure.add(bed.peer, rate);
                    segments.add(bed.peer, segment);
                }
            }
            Ok([measure, segments])
        });
    }
}

/// Gbit/s, and bytes per packet that the server received.
fn transfer(bed: &Bed<'_>, streams: u64, bytes: u64) -> Result<(f64, f64)> {
    let at = SocketAddr::new(bed.lab.server.addr(Family::V4), PORT + 1);
    let _server = Server::start(&bed.lab.server.ns, at, Serve::Bulk)?;
    let pod = &bed.lab.client("client1")?.ns;
    let before = bed.lab.server.ns.counters("eth0")?;
    let start = Instant::now();
    let call = Call::to(at.ip(), at.port());
    let running: Vec<_> = (0..streams)
        .map(|_| bulk::Transfer::start(pod, call, bulk::Way::Up, bytes / streams, None))
        .collect::<Result<_>>()?;
    for one in running {
        one.finish()?;
    }
    let time = start.elapsed();
    let got = bed.lab.server.ns.counters("eth0")?.since(&before);
    Ok((bytes as f64 * 8.0 / time.as_secs_f64() / 1e9, got.rx_bytes as f64 / got.rx_packets.max(1) as f64))
}
