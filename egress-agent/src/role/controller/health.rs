//! Whether the controller works, for the kubelet: `/healthz` while its loop turns, `/readyz` once it knows the cluster. And what it is, as
//! metrics: `/metrics`.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::ValueEnum as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{Mode, TURN, work::WRITE};

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
    mode: OnceLock<Mode>,
    leads: AtomicBool,
}

impl Health {
    pub(super) fn new() -> Self {
        let no = || AtomicBool::new(false);
        Self { start: Instant::now(), turned: AtomicU64::new(0), listed: no(), mode: OnceLock::new(), leads: no() }
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

    /// Who reconciles gateways; it does not change any more.
    pub(super) fn mode(&self, mode: Mode) {
        let _ = self.mode.set(mode);
    }

    /// Whether this replica is the one that writes.
    pub(super) fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// In the text format of Prometheus. Before the mode is known it is none.
    fn metrics(&self) -> String {
        let modes = Mode::value_variants().iter().filter_map(|mode| {
            let name = mode.to_possible_value()?;
            let is = u8::from(self.mode.get() == Some(mode));
            Some(format!("egress_gateway_controller_mode{{mode=\"{}\"}} {is}\n", name.get_name()))
        });
        let leads = u8::from(self.leads.load(Ordering::Relaxed));
        format!(
            "# HELP egress_gateway_controller_mode 1 for who reconciles VpcEgressGateways: managed, this controller; observe, Kube-OVN's\n\
             # TYPE egress_gateway_controller_mode gauge\n{}\
             # HELP egress_gateway_controller_leader 1 if this replica holds the Lease and writes\n\
             # TYPE egress_gateway_controller_leader gauge\negress_gateway_controller_leader {leads}\n",
            modes.collect::<String>()
        )
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
            "/metrics" => ("200 OK", self.metrics()),
            _ => ("404 Not Found", "there are /healthz, /readyz and /metrics".to_owned()),
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
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    client.write_all(format!("{head}{text}").as_bytes()).await?;
    client.shutdown().await
}
