//! `egress-agent detach`: the explicit end of a gateway. The guard goes last.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    net::if_::if_indextoname,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Detach, output};
use crate::{
    datapath::{
        attach::{detach, places},
        pins::{Lock, Pins},
        tables::Tables,
        xdp,
    },
    net::netfilter::Netfilter,
    role::{
        place::Place,
        status::{self, Status},
        takeover::{self, Given},
    },
};

/// How long a running agent has to end.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(args: &Detach) -> Result<()> {
    if args.gone {
        return swept(None);
    }
    let place = Place::enter(args.netns.netns.as_deref())?.existing()?;
    let pins = &place.pins;
    let status = Status::read(&pins.id).unwrap_or(None);
    let receiver = args.handover.then(takeover::receiver).transpose()?;
    let _lock = stop_agent(pins, status.as_ref())?;
    let (internal, external) = interfaces(pins, status.as_ref());
    if let Some(kernel) = receiver {
        let Given { given, taken, untold, failed } = takeover::give(&kernel, pins, &internal, &external)?;
        pins.remove()?;
        status::remove(&pins.id);
        eprintln!("detached gateway {}; the kernel's NAT goes on with {given} flows", pins.id);
        if taken > 0 {
            eprintln!("not with {taken}: it had given their ports to other connections");
        }
        if untold > 0 {
            eprintln!("not with {untold}: SCTP and DCCP, of which it wants to see the beginning");
        }
        if failed > 0 {
            eprintln!("not with {failed}: it refused them");
        }
        return Ok(());
    }
    xdp::detach(pins)?;
    for place in places((&internal, 0), (&external, 0)).iter().rev() {
        detach(pins, place)?;
    }
    if let Ok(kernel) = Netfilter::open() {
        kernel.remove_table()?;
    }
    pins.remove()?;
    status::remove(&pins.id);
    let then = if takeover::nat().is_some() {
        "its namespace has NAT rules, which translate new connections now; those that were there end (`detach --handover` would \
         have given them to the kernel)"
    } else {
        "forwarding is still on in its namespace: packets that arrive now leave untranslated"
    };
    eprintln!("detached gateway {}; {then}", pins.id);
    Ok(())
}

/// As [`status::sweep`], and says so.
pub(super) fn swept(keep: Option<&str>) -> Result<()> {
    for id in status::sweep(keep)? {
        output::print(&format!("swept {id}: its network namespace is gone"))?;
    }
    Ok(())
}

/// Names of the gateway's interfaces: as the last agent knew them, else by the indexes in the maps.
fn interfaces(pins: &Pins, status: Option<&Status>) -> (String, String) {
    if let Some(status) = status {
        return (status.desired.internal.interface.clone(), status.desired.external.interface.clone());
    }
    let config = Tables::open(pins).and_then(|tables| tables.config()).ok();
    let name = |index: Option<u32>| {
        let name = index.and_then(|index| if_indextoname(index).ok());
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    (name(config.map(|c| c.internal_ifindex)), name(config.map(|c| c.external_ifindex)))
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
