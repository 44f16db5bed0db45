//! XDP where the profile asks for it: on which interfaces it runs, into which it may send, and what is said about it.

use std::collections::BTreeMap;

use anyhow::Result;
use aya::programs::loaded_programs;
use egress_common::abi::config::flags;
use tracing::{info, warn};

use crate::{
    datapath::{
        load::Programs,
        pins::Pins,
        xdp::{ORDERED, Refused, Spot, attach, detach, spots},
    },
    net::{
        Netlink,
        xdp::{Offer, offer},
    },
    spec::{desired::Desired, observed::Observed, profile::Datapath},
};

/// What was found out, by interface; said when it changes.
#[derive(Debug, Default)]
pub(super) struct Xdp {
    /// Why an interface has TC only.
    refused: BTreeMap<String, String>,
    said: BTreeMap<(String, &'static str), String>,
}

/// Whether the profile asks for it.
#[must_use]
pub fn wanted(desired: &Desired) -> bool {
    desired.profile.datapath == Datapath::Xdp
}

/// The spots of a gateway.
#[must_use]
pub fn of<'a>(desired: &'a Desired, observed: &Observed) -> [Spot<'a>; 2] {
    let side = |name: &'a str| (name, observed.link(name).map_or(0, |link| link.index));
    spots(side(&desired.internal.interface), side(&desired.external.interface))
}

/// Why no frames can be sent into an interface, and what helps; none: they can.
#[must_use]
pub fn closed(offer: Option<Offer>, interface: &str, kind: &str, ifindex: u32) -> Option<String> {
    match offer {
        Some(Offer { takes_frames: true, .. }) => None,
        Some(_) if kind == "veth" => Some(format!(
            "{interface} takes no frames from XDP: its peer has no NAPI; on the host: ethtool -K PEER gro on, where PEER is what \
             `ip link` shows there as PEER@if{ifindex}"
        )),
        Some(_) => Some(format!("{interface} takes no frames from XDP")),
        None => Some(format!("this kernel does not tell whether {interface} takes frames from XDP (Linux 6.3 does)")),
    }
}

impl Xdp {
    /// Directions in which frames can be sent: bits of [`flags`].
    pub(super) fn sends(&mut self, desired: &Desired, observed: &Observed) -> u32 {
        if !wanted(desired) || !ORDERED {
            return 0;
        }
        let sides = [(&desired.external.interface, flags::XDP_OUT), (&desired.internal.interface, flags::XDP_IN)];
        let mut bits = 0;
        for (name, bit) in sides {
            let Some(link) = observed.link(name) else { continue };
            let why = match offer(link.index) {
                Ok(offer) => closed(offer, name, &link.kind, link.index),
                Err(error) => Some(error.to_string()),
            };
            bits |= if why.is_none() { bit } else { 0 };
            self.say(name, "sends", why, "XDP can send frames into it");
        }
        bits
    }

    /// Brings the programs in line; what cannot be is said, and TC does all there.
    pub(super) async fn bring(
        &mut self,
        programs: &mut Programs,
        pins: &Pins,
        nl: &Netlink,
        (desired, observed): (&Desired, &Observed),
        replace: bool,
    ) -> Result<()> {
        if !wanted(desired) {
            self.refused.clear();
            self.said.clear();
            return detach(pins);
        }
        for spot in of(desired, observed) {
            if !replace && spot.runs(pins) {
                continue;
            }
            let why = match attach(programs, pins, &spot) {
                Ok(Ok(())) => None,
                Ok(Err(refused)) => Some(reason(refused, &spot, nl).await),
                Err(error) => Some(format!("{error:#}")),
            };
            match &why {
                Some(why) => self.refused.insert(spot.interface.to_owned(), why.clone()),
                None => self.refused.remove(spot.interface),
            };
            self.say(
                spot.interface,
                "runs",
                why.map(|why| format!("only TC runs on {}: {why}", spot.interface)),
                "XDP runs",
            );
        }
        Ok(())
    }

    /// Why interfaces have TC only, by their names.
    pub(super) const fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    fn say(&mut self, interface: &str, about: &'static str, bad: Option<String>, good: &str) {
        let text = bad.clone().unwrap_or_default();
        if self.said.insert((interface.to_owned(), about), text.clone()).as_ref() == Some(&text) {
            return;
        }
        match bad {
            Some(bad) => warn!("XDP: {bad}"),
            None => info!(interface, "{good}"),
        }
    }
}

async fn reason(refused: Refused, spot: &Spot<'_>, nl: &Netlink) -> String {
    match refused {
        Refused::NoDriver => "its driver has no native XDP".to_owned(),
        Refused::Order => "it needs x86-64, which loads from memory in a program's order".to_owned(),
        Refused::Other(error) => format!("the kernel refuses: {error}"),
        Refused::Taken => {
            let id = nl.xdp_program(spot.ifindex).await.ok().flatten();
            format!("it has another XDP program, {}, which stays", id.map_or_else(|| "unknown".to_owned(), name))
        }
    }
}

/// Only who has CAP_SYS_ADMIN may ask for a name.
fn name(id: u32) -> String {
    let program = loaded_programs().flatten().find(|program| program.id() == id);
    match program.as_ref().and_then(|program| program.name_as_str()) {
        Some(name) if !name.is_empty() => format!("{name} (id {id})"),
        _ => format!("id {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps() {
        let (no, yes) = (Offer { native: true, takes_frames: false }, Offer { native: true, takes_frames: true });
        assert_eq!(closed(Some(yes), "net1", "veth", 7), None);
        let veth = closed(Some(no), "net1", "veth", 7).unwrap();
        assert!(veth.contains("ethtool -K PEER gro on") && veth.contains("PEER@if7"), "{veth}");
        assert_eq!(closed(Some(no), "net1", "macvlan", 7).unwrap(), "net1 takes no frames from XDP");
        assert!(closed(None, "net1", "veth", 7).unwrap().contains("Linux 6.3"));
    }
}
