//! `egress-agent flows`.

use anyhow::Result;

use super::{Format, Look, output};
use crate::{
    datapath::{flows, now, tables::Tables},
    role::place::Place,
};

pub(super) fn run(args: &Look) -> Result<()> {
    let place = Place::enter(args.netns.netns.as_deref())?.existing()?;
    let now = now(&Tables::open(&place.pins)?.config()?);
    let flows = flows::list(&place.pins, now)?;
    if args.output == Format::Json {
        return output::json(&flows);
    }
    let mut table =
        output::table(&["PROTOCOL", "INSIDE", "EGRESS", "REMOTE", "STATE", "AGE", "IDLE", "PACKETS", "BYTES"]);
    for flow in flows {
        let end = |ip: std::net::IpAddr, port: Option<u16>| match port {
            Some(port) => std::net::SocketAddr::new(ip, port).to_string(),
            None => ip.to_string(),
        };
        table.add_row([
            flow.protocol,
            end(flow.inside, flow.inside_port),
            end(flow.egress, flow.egress_port),
            end(flow.remote, flow.remote_port),
            flow.state.to_owned(),
            format!("{}s", flow.age_seconds),
            format!("{}s", flow.idle_seconds),
            format!("{}/{}", flow.packets.out, flow.packets.inward),
            format!("{}/{}", flow.bytes.out, flow.bytes.inward),
        ]);
    }
    output::print(&table.to_string())
}
