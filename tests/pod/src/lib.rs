//! Servers that say whom they saw, and clients that ask them.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Where [`serve`] listens by TCP.
pub const HTTP: u16 = 80;
/// Where [`echo`] listens by UDP.
pub const ECHO: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers every HTTP request with `<client's address> <client's port> <name>`; returns only with an error.
pub fn serve(port: u16, name: &str) -> Result<()> {
    let listener =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("listen on port {port}"))?;
    for connection in listener.incoming() {
        let Ok(connection) = connection else { continue };
        let name = name.to_owned();
        // A client that goes away is no matter of ours.
        thread::spawn(move || answer(&connection, &name).ok());
    }
    Ok(())
}

fn answer(mut connection: &TcpStream, name: &str) -> Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let peer = connection.peer_addr()?;
    let mut request = [0; 2048];
    let _length = connection.read(&mut request)?;
    let body = format!("{} {} {name}\n", peer.ip().to_canonical(), peer.port());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Ok(connection.write_all((head + &body).as_bytes())?)
}

/// Answers every datagram to one of the addresses with its first 16 bytes, a blank and the sender's address; returns only with an error.
pub fn echo(addresses: &[IpAddr], port: u16) -> Result<()> {
    let sockets = addresses.iter().map(|address| {
        // A socket of its own per address: the answer comes from where the question went.
        UdpSocket::bind((*address, port)).with_context(|| format!("listen on {address}"))
    });
    let sockets: Vec<_> = sockets.collect::<Result<_>>()?;
    thread::scope(|scope| {
        let threads: Vec<_> = sockets.iter().map(|socket| scope.spawn(|| echo_on(socket))).collect();
        threads.into_iter().try_for_each(|it| it.join().unwrap_or(Ok(())))
    })
}

fn echo_on(socket: &UdpSocket) -> Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).context("receive")?;
        let mut answer = buffer[..length.min(16)].to_vec();
        answer.extend(format!(" {}", from.ip()).bytes());
        // One that cannot be reached any more gets no answer.
        let _ = socket.send_to(&answer, from);
    }
}

/// The answer of [`serve`] at an address.
pub fn get(server: SocketAddr) -> Result<String> {
    let mut connection =
        TcpStream::connect_timeout(&server, PATIENCE).with_context(|| format!("connect to {server}"))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").context("send the request")?;
    let mut text = String::new();
    connection.read_to_string(&mut text).context("read the answer")?;
    let (_, body) = text.split_once("\r\n\r\n").with_context(|| format!("no HTTP: {text:?}"))?;
    Ok(body.trim_end().to_owned())
}

/// Whether somebody listens there.
pub fn connect(server: SocketAddr) -> Result<()> {
    TcpStream::connect_timeout(&server, PATIENCE).with_context(|| format!("connect to {server}")).map(drop)
}

/// The answer of [`echo`] at an address.
pub fn ask(server: SocketAddr) -> Result<String> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).context("open a socket")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"hello", server).with_context(|| format!("send to {server}"))?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).with_context(|| format!("no answer of {server}"))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// What became of a conversation of one socket with [`echo`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Talk {
    /// Datagrams sent.
    pub sent: u64,
    /// Answers.
    pub answered: u64,
    /// The longest time without an answer.
    pub longest_gap: Duration,
    /// How long the last answer was ago when the last datagram was sent.
    pub last_gap: Duration,
    /// Under which addresses the server saw us.
    pub seen: BTreeSet<String>,
}

/// Sends a datagram every 10 ms from one socket, for a time or until told to stop.
pub fn talk(server: SocketAddr, time: Duration, stop: &AtomicBool) -> Result<Talk> {
    const EVERY: Duration = Duration::from_millis(10);
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).context("open a socket")?;
    socket.set_nonblocking(true).context("open a socket")?;
    let (start, mut talk) = (Instant::now(), Talk::default());
    let (mut last, mut end) = (start, None);
    let mut buffer = [0; 2048];
    // The last answers get some time.
    while end.is_none_or(|end: Instant| end.elapsed() < PATIENCE / 3) {
        if end.is_none() && (start.elapsed() >= time || stop.load(Ordering::Relaxed)) {
            talk.last_gap = last.elapsed();
            end = Some(Instant::now());
        }
        if end.is_none() {
            // An error of an earlier datagram may be told here; it is no answer.
            let _ = socket.send_to(format!("{:016}", talk.sent).as_bytes(), server);
            talk.sent += 1;
        }
        thread::sleep(EVERY);
        while let Ok(length) = socket.recv(&mut buffer) {
            talk.answered += 1;
            talk.longest_gap = talk.longest_gap.max(last.elapsed());
            last = Instant::now();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            talk.seen.extend(text.split_once(' ').map(|(_, seen)| seen.to_owned()));
        }
    }
    talk.longest_gap = talk.longest_gap.max(last.elapsed().saturating_sub(PATIENCE / 3));
    Ok(talk)
}
