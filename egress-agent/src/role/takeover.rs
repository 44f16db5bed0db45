//! From the kernel's NAT to ours, and back, with the flows.
//!
//! The kernel goes on with what we do not know (`YIELD`) while its flows are copied, ever less of it from step to step, so
//! that in the end there is no flow that only one side knows. Its rules stay as they are.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    thread::sleep,
};

use anyhow::{Context, Result, bail};
use egress_common::abi::config::{Config, flags};
use nix::errno::Errno;
use tracing::{info, warn};

use crate::{
    datapath::{
        attach::{detach, places},
        foreign,
        import::{Became, Flows, GRACE, LOOKS, import, settle},
        load::Programs,
        now,
        pins::Pins,
        settings::exchange,
        sys,
        tables::Tables,
        xdp,
    },
    net::{
        Netlink, block_on,
        netfilter::{
            Netfilter,
            conntrack::{Tracked, Tuple, tcp},
            rules::TABLE,
        },
    },
    spec::{desired::Desired, observed::Observed},
};

/// The bits that pass packets on.
pub const YIELDING: u32 = flags::YIELD | flags::YIELD_NOT_SYN;

/// `config` with `bits` of [`YIELDING`]. As long as there are any a segment in mid-connection may be of a flow that is not there
/// yet: none is refused. And the kernel still has the ports of those that have ended.
#[must_use]
pub const fn passing_on(config: Config, bits: u32) -> Config {
    let flags = match bits {
        0 => config.flags,
        _ => config.flags & !(flags::MIDFLOW_RESET | flags::MIDFLOW_DROP) | flags::HOLD_PORTS | bits,
    };
    Config { flags, ..config }
}

/// The kernel's NAT, if the namespace has any.
#[must_use]
pub fn nat() -> Option<Netfilter> {
    let find = || -> Result<Option<Netfilter>> {
        let netfilter = Netfilter::open()?;
        Ok(netfilter.has_nat()?.then_some(netfilter))
    };
    find().unwrap_or_else(|error| {
        // Without netfilter there are no rules.
        tracing::debug!("netfilter: {error:#}");
        None
    })
}

/// Takes the kernel's flows over. The programs are attached and yield.
pub fn take(
    netfilter: &Netfilter,
    programs: &mut Programs,
    tables: &mut Tables,
    config: Config,
    desired: &Desired,
    observed: &Observed,
) -> Result<()> {
    let own = observed.links.iter().flat_map(|link| link.addresses.iter().map(|it| it.net.addr())).collect();
    let mut look = Look { netfilter, programs, config, egress: &desired.egress, own, others: 0 };
    let mut became = look.copy()?;
    // No new connection begins in the kernel, then no new flow at all, then nothing of it goes on there.
    for (passed_on, looks) in [(YIELDING, 2), (flags::YIELD_NOT_SYN, LOOKS), (0, LOOKS)] {
        exchange(tables, passing_on(config, passed_on))?;
        let more = settle(looks, || look.copy())?;
        became = Became { new: became.new + more.new, ..more };
    }
    let others = look.others;
    info!(flows = became.new, "took over the flows of the kernel's NAT; table inet {TABLE} keeps it away from them");
    if became.full > 0 {
        warn!(
            flows = became.full,
            "no room for flows of the kernel's NAT, living ones were taken first; raise spec.maxFlows of the profile"
        );
    }
    if others > 0 {
        warn!(
            flows = others,
            "connections that the kernel translates to other addresses than this gateway's spec.externalIPs, or of a family \
             without one, end now; `egress-agent detach --handover` gives the rest back"
        );
    }
    if became.refused > 0 {
        warn!(flows = became.refused, "flows that could not be taken over: others have their ports");
    }
    Ok(())
}

struct Look<'a> {
    netfilter: &'a Netfilter,
    programs: &'a mut Programs,
    config: Config,
    egress: &'a [IpAddr],
    own: BTreeSet<IpAddr>,
    others: u32,
}

impl Look<'_> {
    fn copy(&mut self) -> Result<Became> {
        let tracked = self.netfilter.tracked()?;
        let (flows, others) =
            foreign::carried(&tracked, self.egress, &self.own, now(&self.config), &self.config.timeouts);
        self.others = others;
        import(self.programs.get("import")?, &flows, false)
    }
}

/// What became of flows that were given to the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// It goes on with them.
    pub given: u32,
    /// It had given their port to another connection.
    pub taken: u32,
    /// It cannot be told of them (SCTP, DCCP).
    pub untold: u32,
    /// It refused them for another reason, which the log names once.
    pub failed: u32,
}

/// Fails unless the namespace has rules that translate.
pub fn receiver() -> Result<Netfilter> {
    let Some(netfilter) = nat() else {
        bail!(
            "--handover: this namespace has no NAT rules (no nat chain at postrouting, no nat table of iptables): live flows \
             would go on untranslated. Set the rules up first, or use `detach` alone"
        );
    };
    Ok(netfilter)
}

