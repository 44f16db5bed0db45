//! TCP: a server that echoes and remembers its callers, and calls.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, Shutdown, SockType, SockaddrStorage, connect, getsockopt, listen, shutdown, sockopt};

use super::service::{Service, Stop};
use super::{Call, bulk, socket_in};
use crate::system::{Netns, locked};

/// What a server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    /// Sends back what it gets.
    Echo,
    /// Speaks the protocol of [`bulk`].
    Bulk,
}

/// A TCP server, ended on drop.
#[derive(Debug)]
pub struct Server {
    peers: Arc<Mutex<Vec<SocketAddr>>>,
    _service: Service,
}

impl Server {
    /// Listens at `at` inside the namespace.
    pub fn start(ns: &Netns, at: SocketAddr, serve: Serve) -> Result<Self> {
        let fd = socket_in(ns, at, Some(at), SockType::Stream)?;
        listen(&fd, Backlog::MAXCONN).with_context(|| format!("listen at {at}"))?;
        let listener = TcpListener::from(fd);
        let peers = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&peers);
        let service = Service::start("tcp-server", move |stop| {
            accept(&listener, &stop, &seen, serve);
            // Elsewhere in this process a fork may hold a copy for a moment; the port shall be free at once.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        })?;
        Ok(Self { peers, _service: service })
    }

    /// Who connected, in order: the addresses that the server saw.
    pub fn peers(&self) -> Vec<SocketAddr> {
        locked(&self.peers).clone()
    }
}

fn accept(listener: &TcpListener, stop: &Stop, seen: &Mutex<Vec<SocketAddr>>, serve: Serve) {
    thread::scope(|scope| {
        while stop.wait(listener.as_fd()) {
            let Ok((stream, peer)) = listener.accept() else { continue };
            locked(seen).push(peer);
            scope.spawn(move || match serve {
                Serve::Echo => echo(stream, stop),
                Serve::Bulk => {
                    // A broken transfer shows at the client.
                    let _ = bulk::serve(stream, stop);
                }
            });
        }
    });
}

fn echo(mut stream: TcpStream, stop: &Stop) {
    let mut buffer = vec![0; 64 << 10];
    while stop.wait(stream.as_fd()) {
        match stream.read(&mut buffer) {
            Ok(length) if length > 0 && stream.write_all(&buffer[..length]).is_ok() => {}
            _ => return,
        }
    }
}

/// Connects; reads and writes of the stream wait no longer than the call's patience.
pub fn connect_in(ns: &Netns, call: Call) -> Result<TcpStream> {
    let fd = socket_in(ns, call.to, call.from, SockType::Stream)?;
    connect_within(&fd, call).with_context(|| format!("connect to {} from {}", call.to, ns.name()))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(call.patience))?;
    stream.set_write_timeout(Some(call.patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connect_within(fd: &OwnedFd, call: Call) -> Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(call.to)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => {
            let timeout = PollTimeout::try_from(call.patience).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
            loop {
                match poll(&mut ready, timeout) {
                    Ok(0) => bail!("no answer within {:?}", call.patience),
                    Ok(_) => break,
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let error = getsockopt(fd, sockopt::SocketError)?;
            ensure!(error == 0, Errno::from_raw(error));
        }
        Err(error) => return Err(error.into()),
    }
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Sends `message` to an echo server and checks that it comes back.
pub fn exchange(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    stream.write_all(message).context("send")?;
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).context("no whole answer")?;
    ensure!(answer == message, "the echo differs from what was sent");
    Ok(())
}

/// Connects to an echo server and exchanges one message; returns the own address.
pub fn once(ns: &Netns, call: Call, message: &[u8]) -> Result<SocketAddr> {
    let mut stream = connect_in(ns, call)?;
    exchange(&mut stream, message).with_context(|| format!("TCP exchange with {}", call.to))?;
    Ok(stream.local_addr()?)
}
