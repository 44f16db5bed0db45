//! Waiting for what another process does.

use std::env;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `done` again and again until it is true, at most for `timeout`; an error of `done` ends it at once.
pub fn eventually(what: &str, timeout: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let timeout = patient(timeout);
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !done()? {
        if start.elapsed() >= timeout {
            bail!("not within {timeout:?}: {what}");
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}

/// A limit of time, times `EGRESS_PATIENCE`, which emulated machines set: they are ten times slower.
pub(crate) fn patient(timeout: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| env::var("EGRESS_PATIENCE").ok().and_then(|it| it.parse().ok()).unwrap_or(1));
    timeout * *factor
}
