//! XDP in front of TC: attached last and taken away first, so that TC is beneath it always.
//!
//! Only in drivers, never the kernel's stand-in for them: that one runs behind the allocation it is to spare. Whether a driver
//! has it, the attempt shows. Nobody else's program is replaced.

use std::{io, os::fd::AsFd, path::Path};

use anyhow::{Context, Result};
use nix::errno::Errno;
use tracing::warn;

use super::{
    load::Programs,
    pins::{Pins, unlink},
    sys,
};

/// One interface on which a program belongs.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    /// Name of the link's pin.
    pub link: &'static str,
    /// Program.
    pub program: &'static str,
    /// Interface.
    pub interface: &'a str,
    /// Its index.
    pub ifindex: u32,
}

/// Both, in the order in which they are attached.
#[must_use]
pub const fn spots<'a>(internal: (&'a str, u32), external: (&'a str, u32)) -> [Spot<'a>; 2] {
    [
        Spot { link: "xdp-in", program: "egw_xdp_in", interface: external.0, ifindex: external.1 },
        Spot { link: "xdp-out", program: "egw_xdp_out", interface: internal.0, ifindex: internal.1 },
    ]
}

impl Spot<'_> {
    /// Whether our program is there.
    #[must_use]
    pub fn runs(&self, pins: &Pins) -> bool {
        sys::link_info(&pins.link(self.link)).is_ok_and(|info| info.ifindex == self.ifindex)
    }
}

/// Whether this CPU loads in the order of the program: shortcuts are read between two looks at their seals, without barriers.
pub const ORDERED: bool = cfg!(target_arch = "x86_64");

/// Why a program is not on its interface.
#[derive(Debug)]
pub enum Refused {
    /// The driver has no XDP.
    NoDriver,
    /// There is another program.
    Taken,
    /// See [`ORDERED`].
    Order,
    /// The kernel's answer.
    Other(io::Error),
}

/// Attaches the program of a spot, or replaces it without a gap.
pub fn attach(programs: &mut Programs, pins: &Pins, spot: &Spot<'_>) -> Result<Result<(), Refused>> {
    let pin = pins.link(spot.link);
    if !ORDERED {
        take_away(&pin)?;
        return Ok(Err(Refused::Order));
    }
    let program = programs.xdp(spot.program, pins)?.as_fd();
    if spot.runs(pins) {
        let context = || format!("replace program of {}", pin.display());
        return sys::update_link(&pin, program).with_context(context).map(Ok);
    }
    // The interface it was attached to is gone, or is not the one that it belongs to any more.
    take_away(&pin)?;
    Ok(sys::link_xdp(program, spot.ifindex, &pin).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EOPNOTSUPP) => Refused::NoDriver,
        Some(Errno::EBUSY | Errno::EEXIST) => Refused::Taken,
        _ => Refused::Other(error),
    }))
}

/// Puts new programs into the links that are there (`wanted`), or takes them away.
pub fn renew(programs: &mut Programs, pins: &Pins, wanted: bool) -> Result<()> {
    if !wanted || !ORDERED {
        return detach(pins);
    }
    for spot in spots(("", 0), ("", 0)) {
        let pin = pins.link(spot.link);
        if sys::link_info(&pin).is_ok_and(|info| info.ifindex != 0) {
            let replaced = programs.xdp(spot.program, pins).and_then(|program| {
                let context = || format!("replace program of {}", pin.display());
                sys::update_link(&pin, program.as_fd()).with_context(context)
            });
            // TC does all; the old program must not go on with the old table.
            if let Err(error) = replaced {
                warn!("XDP ends: {error:#}");
                take_away(&pin)?;
            }
        }
    }
    Ok(())
}

/// Takes both programs away at once, wherever they are.
pub fn detach(pins: &Pins) -> Result<()> {
    for spot in spots(("", 0), ("", 0)).iter().rev() {
        take_away(&pins.link(spot.link))?;
        unlink(&pins.program(spot.program))?;
    }
    Ok(())
}

/// Without its pin the link would end as well, but in the kernel's own time, which may be after that of TC's.
fn take_away(pin: &Path) -> Result<()> {
    match sys::detach_link(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("detach {}", pin.display()))
        }
        _ => unlink(pin),
    }
}
