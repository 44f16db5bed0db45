//! When to look again: a signal after something in the network namespace has changed.

use std::{io, time::Duration};

use nix::errno::Errno;
use rtnetlink::{
    MulticastGroup,
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::Error;

/// Changes within this time after the first are one signal.
pub const DEBOUNCE: Duration = Duration::from_millis(100);

/// Links, addresses, routes and rules; netconf says when forwarding or `rp_filter` of an interface changes.
const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv4Netconf,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Ipv6Netconf,
];

/// Signals of [`watch`]. They stop with the value.
#[derive(Debug)]
pub struct Changes {
    signals: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Changes {
    /// Wait for a change. What changes while nobody waits is kept as one signal. `None`: the socket has failed.
    pub async fn next(&mut self) -> Option<()> {
        self.signals.recv().await
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listen for changes in the network namespace of the calling thread, from now on; needs a running tokio runtime.
///
/// # Errors
/// The socket cannot be made.
pub fn watch() -> Result<Changes, Error> {
    let socket = listen().map_err(|e| Error::new("listening for changes of links, addresses, routes and rules", e))?;
    // One place: a signal that waits covers all later changes.
    let (sender, signals) = mpsc::channel(1);
    Ok(Changes { signals, task: tokio::spawn(forward(socket, sender)) })
}

fn listen() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let groups = GROUPS.into_iter().fold(0, |mask, group| mask | 1 << (group as u32 - 1));
    socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

async fn forward(socket: TokioSocket, signals: mpsc::Sender<()>) {
    while let Ok(()) = change(&socket).await {
        let end = Instant::now() + DEBOUNCE;
        while let Ok(seen) = timeout_at(end, change(&socket)).await {
            if seen.is_err() {
                return;
            }
        }
        if let Err(mpsc::error::TrySendError::Closed(())) = signals.try_send(()) {
            return;
        }
    }
}

/// One message. What it says is left unread: whoever is woken dumps again, also after messages were lost (`ENOBUFS`).
async fn change(socket: &TokioSocket) -> io::Result<()> {
    let mut head = [0_u8; 16];
    match socket.recv(&mut &mut head[..]).await {
        Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => Ok(()),
        Err(e) => {
            tracing::error!(error = %e, "the socket that reports network changes has failed");
            Err(e)
        }
        Ok(()) => Ok(()),
    }
}
