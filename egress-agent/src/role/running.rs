//! A gateway that is up: programs, maps, and the state that they were brought in line with.

use std::path::Path;

use anyhow::{Context, Result};
use egress_common::abi::config::flags;
use tracing::{info, warn};

use super::{
    place::Place,
    status::Status,
    takeover::{self, YIELDING},
    xdp::{self, Xdp},
};
use crate::{
    datapath::{
        attach::{Attach, attach, places},
        events::{FLOW_RING, RING},
        expire::{self, Sweep},
        load::Programs,
        old::{Kept, Old},
        pins::Lock,
        policy, probe, settings,
        settings::Ground,
        size::{self, TableSize},
        tables::Tables,
        upgrade,
    },
    net::{
        Failure, Netlink,
        netfilter::{Netfilter, rules::TABLE},
        prepare, route,
    },
    spec::{desired::Desired, observed::Observed},
};

/// See the module.
pub struct Running {
    place: Place,
    programs: Programs,
    tables: Tables,
    sweep: Sweep,
    ground: Ground,
    size: TableSize,
    how: Attach,
    in_force: Option<(Desired, Observed)>,
    /// `in_force` was brought in line to the end.
    complete: bool,
    /// A packet may have opened a flow by the old configuration just after the table was looked through: look once more.
    cut_again: bool,
    attached: Attach,
    /// Maps of another layout whose flows are to be taken over.
    old: Vec<Old>,
    /// The kernel's NAT, if the namespace has any: its rules are kept away from what the programs translated.
    nat: Option<Netfilter>,
    /// Its flows are to be taken over.
    take_over: bool,
    xdp: Xdp,
    _lock: Lock,
}

impl Running {
    /// Loads the programs; nothing is attached yet. With `flow_events` they report each flow's beginning and end.
    pub fn load(
        place: Place,
        mut lock: Lock,
        desired: &Desired,
        how: Attach,
        object: Option<&Path>,
        flow_events: bool,
    ) -> Result<Self> {
        match super::status::sweep(Some(&place.pins.id)) {
            Ok(swept) => swept.iter().for_each(|id| info!(id, "swept a gateway whose network namespace is gone")),
            Err(error) => warn!("sweep: {error:#}"),
        }
        let mut old = Old::find(&place.pins)?;
        if stale(&place, &old) {
            old.clear();
            info!("removing what an older network namespace with the same inode left");
            drop(lock);
            place.pins.remove()?;
            lock = place.pins.create()?;
        }
        let size = size::for_this_process(desired.profile.max_flows)?;
        let programs = Programs::load(&place.pins, size.flows, if flow_events { FLOW_RING } else { RING }, object)?;
        let tables = Tables::open(&place.pins)?;
        let capacity = tables.capacity(&place.pins)?;
        let sweep = Sweep::open(&place.pins, capacity)?;
        warn_of_size(capacity, size.flows);
        let nat = takeover::nat();
        let config = tables.config()?;
        // Of another layout as well: a takeover or a handover was cut short, and the kernel has flows of its own.
        let passes_on = |kept: Kept| kept.flags & YIELDING != 0;
        let first = (config.external_ifindex == 0 || config.flags & YIELDING != 0)
            && old.iter().filter_map(Old::kept).all(passes_on);
        let take_over = nat.is_some() && first;
        let before = old.first().and_then(Old::kept);
        let ground = Ground::find(&tables, &place.pins, place.cookie, probe::offers().csum_ipv6, flow_events, before)?;
        Ok(Self {
            place,
            programs,
            tables,
            sweep,
            ground,
            size,
            how,
            in_force: None,
            complete: false,
            cut_again: false,
            attached: how,
            old,
            nat,
            take_over,
            xdp: Xdp::default(),
            _lock: lock,
        })
    }

    /// Brings everything in line with the desired state. Nothing of the maps is changed if the configuration cannot be built.
    pub async fn apply(&mut self, nl: &Netlink, desired: Desired, observed: Observed) -> Result<()> {
        self.attach(nl, desired, observed).await?;
        self.finish(nl).await
    }

