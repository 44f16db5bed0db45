//! Attaching: TCX links where the kernel has them, a clsact qdisc's filters elsewhere. A program that is attached already is
//! replaced without a gap.

use std::{fmt, path::Path};

use anyhow::{Context, Result};
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, Link, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program},
};
use serde::Serialize;

use super::{
    alive,
    load::Programs,
    pins::{Pins, unlink},
    sys,
};
use crate::net::Netlink;

/// Priority and handle of our filters on a clsact qdisc.
const PRIORITY: u16 = 1;
/// Of those behind them.
const BEHIND: u16 = 2;
const HANDLE: u32 = 1;

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// TCX, clsact if the kernel has none.
    #[default]
    Auto,
    /// TCX links (Linux 6.6 and later).
    Tcx,
    /// Filters of a clsact qdisc.
    Clsact,
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// One place where a program belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Name of the link's pin.
    pub link: &'static str,
    /// Program.
    pub program: &'static str,
    /// Interface.
    pub interface: &'a str,
    /// Its index.
    pub ifindex: u32,
    /// Egress instead of ingress.
    pub egress: bool,
}

impl Place<'_> {
    const fn side(&self) -> TcAttachType {
        if self.egress { TcAttachType::Egress } else { TcAttachType::Ingress }
    }

    /// How the program is attached to this place, if it is.
    pub async fn find(&self, pins: &Pins, nl: &Netlink) -> Result<Option<Attach>> {
        if sys::link_info(&pins.link(self.link)).is_ok_and(|info| info.ifindex == self.ifindex) {
            return Ok(Some(Attach::Tcx));
        }
        let filter = nl.has_filter(self.ifindex, self.egress, self.program).await?;
        Ok(filter.then_some(Attach::Clsact))
    }
}

/// The three places, in the order in which they are attached: the guard stands before anything can flow.
#[must_use]
pub const fn places<'a>(internal: (&'a str, u32), external: (&'a str, u32)) -> [Place<'a>; 3] {
    [
        Place { link: "guard", program: "egw_guard", interface: external.0, ifindex: external.1, egress: true },
        Place { link: "in", program: "egw_in", interface: external.0, ifindex: external.1, egress: false },
        Place { link: "out", program: "egw_out", interface: internal.0, ifindex: internal.1, egress: false },
    ]
}

/// Attaches or replaces the program of a place; how it is attached now.
pub fn attach(programs: &mut Programs, pins: &Pins, place: &Place<'_>, how: Attach) -> Result<Attach> {
    let pin = pins.link(place.link);
    let program = programs.get(place.program)?;
    if how != Attach::Clsact {
        match sys::link_info(&pin) {
            Ok(info) if info.ifindex == place.ifindex => {
                replace(program, &pin)?;
                return Ok(Attach::Tcx);
            }
            // The interface it was attached to is gone, or is not the one that it belongs to any more.
            Ok(_) => unlink(&pin)?,
            Err(_) => {}
        }
        match attach_tcx(program, place, LinkOrder::first()) {
            Ok(link) => {
                link.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
                // What stood behind a program that was taken away already.
                unlink(&pins.new_link(place.link))?;
                // What an agent with --attach clsact left; fails where there is none.
                let _ = qdisc_detach_program(place.interface, place.side(), place.program);
                unlink(&pins.alive())?;
                return Ok(Attach::Tcx);
            }
            Err(error) if how == Attach::Tcx || !unknown(&error) => {
                return Err(error).with_context(|| format!("attach {} to {}", place.program, place.interface));
            }
            Err(error) => tracing::info!(interface = place.interface, %error, "no TCX, using clsact"),
        }
    }
    attach_clsact(program, place, PRIORITY)
        .with_context(|| format!("attach {} to {} by clsact", place.program, place.interface))?;
    unlink(&pin)?;
    if let Err(error) = alive::note(pins, place.link, place.ifindex) {
        // Packets pass all the same; only nobody will know when it is over.
        tracing::warn!(interface = place.interface, "{error:#}: its pins will not be swept when its namespace is gone");
    }
    Ok(Attach::Clsact)
}

/// Kernels without TCX do not know the attach type.
fn unknown(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error)
        if matches!(error.io_error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::EOPNOTSUPP)))
}

fn attach_tcx(program: &mut SchedClassifier, place: &Place<'_>, order: LinkOrder) -> Result<FdLink, ProgramError> {
    let id = program.attach_with_options(place.interface, place.side(), TcAttachOptions::TcxOrder(order))?;
    let link = program.take_link(id)?;
    FdLink::try_from(link).map_err(|_| ProgramError::NotAttached)
}

