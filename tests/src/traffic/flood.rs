//! As many datagrams as a thread can send, for packets per second.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::{Call, udp};
use crate::system::Netns;

const BATCH: usize = 64;

/// Sends datagrams of `payload` bytes from `sockets` sockets (so many flows) for `duration`; returns how many. What
/// arrived is what the receiving interface counts ([`Netns::counters`]).
pub fn udp(ns: &Netns, call: Call, sockets: usize, payload: usize, duration: Duration) -> Result<u64> {
    ensure!(sockets > 0, "a flood needs a socket");
    let sockets: Vec<_> = (0..sockets).map(|_| udp::connect_in(ns, call)).collect::<Result<_>>()?;
    let bytes = vec![0; payload];
    let slices: Vec<_> = (0..BATCH).map(|_| [IoSlice::new(&bytes)]).collect();
    let targets = vec![Some(SockaddrStorage::from(SocketAddr::new(call.to.ip(), call.to.port()))); BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let (start, mut sent) = (Instant::now(), 0);
    for socket in sockets.iter().cycle() {
        if start.elapsed() >= duration {
            break;
        }
        match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &targets, [], MsgFlags::empty()) {
            Ok(results) => sent += results.count() as u64,
            // Queues are full, or an ICMP error waits to be read.
            Err(Errno::ENOBUFS | Errno::ECONNREFUSED | Errno::EHOSTUNREACH) => {}
            Err(error) => return Err(error).context("flood"),
        }
    }
    Ok(sent)
}
