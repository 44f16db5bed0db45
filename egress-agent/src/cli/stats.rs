//! `egress-agent stats`.

use anyhow::Result;
use serde::Serialize;

use super::{Format, Look, output};
use crate::{
    datapath::{
        pins::Pins,
        stats::{self, Stats},
    },
    role::place::Place,
};

#[derive(Serialize)]
struct All {
    gateways: Vec<Stats>,
}

/// The gateway of the namespace; without `--netns` and without one there, all of the machine.
pub(super) fn run(args: &Look) -> Result<()> {
    let here = Place::enter(args.netns.netns.as_deref())?;
    let pins = if here.pins.exist() || args.netns.netns.is_some() {
        vec![here.existing()?.pins]
    } else {
        let all = Pins::all()?;
        if all.is_empty() { vec![here.existing()?.pins] } else { all }
    };
    let all = All { gateways: pins.iter().map(stats::read).collect::<Result<_>>()? };
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
    }
    Ok(())
}
