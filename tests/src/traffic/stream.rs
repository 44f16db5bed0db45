//! Numbered datagrams at a steady pace to a UDP echo server: which were lost, and for how long nothing came.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::{Call, udp};
use crate::system::Netns;

/// How long after the last request a reply may come.
const LINGER: Duration = Duration::from_millis(500);

/// What became of the datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How many were sent.
    pub sent: u64,
    /// The numbers of those whose echo did not come back.
    pub missing: Vec<u64>,
    /// Replies that came more than once.
    pub repeated: u64,
    /// The longest time between two replies.
    pub longest_gap: Duration,
}

/// A running stream.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<Received>>,
}

#[derive(Debug, Default)]
struct Received {
    numbers: BTreeSet<u64>,
    repeated: u64,
    longest_gap: Duration,
}

impl Stream {
    /// Sends one datagram per `pause` until it is finished.
    pub fn start(ns: &Netns, call: Call, pause: Duration) -> Result<Self> {
        let socket = udp::connect_in(ns, call)?;
        socket.set_read_timeout(Some(LINGER))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (until, other) = (Arc::clone(&stop), socket.try_clone().context("second handle of a socket")?);
        let sender = thread::Builder::new().name("stream-out".into()).spawn(move || send(&other, pause, &until));
        let until = Arc::clone(&stop);
        let receiver = thread::Builder::new().name("stream-in".into()).spawn(move || receive(&socket, &until));
        Ok(Self {
            stop,
            sender: sender.context("thread for a stream")?,
            receiver: receiver.context("thread for a stream")?,
        })
    }

    /// Ends it and waits for the last replies.
    pub fn finish(self) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow!("a thread of the stream panicked");
        let sent = self.sender.join().map_err(panicked)??;
        let received = self.receiver.join().map_err(panicked)??;
        let missing = (0..sent).filter(|number| !received.numbers.contains(number)).collect();
        Ok(Outcome { sent, missing, repeated: received.repeated, longest_gap: received.longest_gap })
    }
}

fn send(socket: &UdpSocket, pause: Duration, stop: &AtomicBool) -> Result<u64> {
    let (start, mut sent) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        // An ICMP error about an earlier one is a loss, which is counted at the end.
        let _ = socket.send(&sent.to_be_bytes());
        sent += 1;
        let next = pause.saturating_mul(u32::try_from(sent)?);
        thread::sleep(next.saturating_sub(start.elapsed()));
    }
    Ok(sent)
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Result<Received> {
    let mut received = Received::default();
    let (mut last, mut buffer) = (Instant::now(), [0; 8]);
    loop {
        match socket.recv(&mut buffer) {
            Ok(8) => {
                received.longest_gap = received.longest_gap.max(last.elapsed());
                last = Instant::now();
                received.repeated += u64::from(!received.numbers.insert(u64::from_be_bytes(buffer)));
            }
            Ok(_) => {}
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(received),
            Err(_) => {}
        }
    }
}