/// Gives all flows to the kernel and takes the programs away, the guard last. No agent runs.
pub fn give(netfilter: &Netfilter, pins: &Pins, internal: &str, external: &str) -> Result<Given> {
    let mut tables = Tables::open(pins)?;
    let config = tables.config().context("there is no configuration yet")?;
    let mut stale = forget_stale(netfilter, &tables, &config)?;
    let given = if config.flags & YIELDING != 0 && !carries(pins, internal, &config)? {
        // A handover was cut short once it had given them all: the kernel carries them, and ours are out of date.
        Given { given: u32::try_from(stale.len()).unwrap_or(u32::MAX), ..Given::default() }
    } else {
        // The kernel knows nearly all ports before it chooses any: those of flows that were opened during the first pass, too. What
        // was opened since may have lost its port to another flow when the last pass comes.
        let mut known = HashMap::new();
        let mut pass = || hand(netfilter, &Flows::of(pins)?, &config, &mut known, &mut stale);
        pass()?;
        pass()?;
        exchange(&mut tables, passing_on(config, flags::YIELD))?;
        pass()?;
        sleep(GRACE);
        pass()?
    };
    xdp::detach(pins)?;
    for place in places((internal, 0), (external, 0)).iter().rev() {
        detach(pins, place)?;
    }
    sleep(GRACE);
    netfilter.remove_table()?;
    Ok(given)
}

/// Whether our programs see what comes from Pods before the kernel does.
fn carries(pins: &Pins, internal: &str, config: &Config) -> Result<bool> {
    let [.., out] = places((internal, config.internal_ifindex), ("", 0));
    // Of an upgrade that was cut short.
    if sys::link_info(&pins.new_link(out.link)).is_ok_and(|info| info.ifindex == out.ifindex) {
        return Ok(true);
    }
    block_on(async { Ok(out.find(pins, &Netlink::open().context("rtnetlink")?).await?.is_some()) })?
}

/// What the kernel still has of connections from Pods under our addresses is what was taken over from it: it has not seen how they
/// went on, and their ports may be others' by now. But where our programs already pass on, since a handover or a takeover was
/// cut short, it carries some of them: these are returned, for [`hand`] to tell which.
fn forget_stale(netfilter: &Netfilter, tables: &Tables, config: &Config) -> Result<HashMap<Tuple, Tracked>> {
    let own4 = tables.local4.keys().map(|key| key.map(IpAddr::from));
    let own6 = tables.local6.keys().map(|key| key.map(IpAddr::from));
    let own: BTreeSet<IpAddr> = own4.chain(own6).collect::<Result<_, _>>().context("own addresses")?;
    let egress = egress(config);
    let ours = |it: &Tracked| foreign::translated(it, &own) && egress.contains(&it.reply.dst);
    let stale = netfilter.tracked()?.into_iter().filter(ours);
    if config.flags & YIELDING != 0 {
        return Ok(stale.map(|connection| (connection.orig, connection)).collect());
    }
    for connection in stale {
        // It may have ended by itself.
        let _ = netfilter.forget(&connection);
    }
    Ok(HashMap::new())
}

/// The egress addresses of a configuration.
fn egress(config: &Config) -> BTreeSet<IpAddr> {
    let v4 = config.egress4.iter().take(config.egress4_len as usize).map(|addr| IpAddr::from(*addr));
    v4.chain(config.egress6.iter().take(config.egress6_len as usize).map(|addr| IpAddr::from(*addr))).collect()
}

/// Gives what is not `known` yet; what is, and ended since, the kernel forgets: its port may be another flow's now. Of
/// those that are `stale` there it gives the ones that are ours anew: our programs have carried them.
fn hand(
    netfilter: &Netfilter,
    flows: &Flows,
    config: &Config,
    known: &mut HashMap<Tuple, Tracked>,
    stale: &mut HashMap<Tuple, Tracked>,
) -> Result<Given> {
    let (tracked, untold) = foreign::tracked(flows, now(config), &config.timeouts);
    let mut given = Given { untold, ..Given::default() };
    let alive: HashMap<Tuple, Tuple> = tracked.iter().map(|it| (it.orig, it.reply)).collect();
    known.retain(|orig, connection| {
        let goes_on = alive.get(orig) == Some(&connection.reply);
        if !goes_on {
            // It may have ended there by itself.
            let _ = netfilter.forget(connection);
        }
        goes_on
    });
    for connection in tracked {
        if known.contains_key(&connection.orig) {
            continue;
        }
        if let Some(old) = stale.remove(&connection.orig).filter(|old| same(old, &connection)) {
            let _ = netfilter.forget(&old);
        }
        match netfilter.track(&connection) {
            Ok(()) => {
                known.insert(connection.orig, connection);
            }
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {
                // What has ended needs nobody to go on with it.
                given.taken += u32::from(connection.tcp != Some(tcp::TIME_WAIT));
            }
            Err(error) => {
                if given.failed == 0 {
                    warn!(%error, ?connection, "the kernel refuses a flow");
                }
                given.failed += 1;
            }
        }
    }
    given.given = u32::try_from(known.len()).unwrap_or(u32::MAX);
    Ok(given)
}

/// Whether two connections with the same original tuple have the same mapping.
fn same(one: &Tracked, other: &Tracked) -> bool {
    (one.reply.src, one.reply.dst, one.reply.dport) == (other.reply.src, other.reply.dst, other.reply.dport)
}

#[cfg(test)]
mod tests;