    /// Brings maps and programs in line.
    pub async fn attach(&mut self, nl: &Netlink, desired: Desired, observed: Observed) -> Result<()> {
        // An offset that was moved from outside stays moved.
        if let Ok(config) = self.tables.config()
            && config.external_ifindex != 0
        {
            self.ground.clock_offset_ns = config.clock_offset_ns;
        }
        if self.in_force.as_ref().is_some_and(|(old, _)| old.profile.max_flows != desired.profile.max_flows) {
            let size = size::for_this_process(desired.profile.max_flows)?;
            warn_of_size(self.tables.capacity(&self.place.pins)?, size.flows);
        }
        self.ground.xdp = self.xdp.sends(&desired, &observed);
        let config = settings::build(&desired, &observed, &self.ground)?;
        let wanted = policy::plan(&desired, &observed)?;
        // What follows is done anew if it fails half-way.
        let old = self.in_force.take().filter(|_| self.complete);
        self.in_force = Some((desired.clone(), observed.clone()));
        self.complete = false;
        policy::sync(&mut self.tables, &wanted)?;
        if let Some(nat) = &self.nat {
            nat.add_table(&desired.internal.interface, &desired.external.interface)?;
        }
        let passed_on = if self.take_over { flags::YIELD } else { 0 };
        let yielding = takeover::passing_on(config, passed_on);
        let first = if self.old.is_empty() { yielding } else { upgrade::begin(&self.old, yielding)? };
        settings::exchange(&mut self.tables, first)?;
        let internal = (desired.internal.interface.as_str(), config.internal_ifindex);
        let external = (desired.external.interface.as_str(), config.external_ifindex);
        let moved = old.as_ref().is_none_or(|(_, old)| {
            [internal, external].iter().any(|(name, index)| old.link(name).is_none_or(|link| link.index != *index))
        });
        let places = places(internal, external);
        if !self.old.is_empty() {
            let (programs, pins) = (&mut self.programs, &self.place.pins);
            self.attached =
                upgrade::run(programs, pins, nl, &places, self.how, &self.old, xdp::wanted(&desired)).await?;
            self.old.clear();
            settings::exchange(&mut self.tables, yielding)?;
        } else if moved {
            for place in places {
                self.attached = attach(&mut self.programs, &self.place.pins, &place, self.how)?;
            }
            upgrade::forget(&self.place.pins)?;
        }
        if let Some(nat) = self.nat.as_ref().filter(|_| self.take_over) {
            takeover::take(nat, &mut self.programs, &mut self.tables, config, &desired, &observed)?;
            self.take_over = false;
        }
        self.xdp.bring(&mut self.programs, &self.place.pins, nl, (&desired, &observed), moved).await?;
        if old.is_none_or(|(old, _)| may_cut(&old, &desired)) {
            self.cut_again = true;
            let cut = expire::revoke(&self.place.pins, self.programs.get("expire")?, &desired)?;
            if cut > 0 {
                info!(cut, "cut flows whose egress address is gone or that are no longer translated");
            }
        }
        Ok(())
    }

    /// Brings the namespace in line. Comes last: forwarding is not turned on before the guard stands.
    pub async fn finish(&mut self, nl: &Netlink) -> Result<()> {
        self.prepare(nl).await?;
        self.complete = true;
        Ok(())
    }

    /// Sysctls, rules, routes and neighbours.
    async fn prepare(&self, nl: &Netlink) -> Result<()> {
        let Some((desired, observed)) = &self.in_force else { return Ok(()) };
        prepare(nl, desired, observed, true).await
    }

    /// Where the kernel's NAT has flows, they must not wait for what the programs need. Forwarding is on there already; where it is
    /// not, it waits for the guard.
    pub async fn prepare_to_take_over(&self, nl: &Netlink, desired: &Desired, observed: &Observed) -> Result<()> {
        if self.take_over { prepare(nl, desired, observed, false).await } else { Ok(()) }
    }

    /// While manifests are refused: no new flow may leave from an egress address that the interface has lost, and those that
    /// did are cut.
    pub async fn forget_lost(&mut self, nl: &Netlink, observed: Observed) -> Result<()> {
        let Some((desired, before)) = self.in_force.clone() else { return Ok(()) };
        let Some(link) = observed.link(&desired.external.interface) else { return Ok(()) };
        let mut left = desired.clone();
        left.egress.retain(|addr| link.has(*addr));
        let known = before == observed || left.egress.len() == desired.egress.len();
        if known || observed.link(&desired.internal.interface).is_none() {
            return Ok(());
        }
        warn!(left = ?left.egress, "lost egress addresses are no longer used");
        self.attach(nl, left, observed.clone()).await?;
        // What is wanted stays the same, so that `doctor` says what lacks.
        self.in_force = Some((desired, observed));
        self.finish(nl).await
    }

    /// Whether this is what is in force already.
    #[must_use]
    pub fn has(&self, desired: &Desired, observed: &Observed) -> bool {
        self.complete && self.in_force.as_ref().is_some_and(|(d, o)| d == desired && o == observed)
    }

