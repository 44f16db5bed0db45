//! Whether the controller works, for the kubelet: `/healthz` while its loop turns, `/readyz` once it knows the cluster.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{TURN, work::WRITE};

/// Longest time between two turns: one waits for one write at most.
const STUCK: Duration = Duration::from_secs(TURN.as_secs() + 2 * WRITE.as_secs());
/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is told.
pub(super) struct Health {
    start: Instant,
    /// Milliseconds from the start to the last turn.
    turned: AtomicU64,
    listed: AtomicBool,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), turned: AtomicU64::new(0), listed: AtomicBool::new(false) }
    }

    /// The loop goes on.
    pub(super) fn turn(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.turned.store(millis, Ordering::Relaxed);
    }

    /// Every kind is listed.
    pub(super) fn listed(&self) {
        self.listed.store(true, Ordering::Relaxed);
    }

    /// Status and text for a path, so long after the start.
    pub(super) fn answer(&self, path: &str, now: Duration) -> (&'static str, String) {
        let since = now.saturating_sub(Duration::from_millis(self.turned.load(Ordering::Relaxed)));
        match path {
            "/healthz" if since > STUCK => (UNAVAILABLE, format!("stuck for {} s", since.as_secs())),
            "/readyz" if !self.listed.load(Ordering::Relaxed) => {
                (UNAVAILABLE, "some kinds are not listed yet: see the log".to_owned())
            }
            "/healthz" | "/readyz" => ("200 OK", "ok".to_owned()),
            _ => ("404 Not Found", "there are /healthz and /readyz".to_owned()),
        }
    }
}

const UNAVAILABLE: &str = "503 Service Unavailable";

/// Answers on the port of every address, in the background.
pub(super) async fn serve(health: Arc<Health>, port: u16) -> Result<()> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        // A kernel without IPv6.
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
    };
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((client, _)) => drop(tokio::spawn(timeout(PATIENCE, answer(client, Arc::clone(&health))))),
                // Too many open files: it may be better in a moment.
                Err(_) => tokio::time::sleep(PATIENCE).await,
            }
        }
    });
    Ok(())
}

/// One request by HTTP/1; whatever it asks more than a path is passed over.
async fn answer(mut client: TcpStream, health: Arc<Health>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut part = [0; 512];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        match client.read(&mut part).await? {
            0 => break,
            read => request.extend_from_slice(part.get(..read).unwrap_or_default()),
        }
    }
    let line = String::from_utf8_lossy(&request);
    let path = line.split(' ').nth(1).unwrap_or_default();
    let (status, text) = health.answer(path, health.start.elapsed());
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    client.write_all(format!("{head}{text}").as_bytes()).await?;
    client.shutdown().await
}
