//! A thread that serves until it is dropped.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Tells the threads of a service to end.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<EventFd>);

impl Stop {
    /// Waits until `fd` has something to read; false if the service shall end.
    pub(super) fn wait(&self, fd: BorrowedFd<'_>) -> bool {
        loop {
            let mut ready = [PollFd::new(fd, PollFlags::POLLIN), PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) => return !ready[1].any().unwrap_or(true),
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// A service's thread, ended on drop.
#[derive(Debug)]
pub(super) struct Service {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub(super) fn start(name: &str, work: impl FnOnce(Stop) + Send + 'static) -> Result<Self> {
        let stop = Stop(Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("eventfd")?));
        let until = stop.clone();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(until));
        Ok(Self { stop, thread: Some(thread.context("thread for a service")?) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stop.0.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