    /// Whether the last change was brought in line to the end.
    #[must_use]
    pub const fn complete(&self) -> bool {
        self.complete
    }

    /// Brings back what others took away: programs, sysctls, rules, routes, neighbours.
    pub async fn repair(&mut self, nl: &Netlink) -> Result<()> {
        self.reattach(nl).await?;
        if let (Some(nat), Some((desired, _))) = (&self.nat, &self.in_force)
            && !nat.has_table()?
        {
            warn!("table inet {TABLE} was taken away, making it again");
            nat.add_table(&desired.internal.interface, &desired.external.interface)?;
        }
        self.prepare(nl).await
    }

    async fn reattach(&mut self, nl: &Netlink) -> Result<()> {
        let Some((desired, observed)) = self.in_force.clone() else { return Ok(()) };
        let side = |name: &str| observed.link(name).map_or(0, |link| link.index);
        let (internal, external) = (&desired.internal.interface, &desired.external.interface);
        self.resend(&desired, &observed)?;
        for place in places((internal, side(internal)), (external, side(external))) {
            if place.find(&self.place.pins, nl).await?.is_none() {
                warn!(program = place.program, interface = place.interface, "was taken away, attaching it again");
                self.attached = attach(&mut self.programs, &self.place.pins, &place, self.how)?;
            }
        }
        self.xdp.bring(&mut self.programs, &self.place.pins, nl, (&desired, &observed), false).await
    }

    /// Whether an interface takes frames from XDP, its other end decides.
    fn resend(&mut self, desired: &Desired, observed: &Observed) -> Result<()> {
        const BITS: u32 = flags::XDP_OUT | flags::XDP_IN;
        self.ground.xdp = self.xdp.sends(desired, observed);
        let mut config = self.tables.config()?;
        if config.external_ifindex != 0 && config.flags & BITS != self.ground.xdp {
            config.flags = config.flags & !BITS | self.ground.xdp;
            settings::exchange(&mut self.tables, config)?;
        }
        Ok(())
    }

    /// Ends flows that were idle for too long, as far as the next part of the table has any; how many.
    pub fn expire(&mut self) -> Result<u32> {
        self.programs.flush_log();
        let config = self.tables.config()?;
        let now = crate::datapath::now(&config);
        let pressed = self.tables.pressed(&config)?;
        let program = self.programs.get("expire")?;
        if std::mem::take(&mut self.cut_again)
            && let Some((desired, _)) = &self.in_force
        {
            expire::revoke(&self.place.pins, program, desired)?;
        }
        self.sweep.tick(program, std::time::Instant::now(), now, &config.timeouts, pressed)
    }

    /// Writes the status file.
    pub fn write_status(&self, refused: Option<&str>, failed: Option<&str>) -> Result<()> {
        let Some((desired, _)) = &self.in_force else { return Ok(()) };
        let status = Status {
            pid: std::process::id(),
            desired: desired.clone(),
            refused: refused.map(ToOwned::to_owned),
            failed: failed.map(ToOwned::to_owned),
            attach: self.attached.to_string(),
            table: self.size.reason.clone(),
            xdp_refused: self.xdp.refused().clone(),
        };
        status.write(&self.place.pins.id)
    }
}

/// Whether a change can end flows, so that the whole table has to be looked through.
fn may_cut(old: &Desired, new: &Desired) -> bool {
    old.egress != new.egress || old.no_snat != new.no_snat || old.selected != new.selected
}

/// Whether pins of this id belong to another namespace: inodes are used again, cookies are not.
fn stale(place: &Place, old: &[Old]) -> bool {
    let own = Tables::open(&place.pins).and_then(|tables| tables.config());
    own.is_ok_and(|config| config.external_ifindex != 0 && config.netns_cookie != place.cookie)
        || old.iter().filter_map(Old::kept).any(|kept| kept.netns_cookie != place.cookie)
}

fn warn_of_size(have: u32, wanted: u32) {
    if have != wanted {
        warn!(have, wanted, "the table keeps its size until the gateway is detached");
    }
}

async fn prepare(nl: &Netlink, desired: &Desired, observed: &Observed, with_forwarding: bool) -> Result<()> {
    report_failures(&prepare::run(nl, desired, with_forwarding).await.context("prepare the namespace")?.failures);
    report_failures(&route::sync(nl, desired, observed).await.context("routes of policy CIDRs")?.1);
    Ok(())
}

fn report_failures(failures: &[Failure]) {
    for failure in failures {
        warn!("{failure}");
    }
}
