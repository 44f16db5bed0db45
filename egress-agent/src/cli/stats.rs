//! `egress-agent stats`.

use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;

use super::{Format, Statistics, output};
use crate::{
    datapath::{
        pins::Pins,
        stats::{self, Stats},
        top::Top,
    },
    role::place::Place,
};

#[derive(Serialize)]
struct All {
    gateways: Vec<Stats>,
}

/// The gateway of the namespace; without `--netns` and without one there, all of the machine.
pub(super) fn run(args: &Statistics) -> Result<()> {
    let (args, top) = (&args.look, args.top);
    let here = Place::enter(args.netns.netns.as_deref())?;
    let pins = if here.pins.exist() || args.netns.netns.is_some() {
        vec![here.existing()?.pins]
    } else {
        let all = Pins::all()?;
        if all.is_empty() { vec![here.existing()?.pins] } else { all }
    };
    let all = All { gateways: pins.iter().map(|pins| stats::read(pins, top)).collect::<Result<_>>()? };
    if args.output == Format::Json {
        return output::json(&all);
    }
    for gateway in all.gateways {
        let mut table = output::table(&["GATEWAY", &gateway.id]);
        table.add_row(["flows", &gateway.table.flows.to_string()]);
        table.add_row(["capacity", &gateway.table.capacity.to_string()]);
        for (name, value) in gateway.counters {
            table.add_row([name, &value.to_string()]);
        }
        for (name, value) in gateway.drops.into_iter().filter(|(_, value)| *value > 0) {
            table.add_row([&format!("drop {name}"), &value.to_string()]);
        }
        output::print(&table.to_string())?;
        if let Some(top) = gateway.top {
            print(&top)?;
        }
    }
    Ok(())
}

/// Two rankings, each with the number of all.
fn print(top: &Top) -> Result<()> {
    let mut table = output::table(&["USED", "OF", "PROTOCOL", "EGRESS", "REMOTE"]);
    for it in &top.destinations.largest {
        let remote =
            it.remote_port.map_or_else(|| it.remote.to_string(), |port| SocketAddr::new(it.remote, port).to_string());
        let [used, of] = [it.used, it.of].map(|number| number.to_string());
        table.add_row([used, of, it.protocol.clone(), it.egress.to_string(), remote]);
    }
    output::print(&format!("{table}\n{} destinations", top.destinations.total))?;
    let mut table = output::table(&["FLOWS", "INSIDE"]);
    for it in &top.sources.largest {
        table.add_row([it.flows.to_string(), it.inside.to_string()]);
    }
    output::print(&format!("{table}\n{} sources", top.sources.total))
}
