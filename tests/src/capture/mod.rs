//! Eyes on an interface of any namespace.

mod pcap;
mod socket;

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use self::socket::{LARGEST, PacketSocket};
use crate::packet::checksum::{self, Checksums};
use crate::packet::{Frame, Ip, behind_tags, parse_ethernet};
use crate::system::{Netns, locked};

pub use self::socket::Injector;

/// Which way a frame passed the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It came in.
    In,
    /// It was sent.
    Out,
}

/// A GSO packet: several segments that travel as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Payload of one segment.
    pub segment: u16,
}

/// A captured frame.
#[derive(Debug, Clone)]
pub struct Captured {
    /// When it was read.
    pub at: SystemTime,
    /// Which way it passed.
    pub direction: Direction,
    /// The kernel left its transport checksum to the hardware.
    pub unfinished: bool,
    /// Set if it stands for several segments.
    pub gso: Option<Gso>,
    /// The frame from its Ethernet header on.
    pub bytes: Vec<u8>,
    /// The same, parsed; `None` if there is no Ethernet header.
    pub frame: Option<Frame>,
}

impl Captured {
    /// The IP packet in it.
    pub fn ip(&self) -> Option<&Ip> {
        self.frame.as_ref()?.ip()
    }

    /// The IP packet's bytes (and padding).
    pub fn packet(&self) -> &[u8] {
        behind_tags(&self.bytes).and_then(|(_, offset)| self.bytes.get(offset..)).unwrap_or_default()
    }

    /// Its checksums, if it is an IP packet.
    pub fn checksums(&self) -> Option<Checksums> {
        Some(checksum::check(self.ip()?, self.packet(), self.unfinished))
    }
}

#[derive(Debug, Default)]
struct Shared {
    frames: Mutex<Vec<Captured>>,
    arrived: Condvar,
}

/// A running capture. It sees every frame from the return of [`Capture::start`] on.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
    reader: Option<JoinHandle<Result<u32>>>,
}

impl Capture {
    /// Captures on one interface.
    pub fn start(ns: &Netns, interface: &str) -> Result<Self> {
        let socket =
            PacketSocket::open(ns, interface).with_context(|| format!("capture on {interface} in {}", ns.name()))?;
        let shared = Arc::new(Shared::default());
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("eventfd")?);
        let (sink, until) = (Arc::clone(&shared), Arc::clone(&stop));
        let reader = thread::Builder::new()
            .name(format!("capture-{interface}"))
            .spawn(move || read(&socket, &sink, &until))
            .context("thread for a capture")?;
        Ok(Self { shared, stop, reader: Some(reader) })
    }

    /// What was captured so far.
    pub fn so_far(&self) -> Vec<Captured> {
        locked(&self.shared.frames).clone()
    }

    /// What was captured since the last call, which is forgotten.
    pub fn take(&self) -> Vec<Captured> {
        std::mem::take(&mut *locked(&self.shared.frames))
    }

    /// Waits for a frame that `wanted` accepts.
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&Captured) -> bool) -> Result<Captured> {
        let deadline = Instant::now() + timeout;
        let mut frames = locked(&self.shared.frames);
        let mut looked_at = 0;
        loop {
            if let Some(found) = frames[looked_at..].iter().find(|it| wanted(it)) {
                return Ok(found.clone());
            }
            looked_at = frames.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no such frame within {timeout:?} among {looked_at}");
            }
            frames = self.shared.arrived.wait_timeout(frames, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the capture and returns all frames. Frames that the kernel lost are an error: what was not seen proves nothing.
    pub fn stop(mut self) -> Result<Vec<Captured>> {
        self.stop.write(1).context("stop a capture")?;
        let reader = self.reader.take().context("the capture was stopped already")?;
        let lost = reader.join().map_err(|_| anyhow!("the capture's thread panicked"))??;
        if lost > 0 {
            bail!("the capture lost {lost} frames");
        }
        Ok(std::mem::take(&mut *locked(&self.shared.frames)))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
    }
}

/// Reads until told to stop, then what is still queued.
fn read(socket: &PacketSocket, shared: &Shared, stop: &EventFd) -> Result<u32> {
    let mut buffer = vec![0; LARGEST];
    loop {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("poll a capture"),
        }
        let stopping = ready[1].any().unwrap_or(false);
        while let Some((direction, header, bytes)) = socket.receive(&mut buffer)? {
            let frame = parse_ethernet(&bytes);
            let captured = Captured {
                at: SystemTime::now(),
                direction,
                unfinished: header.needs_checksum(),
                gso: header.gso(),
                frame,
                bytes,
            };
            locked(&shared.frames).push(captured);
            shared.arrived.notify_all();
        }
        if stopping {
            return socket.lost();
        }
    }
}

/// Writes frames as a pcap file, for a person with tcpdump or Wireshark.
pub fn write_pcap(path: &Path, frames: &[Captured]) -> Result<()> {
    std::fs::write(path, pcap::encode(frames)).with_context(|| format!("write {}", path.display()))
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd().as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd().as_raw_fd()
    }
}
