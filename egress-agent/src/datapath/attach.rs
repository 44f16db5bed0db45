//! Attaching: TCX links where the kernel has them, a clsact qdisc's filters elsewhere. A program that is attached already is
//! replaced without a gap.

use std::fmt;

use anyhow::{Context, Result};
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program},
};
use serde::Serialize;

use super::{
    load::Programs,
    pins::{Pins, unlink},
    sys,
};
use crate::net::Netlink;

/// Priority and handle of our filters on a clsact qdisc.
const PRIORITY: u16 = 1;
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
                let link = PinnedLink::from_pin(&pin).with_context(|| format!("open {}", pin.display()))?;
                let link = SchedClassifierLink::try_from(FdLink::from(link)).context("pinned link")?;
                let id =
                    program.attach_to_link(link).with_context(|| format!("replace program of {}", pin.display()))?;
                // Only the pin holds the link: who removes the pin takes the program away, and a new one can be attached.
                drop(program.take_link(id)?);
                return Ok(Attach::Tcx);
            }
            // The interface it was attached to is gone, or is not the one that it belongs to any more.
            Ok(_) => unlink(&pin)?,
            Err(_) => {}
        }
        match attach_tcx(program, place) {
            Ok(link) => {
                link.pin(&pin).with_context(|| format!("pin {}", pin.display()))?;
                // What an agent with --attach clsact left; fails where there is none.
                let _ = qdisc_detach_program(place.interface, place.side(), place.program);
                return Ok(Attach::Tcx);
            }
            Err(error) if how == Attach::Tcx || !unknown(&error) => {
                return Err(error).with_context(|| format!("attach {} to {}", place.program, place.interface));
            }
            Err(error) => tracing::info!(interface = place.interface, %error, "no TCX, using clsact"),
        }
    }
    attach_clsact(program, place)
        .with_context(|| format!("attach {} to {} by clsact", place.program, place.interface))?;
    unlink(&pin)?;
    Ok(Attach::Clsact)
}

/// Kernels without TCX do not know the attach type.
fn unknown(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error)
        if matches!(error.io_error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::EOPNOTSUPP)))
}

fn attach_tcx(program: &mut SchedClassifier, place: &Place<'_>) -> Result<FdLink, ProgramError> {
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(place.interface, place.side(), order)?;
    let link = program.take_link(id)?;
    FdLink::try_from(link).map_err(|_| ProgramError::NotAttached)
}

/// The filter stays when the agent ends: the qdisc holds the program.
fn attach_clsact(program: &mut SchedClassifier, place: &Place<'_>) -> Result<()> {
    // It may be there already.
    let _ = qdisc_add_clsact(place.interface);
    let old = SchedClassifierLink::attached(place.interface, place.side(), PRIORITY, HANDLE.into(), None)
        .context("interface")?;
    let id = match program.attach_to_link(old) {
        Ok(id) => id,
        Err(_) => {
            let options = NlOptions { priority: PRIORITY, handle: HANDLE.into(), classid: None };
            program.attach_with_options(place.interface, place.side(), TcAttachOptions::Netlink(options))?
        }
    };
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Takes a place's program away, however it is attached. The interface may be gone.
pub fn detach(pins: &Pins, place: &Place<'_>) -> Result<()> {
    unlink(&pins.link(place.link))?;
    // Fails where there is no filter of ours.
    let _ = qdisc_detach_program(place.interface, place.side(), place.program);
    Ok(())
}
