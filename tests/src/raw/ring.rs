//! A BPF ring buffer whose records nobody reads.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use nix::libc;

use super::sys::{self, Kind};

/// It, and how far it was written and read.
#[derive(Debug)]
pub(crate) struct Ring {
    map: OwnedFd,
    read: Position,
    written: Position,
}

impl Ring {
    /// Of so many bytes: a power of two, and whole pages.
    pub(crate) fn new(bytes: u32) -> Result<Self> {
        let map = sys::map(Kind::Ring, 0, bytes)?;
        // SAFETY: sysconf(3) with an integer only.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).context("no page size")?;
        let read = Position::of(&map, page, 0, libc::PROT_READ | libc::PROT_WRITE)?;
        let written = Position::of(&map, page, 1, libc::PROT_READ)?;
        Ok(Self { map, read, written })
    }

    /// For a program.
    pub(crate) fn fd(&self) -> RawFd {
        self.map.as_raw_fd()
    }

    /// Frees what was written so far.
    pub(crate) fn skip(&self) {
        self.read.get().store(self.written.get().load(Ordering::Acquire), Ordering::Release);
    }
}

/// A page of the ring that begins with a position in it: the reader's first, then the writer's.
#[derive(Debug)]
struct Position {
    at: usize,
    page: usize,
}

impl Position {
    fn of(map: &OwnedFd, page: usize, number: usize, access: libc::c_int) -> Result<Self> {
        let offset = (page * number) as libc::off_t;
        // SAFETY: a new mapping where the kernel likes; nothing that exists is changed.
        let at = unsafe { libc::mmap(null_mut(), page, access, libc::MAP_SHARED, map.as_raw_fd(), offset) };
        ensure!(at != libc::MAP_FAILED, "map a ring buffer: {}", std::io::Error::last_os_error());
        Ok(Self { at: at as usize, page })
    }

    const fn get(&self) -> &AtomicU64 {
        // SAFETY: the page stays mapped as long as this lives, begins with an aligned word, and the kernel changes it atomically.
        unsafe { &*(self.at as *const AtomicU64) }
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `of`, and nobody holds what `get` gave any more.
        unsafe { libc::munmap(self.at as *mut libc::c_void, self.page) };
    }
}
