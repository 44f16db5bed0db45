//! Whether a gateway's interfaces are still there, seen from any network namespace, where filters of a clsact qdisc are used: those
//! can be asked only where the interface is, while a link says by itself when it lost its own.
//!
//! The interfaces stand in a pinned map of devices. The kernel takes an interface out of all such maps when it goes, as all do that a
//! network namespace has when it ends.

use std::{io, os::fd::AsFd as _};

use anyhow::{Context, Result};
use nix::libc;

use super::{
    pins::{LINKS, Pins},
    sys,
};

/// Notes the interface of a program (a name of [`LINKS`]), which must be in this network namespace.
pub fn note(pins: &Pins, link: &str, ifindex: u32) -> Result<()> {
    let pin = pins.alive();
    let map = match sys::open_pin(&pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            sys::pin_devices(&pin, *b"EGW_ALIVE\0\0\0\0\0\0\0", LINKS.len())
        }
        open => open,
    };
    let map = map.with_context(|| format!("map {}", pin.display()))?;
    let index = LINKS.iter().position(|name| *name == link).and_then(|index| u32::try_from(index).ok());
    let index = index.with_context(|| format!("no link is called {link}"))?;
    sys::update(map.as_fd(), index, &ifindex.to_ne_bytes())
        .with_context(|| format!("interface {ifindex} in {}", pin.display()))
}

/// Whether one of the interfaces is there. None: none was noted, or it cannot be told.
#[must_use]
pub fn seen(pins: &Pins) -> Option<bool> {
    let map = sys::open_pin(&pins.alive()).ok()?;
    for index in 0..LINKS.len() {
        match sys::lookup(map.as_fd(), u32::try_from(index).ok()?, &mut [0; 4]) {
            Ok(()) => return Some(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(_) => return None,
        }
    }
    Some(false)
}
