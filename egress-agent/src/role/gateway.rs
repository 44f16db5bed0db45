//! `egress-agent gateway`: manifests in, programs and maps brought in line with them, until told to end. Traffic goes on
//! without the agent.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Duration, Instant, MissedTickBehavior, interval, interval_at, sleep_until},
};
use tracing::{debug, error, info, trace, warn};

use super::{
    files::{EVERY, fingerprint},
    flow_log::FlowLog,
    place::Place,
    reporter::Reporter,
    running::Running,
};
use crate::{
    datapath::{
        attach::{Attach, detach, places},
        pace::TICK,
        size, xdp,
    },
    net::{Netlink, bpffs, netfilter::Netfilter, observe, watch},
    spec::{self, Desired, Flags, Observed},
};

/// The kernel reports most of what others change, but not every sysctl, and no neighbour.
const REPAIR_EVERY: Duration = Duration::from_secs(5);

/// How long a gateway Pod goes on after it was told to end: so long others have to steer Pods to another gateway. With the agent goes the
/// Pod's network namespace, and all that it would still have carried.
const LEAVING: Duration = Duration::from_secs(5);

/// A look at the flow table that failed is not tried again sooner.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Manifests.
    pub files: Vec<PathBuf>,
    /// `NAMESPACE/NAME` of the gateway to be.
    pub veg: Option<String>,
    /// Network namespace of the gateway; none: the own one.
    pub netns: Option<PathBuf>,
    /// What overrides the manifests.
    pub flags: Flags,
    /// How to attach.
    pub attach: Attach,
    /// BPF object instead of the embedded one.
    pub object: Option<PathBuf>,
    /// Where beginning and end of each flow are logged; `-`: standard output.
    pub flow_log: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(options: &Options) -> Result<()> {
    let place = Place::enter(options.netns.as_deref())?;
    bpffs::ensure(place.pins.dir()).context("BPF file system")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.context("start the runtime")?.block_on(serve(options, place))
}

async fn serve(options: &Options, place: Place) -> Result<()> {
    let mut stop = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let nl = Netlink::open().context("rtnetlink")?;
    let mut changes = watch().context("rtnetlink")?;
    let mut seen = fingerprint(&options.files);
    let mut settling = false;
    let (desired, observed) = look(options, &nl).await?;
    report_warnings(&desired);
    info!(gateway = desired.gateway, id = place.pins.id, "starting");
    let log = options.flow_log.as_deref().map(FlowLog::open).transpose()?;
    let pins = place.pins.clone();
    // By hand programs and namespace stay, and nobody need wait.
    let leaving = if pins.in_pod() { LEAVING } else { Duration::ZERO };
    let mut end = None;
    let mut running = begin(options, &nl, place, desired, observed).await?;
    let _reporter = Reporter::start(&pins, log).context("events")?;
    eprintln!("ready");

    let mut files = interval(EVERY);
    files.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut repair = interval_at(Instant::now() + REPAIR_EVERY, REPAIR_EVERY);
    repair.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep = Instant::now() + TICK;
    loop {
        let changed = tokio::select! {
            _ = stop.recv(), if end.is_none() => {
                info!(?leaving, "told to end");
                end = Some(Instant::now() + leaving);
                false
            }
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break,
            _ = interrupt.recv() => break,
            signal = changes.next() => {
                if signal.is_none() {
                    warn!("no more news of interfaces; asking instead");
                    changes = watch().context("rtnetlink")?;
                }
                true
            }
            _ = files.tick() => {
                // A file that is being written is left until two looks agree.
                let now = fingerprint(&options.files);
                let changed = now != seen;
                seen = now;
                std::mem::replace(&mut settling, changed) && !changed
            }
            _ = repair.tick() => {
                if let Err(error) = running.repair(&nl).await {
                    error!("repair: {error:#}");
                }
                !running.complete()
            }
            () = sleep_until(sweep) => {
                sweep = Instant::now() + swept(&mut running);
                false
            }
        };
        if changed {
            reload(options, &nl, &mut running).await;
        }
    }
    info!("ending; the programs stay attached and traffic goes on, `egress-agent detach` takes them away");
    Ok(())
}

