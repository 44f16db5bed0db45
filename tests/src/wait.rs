//! Waiting for what another process does.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `done` again and again until it is true, at most for `timeout`; an error of `done` ends it at once.
pub fn eventually(what: &str, timeout: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
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