/// How a program is attached beside the one whose place it is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// There was none: it is in its place.
    Placed(Attach),
    /// By a link with a pin of its own.
    Link,
    /// By a filter of the next priority.
    Filter,
}

/// Attaches the program of a place behind the one that is there as `old` says, whatever is asked for now, and which goes on.
pub fn attach_behind(
    programs: &mut Programs,
    pins: &Pins,
    place: &Place<'_>,
    how: Attach,
    old: Option<Attach>,
) -> Result<Beside> {
    let (pin, beside) = (pins.link(place.link), pins.new_link(place.link));
    let Some(old) = old else { return attach(programs, pins, place, how).map(Beside::Placed) };
    let program = programs.get(place.program)?;
    let context = || format!("attach {} to {} behind the old one", place.program, place.interface);
    if old == Attach::Clsact {
        attach_clsact(program, place, BEHIND).with_context(context)?;
        return Ok(Beside::Filter);
    }
    if sys::link_info(&beside).is_ok_and(|info| info.ifindex == place.ifindex) {
        replace(program, &beside)?;
        return Ok(Beside::Link);
    }
    unlink(&beside)?;
    let link = open_link(&pin)?;
    let order = LinkOrder::after_link(&link).with_context(context)?;
    let new = attach_tcx(program, place, order).with_context(context)?;
    new.pin(&beside).with_context(|| format!("pin {}", beside.display()))?;
    Ok(Beside::Link)
}

/// Takes the old program away and puts the new one in its place.
pub fn put_in_place(
    programs: &mut Programs,
    pins: &Pins,
    place: &Place<'_>,
    how: Attach,
    beside: Beside,
) -> Result<Attach> {
    match beside {
        Beside::Placed(attached) => Ok(attached),
        Beside::Link => {
            let (from, to) = (pins.new_link(place.link), pins.link(place.link));
            sys::detach_link(&to).with_context(|| format!("detach {}", to.display()))?;
            std::fs::rename(&from, &to).with_context(|| format!("rename {} to {}", from.display(), to.display()))?;
            // What is left of a change from filters to links that was cut short; fails where there is none.
            let _ = qdisc_detach_program(place.interface, place.side(), place.program);
            Ok(Attach::Tcx)
        }
        Beside::Filter => {
            let attached = attach(programs, pins, place, how)?;
            if attached == Attach::Tcx {
                // It took all filters away.
                return Ok(attached);
            }
            let behind = SchedClassifierLink::attached(place.interface, place.side(), BEHIND, HANDLE.into(), None);
            behind.context("interface")?.detach().context("remove the filter behind")?;
            Ok(attached)
        }
    }
}

fn open_link(pin: &Path) -> Result<SchedClassifierLink> {
    let link = PinnedLink::from_pin(pin).with_context(|| format!("open {}", pin.display()))?;
    SchedClassifierLink::try_from(FdLink::from(link)).context("pinned link")
}

/// Replaces the program of a pinned link at once.
fn replace(program: &mut SchedClassifier, pin: &Path) -> Result<()> {
    let id = program.attach_to_link(open_link(pin)?);
    let id = id.with_context(|| format!("replace program of {}", pin.display()))?;
    // Only the pin holds the link: who removes the pin takes the program away, and a new one can be attached.
    drop(program.take_link(id)?);
    Ok(())
}

/// The filter stays when the agent ends: the qdisc holds the program.
fn attach_clsact(program: &mut SchedClassifier, place: &Place<'_>, priority: u16) -> Result<()> {
    // It may be there already.
    let _ = qdisc_add_clsact(place.interface);
    let old = SchedClassifierLink::attached(place.interface, place.side(), priority, HANDLE.into(), None)
        .context("interface")?;
    let id = match program.attach_to_link(old) {
        Ok(id) => id,
        Err(_) => {
            let options = NlOptions { priority, handle: HANDLE.into(), classid: None };
            program.attach_with_options(place.interface, place.side(), TcAttachOptions::Netlink(options))?
        }
    };
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Takes a place's program away, however it is attached. The interface may be gone.
pub fn detach(pins: &Pins, place: &Place<'_>) -> Result<()> {
    unlink(&pins.new_link(place.link))?;
    unlink(&pins.link(place.link))?;
    // Fails where there is no filter of ours.
    let _ = qdisc_detach_program(place.interface, place.side(), place.program);
    Ok(())
}
