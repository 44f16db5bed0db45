//! `egress-agent detach`: the explicit end of a gateway. The guard goes last.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::Netns;
use crate::{
    datapath::{
        attach::{detach, places},
        pins::{Lock, Pins},
    },
    role::{
        place::Place,
        status::{self, Status},
    },
};

/// How long a running agent has to end.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(args: &Netns) -> Result<()> {
    let place = Place::enter(args.netns.as_deref())?.existing()?;
    let pins = &place.pins;
    let status = Status::read(&pins.id).unwrap_or(None);
    let _lock = stop_agent(pins, status.as_ref())?;
    if let Some(status) = &status {
        let name = |side: &crate::spec::Side| side.interface.clone();
        let (internal, external) = (name(&status.desired.internal), name(&status.desired.external));
        for place in places((&internal, 0), (&external, 0)).iter().rev() {
            detach(pins, place)?;
        }
    }
    pins.remove()?;
    status::remove(&pins.id);
    eprintln!(
        "detached gateway {}; forwarding is still on in its namespace: packets that arrive now leave untranslated",
        pins.id
    );
    Ok(())
}

/// Takes the lock; an agent that holds it is told to end first, or it would bring everything back.
fn stop_agent(pins: &Pins, status: Option<&Status>) -> Result<Lock> {
    if let Ok(lock) = pins.lock() {
        return Ok(lock);
    }
    let Some(status) = status.filter(|status| status.running()) else {
        bail!("gateway {}: another process holds it; stop that first", pins.id);
    };
    let pid = i32::try_from(status.pid).context("process id")?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("stop the agent, process {pid}"))?;
    let start = Instant::now();
    loop {
        match pins.lock() {
            Ok(lock) => return Ok(lock),
            Err(_) if start.elapsed() < PATIENCE => sleep(Duration::from_millis(20)),
            Err(error) => return Err(error).with_context(|| format!("the agent, process {pid}, does not end")),
        }
    }
}
