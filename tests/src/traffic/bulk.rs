//! Bulk TCP: many bytes of a known pattern, counted and compared at the receiver.
//!
//! The client's first byte is `u` (it sends and ends its half of the connection; the server answers with the count and
//! whether all was right) or `d` and a big-endian length (the server sends so many bytes).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::libc;

use super::service::Stop;
use super::{Call, set_option, tcp};
use crate::system::Netns;

const CHUNK: usize = 64 << 10;
/// A prime, so that no two places a power of two apart look alike.
const PERIOD: usize = 1_000_003;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_u32;
    let period: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(PERIOD)
    .collect();
    [&period[..], &period[..CHUNK]].concat()
});

fn pattern(at: u64, length: usize) -> &'static [u8] {
    let start = (at % PERIOD as u64) as usize;
    &PATTERN[start..start + length]
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The client.
    Up,
    /// The server.
    Down,
}

/// A finished transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes that the receiver got.
    pub bytes: u64,
    /// Whether each was the right one.
    pub intact: bool,
    /// How long it took.
    pub elapsed: Duration,
    /// Segments that the client sent again and that the server lacked (`tcpi_total_retrans` without `tcpi_dsack_dups`: on a
    /// busy machine an answer can be later than the client's patience).
    pub retransmits: u32,
}

/// A running transfer.
#[derive(Debug)]
pub struct Transfer {
    progress: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    client: JoinHandle<Result<Outcome>>,
}

impl Transfer {
    /// Starts to send or fetch `bytes`; an upload may be slowed down to `pace` bytes per second.
    pub fn start(ns: &Netns, call: Call, way: Way, bytes: u64, pace: Option<u32>) -> Result<Self> {
        let stream = tcp::connect_in(ns, call)?;
        if let Some(pace) = pace {
            set_option(&stream, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, pace)?;
        }
        let (progress, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, until) = (Arc::clone(&progress), Arc::clone(&stop));
        let client = thread::Builder::new()
            .name("bulk-client".into())
            .spawn(move || {
                let start = Instant::now();
                let (bytes, intact) = match way {
                    Way::Up => upload(&stream, bytes, &count, &until),
                    Way::Down => download(&stream, bytes, &count, &until),
                }
                .with_context(|| format!("after {} bytes", count.load(Ordering::Relaxed)))?;
                Ok(Outcome { bytes, intact, elapsed: start.elapsed(), retransmits: retransmits(&stream)? })
            })
            .context("thread for a transfer")?;
        Ok(Self { progress, stop, client })
    }

    /// Bytes that the client has handed to its socket or got out of it.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Waits until the transfer is `bytes` further than now.
    pub fn advance(&self, bytes: u64, timeout: Duration) -> Result<()> {
        let (start, goal) = (Instant::now(), self.progress() + bytes);
        while self.progress() < goal {
            if start.elapsed() > timeout || self.client.is_finished() {
                bail!("the transfer stands at {} of {goal} bytes after {:?}", self.progress(), start.elapsed());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends it before all bytes are sent.
    pub fn stop(self) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits for its end.
    pub fn finish(self) -> Result<Outcome> {
        self.client.join().map_err(|_| anyhow!("the transfer's thread panicked"))?.context("bulk transfer")
    }
}

/// A whole transfer.
pub fn once(ns: &Netns, call: Call, way: Way, bytes: u64) -> Result<Outcome> {
    Transfer::start(ns, call, way, bytes, None)?.finish()
}

fn upload(mut stream: &TcpStream, bytes: u64, progress: &AtomicU64, stop: &AtomicBool) -> Result<(u64, bool)> {
    stream.write_all(b"u")?;
    let sent = send_pattern(stream, bytes, progress, || !stop.load(Ordering::Relaxed))?;
    stream.shutdown(Shutdown::Write)?;
    let mut verdict = [0; 9];
    stream.read_exact(&mut verdict).context("no verdict of the server")?;
    let (count, intact) = verdict.split_first_chunk::<8>().context("verdict")?;
    let received = u64::from_be_bytes(*count);
    ensure!(received == sent, "the server got {received} of {sent} bytes");
    Ok((received, intact == [1]))
}

fn download(mut stream: &TcpStream, bytes: u64, progress: &AtomicU64, stop: &AtomicBool) -> Result<(u64, bool)> {
    stream.write_all(&[&b"d"[..], &bytes.to_be_bytes()].concat())?;
    let (received, intact) = check_pattern(stream, progress, || !stop.load(Ordering::Relaxed))?;
    ensure!(received == bytes || stop.load(Ordering::Relaxed), "got {received} of {bytes} bytes");
    Ok((received, intact))
}

/// The server's side.
pub(super) fn serve(mut stream: TcpStream, stop: &Stop) -> Result<()> {
    let mut way = [0];
    if !stop.wait(stream.as_fd()) {
        return Ok(());
    }
    stream.read_exact(&mut way)?;
    // Ends also when the client is gone without a word.
    stream.set_read_timeout(Some(super::PATIENCE))?;
    stream.set_write_timeout(Some(super::PATIENCE))?;
    let progress = AtomicU64::new(0);
    match &way {
        b"u" => {
            let (count, intact) = check_pattern(&stream, &progress, || stop.wait(stream.as_fd()))?;
            stream.write_all(&count.to_be_bytes())?;
            stream.write_all(&[u8::from(intact)])?;
        }
        b"d" => {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            send_pattern(&stream, u64::from_be_bytes(length), &progress, || true)?;
        }
        _ => bail!("not the bulk protocol"),
    }
    Ok(())
}

fn send_pattern(mut stream: &TcpStream, bytes: u64, progress: &AtomicU64, go_on: impl Fn() -> bool) -> Result<u64> {
    let mut sent = 0;
    while sent < bytes && go_on() {
        let length = (bytes - sent).min(CHUNK as u64) as usize;
        sent += stream.write(pattern(sent, length)).context("send")? as u64;
        progress.store(sent, Ordering::Relaxed);
    }
    Ok(sent)
}

/// Reads to the end of the stream.
fn check_pattern(mut stream: &TcpStream, progress: &AtomicU64, go_on: impl Fn() -> bool) -> Result<(u64, bool)> {
    let (mut received, mut intact) = (0, true);
    let mut buffer = vec![0; CHUNK];
    while go_on() {
        let length = stream.read(&mut buffer).context("receive")?;
        if length == 0 {
            break;
        }
        intact &= buffer[..length] == *pattern(received, length);
        received += length as u64;
        progress.store(received, Ordering::Relaxed);
    }
    Ok((received, intact))
}

/// See [`Outcome::retransmits`].
pub fn retransmits(stream: &TcpStream) -> Result<u32> {
    // SAFETY: tcp_info is plain data.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `info`.
    let got = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length)
    };
    Errno::result(got).context("TCP_INFO")?;
    Ok(info.tcpi_total_retrans.saturating_sub(info.tcpi_dsack_dups))
}
