//! `egress-agent prepare`: what needs privileges that the gateway itself shall not have.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Spec, detach::swept, output};
use crate::{
    net::{Netlink, block_on, observe, prepare},
    role::place::Place,
    spec::{self, Flags},
};

/// Duplicate address detection takes up to two seconds: one of waiting at most, and one for an answer (RFC 4862 §5.4.2).
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// True if nothing that is needed lacks.
pub(super) fn run(args: &Spec) -> Result<bool> {
    let place = Place::enter(args.netns.netns.as_deref())?;
    block_on(async {
        let nl = Netlink::open().context("rtnetlink")?;
        let objects = spec::parse(&spec::read::read(&args.files)?)?;
        let flags = Flags { internal: args.internal.clone(), external: args.external.clone(), forward: None };
        let begin = Instant::now();
        let desired = loop {
            let observed = observe(&nl).await.context("interfaces")?;
            match spec::plan(&objects, args.veg.as_deref(), &observed, &flags) {
                // A new Pod's addresses of IPv6 may not be its own yet.
                Err(_) if observed.is_settling() && begin.elapsed() < PATIENCE => tokio::time::sleep(LOOK_EVERY).await,
                planned => break planned?,
            }
        };
        // Not before it is known what is wanted: who is refused changes nothing. A gateway in a Pod sees its own pins only, and those of a
        // Pod that is gone hold its flow table in memory.
        if let Err(error) = swept(Some(&place.pins.id)) {
            eprintln!("sweep: {error:#}");
        }
        let report = prepare::run(&nl, &desired, true).await?;
        for failure in &report.failures {
            eprintln!("{failure}");
        }
        for done in &report.done {
            output::print(&format!("set {done}"))?;
        }
        let missing: Vec<_> = report.open().filter(|step| step.required).collect();
        for step in &missing {
            eprintln!("missing: {}: {}; {}", step.name, step.detail, step.fix);
        }
        Ok(missing.is_empty())
    })?
}