/// Brings the first state into force. If that fails before any packet could pass, nothing is left behind.
async fn begin(options: &Options, nl: &Netlink, place: Place, desired: Desired, observed: Observed) -> Result<Running> {
    let (pins, new) = (place.pins.clone(), !place.pins.exist());
    let lock = place.pins.create()?;
    let (internal, external) = (desired.internal.interface.clone(), desired.external.interface.clone());
    let mut attached = None;
    let start = async {
        let mut running = Running::load(
            place,
            lock,
            &desired,
            options.attach,
            options.object.as_deref(),
            options.flow_log.is_some(),
        )?;
        running.prepare_to_take_over(nl, &desired, &observed).await?;
        running.attach(nl, desired, observed).await?;
        attached = Some(running);
        Ok(())
    };
    let started: Result<()> = start.await;
    if started.is_err() && new {
        xdp::detach(&pins)?;
        for place in places((&internal, 0), (&external, 0)).iter().rev() {
            detach(&pins, place)?;
        }
        // Who may not ask has not made it.
        if let Ok(kernel) = Netfilter::open()
            && kernel.has_table().unwrap_or(false)
        {
            kernel.remove_table()?;
        }
        pins.remove()?;
    }
    started?;
    let mut running = attached.context("start")?;
    // From here on forwarding may be on: whatever fails, the guard stays.
    let failed = running.finish(nl).await.err().map(|error| format!("{error:#}"));
    if let Some(failed) = &failed {
        error!("failed: {failed}");
    }
    if let Err(error) = running.write_status(None, failed.as_deref()) {
        error!("{error:#}");
    }
    Ok(running)
}

/// Reads manifests and interfaces.
async fn look(options: &Options, nl: &Netlink) -> Result<(Desired, Observed)> {
    let observed = observe(nl).await.context("interfaces")?;
    let objects = spec::parse(&spec::read::read(&options.files)?)?;
    let desired = spec::plan(&objects, options.veg.as_deref(), &observed, &options.flags)?;
    size::for_this_process(desired.profile.max_flows).map_err(|error| {
        let name = desired.profile.name.clone().unwrap_or_default();
        let origin = objects.profiles.get(&name).map(|profile| profile.origin.to_string()).unwrap_or_default();
        anyhow!("{origin}, EgressGatewayProfile {name}, {error}")
    })?;
    Ok((desired, observed))
}

/// Brings a change into force, or keeps the running state and says why.
async fn reload(options: &Options, nl: &Netlink, running: &mut Running) {
    let (refused, failed) = match look(options, nl).await {
        Err(reason) => {
            error!("refused, the running state stays as it was:\n{reason:#}");
            let forgotten = match observe(nl).await {
                Ok(observed) => running.forget_lost(nl, observed).await,
                Err(error) => Err(error.into()),
            };
            (Some(format!("{reason:#}")), forgotten.and(running.repair(nl).await).err())
        }
        Ok((desired, observed)) if running.has(&desired, &observed) => (None, running.repair(nl).await.err()),
        Ok((desired, observed)) => {
            report_warnings(&desired);
            let outcome = running.apply(nl, desired, observed).await;
            if outcome.is_ok() {
                info!("in force");
            }
            (None, outcome.err())
        }
    };
    let failed = failed.map(|error| format!("{error:#}"));
    if let Some(failed) = &failed {
        error!("failed: {failed}");
    }
    if let Err(error) = running.write_status(refused.as_deref(), failed.as_deref()) {
        error!("{error:#}");
    }
}

fn report_warnings(desired: &Desired) {
    for warning in &desired.warnings {
        warn!("{warning}");
    }
}

/// Looks at a part of the flow table; how long to wait for the next.
fn swept(running: &mut Running) -> Duration {
    let start = Instant::now();
    match running.expire() {
        Ok(0) => trace!(took = ?start.elapsed(), "no flow expired"),
        Ok(ended) => debug!(ended, took = ?start.elapsed(), "flows expired"),
        Err(error) => {
            error!("expire flows: {error:#}");
            return AFTER_FAILURE;
        }
    }
    TICK
}
