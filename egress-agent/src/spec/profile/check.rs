//! Checks every field of an EgressGatewayProfile.

use std::str::FromStr;

use super::{Datapath, Fairness, Forward, LAST_PORT, PortRange, Profile, Timeouts};
use crate::{
    k8s::api::{EgressGatewayProfileSpec, FairnessSpec, PortRangeSpec, TimeoutsSpec},
    spec::report::{At, Report},
};

/// Longest timeout, 30 days.
const LONGEST: i64 = 30 * 24 * 3600;

/// Largest flow table.
const MOST_FLOWS: i64 = 1 << 30;

/// Highest rate of new flows.
const MOST_RATE: i64 = 1_000_000;

/// The profile of an EgressGatewayProfile called `name`.
pub(in crate::spec) fn resolve(name: &str, spec: &EgressGatewayProfileSpec, at: &At, report: &mut Report) -> Profile {
    let forward = word("spec.forward", spec.forward.as_deref(), at, report);
    let datapath = word("spec.datapath", spec.datapath.as_deref(), at, report);
    if (forward, datapath) == (Forward::Stack, Datapath::Xdp) {
        report.warn(at, "spec.datapath", "xdp does nothing with forward: stack, where the kernel routes".to_owned());
    }
    Profile {
        name: Some(name.to_owned()),
        timeouts: timeouts(&spec.timeouts, at, report),
        port_range: port_range(&spec.port_range, at, report),
        port_selection: word("spec.portSelection", spec.port_selection.as_deref(), at, report),
        max_flows: spec.max_flows.and_then(|flows| max_flows(flows, at, report)),
        midflow: word("spec.midflow", spec.midflow.as_deref(), at, report),
        fairness: fairness(&spec.fairness, at, report),
        forward,
        datapath,
    }
}

fn word<T: Default + FromStr<Err = String>>(field: &str, text: Option<&str>, at: &At, report: &mut Report) -> T {
    match text.map(str::parse) {
        None => T::default(),
        Some(Ok(value)) => value,
        Some(Err(reason)) => {
            report.error(at, field, reason);
            T::default()
        }
    }
}

fn timeouts(spec: &TimeoutsSpec, at: &At, report: &mut Report) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let rows = [
        ("tcpOpening", spec.tcp_opening, &mut timeouts.tcp_opening, None),
        ("tcpEstablished", spec.tcp_established, &mut timeouts.tcp_established, Some((7440, "RFC 5382 REQ-5"))),
        ("tcpHalfClosed", spec.tcp_half_closed, &mut timeouts.tcp_half_closed, None),
        ("tcpClosing", spec.tcp_closing, &mut timeouts.tcp_closing, Some((240, "RFC 5382 REQ-5"))),
        ("udpUnreplied", spec.udp_unreplied, &mut timeouts.udp_unreplied, Some((120, "RFC 4787 REQ-5"))),
        ("udpReplied", spec.udp_replied, &mut timeouts.udp_replied, Some((120, "RFC 4787 REQ-5"))),
        ("icmp", spec.icmp, &mut timeouts.icmp, Some((60, "RFC 5508 REQ-2"))),
        ("other", spec.other, &mut timeouts.other, None),
    ];
    for (name, value, slot, floor) in rows {
        let Some(value) = value else { continue };
        let field = format!("spec.timeouts.{name}");
        match u32::try_from(value) {
            Ok(seconds) if (1..=LONGEST).contains(&value) => *slot = seconds,
            _ => report.error(at, &field, format!("{value} seconds cannot be; write 1 to {LONGEST}")),
        }
        if let Some((floor, rfc)) = floor.filter(|(floor, _)| (1..*floor).contains(&value)) {
            report.warn(at, &field, format!("{value} seconds is short: {rfc} asks for at least {floor}"));
        }
    }
    timeouts
}

fn port_range(spec: &PortRangeSpec, at: &At, report: &mut Report) -> PortRange {
    let mut range = PortRange::default();
    for (name, value, slot) in [("min", spec.min, &mut range.min), ("max", spec.max, &mut range.max)] {
        match value.map(|value| (value, u16::try_from(value))) {
            None => {}
            Some((_, Ok(port))) if port > 0 => *slot = port,
            Some((value, _)) => {
                report.error(at, &format!("spec.portRange.{name}"), format!("{value} is no port; write 1 to 65535"));
                return PortRange::default();
            }
        }
    }
    let PortRange { min, max } = range;
    if min > max {
        report.error(at, "spec.portRange", format!("{min} to {max} is empty; min must not be above max"));
    } else if max > LAST_PORT {
        let reason =
            format!("ports above {LAST_PORT} are the gateway's own connections'; replies to those may get lost");
        report.warn(at, "spec.portRange.max", reason);
    }
    range
}

fn max_flows(flows: i64, at: &At, report: &mut Report) -> Option<u32> {
    let field = "spec.maxFlows";
    match u32::try_from(flows) {
        Ok(size) if (1..=MOST_FLOWS).contains(&flows) => {
            let taken = size.next_power_of_two();
            if taken != size {
                report.warn(at, field, format!("{size} is no power of two; {taken} is taken"));
            }
            Some(taken)
        }
        _ => {
            report.error(at, field, format!("{flows} flows cannot be; write a power of two from 1 to {MOST_FLOWS}"));
            None
        }
    }
}

fn fairness(spec: &FairnessSpec, at: &At, report: &mut Report) -> Fairness {
    let mut number = |name: &str, value: Option<i64>, most: i64, unit: &str| -> Option<u32> {
        let value = value?;
        let taken = u32::try_from(value).ok().filter(|_| (1..=most).contains(&value));
        if taken.is_none() {
            report.error(at, &format!("spec.fairness.{name}"), format!("{value} {unit} cannot be; write 1 to {most}"));
        }
        taken
    };
    let default = Fairness::default();
    let from = number("fromPercent", spec.from_percent, 100, "per cent");
    let fairness = Fairness {
        from_percent: from.unwrap_or(default.from_percent),
        max_flows_per_source: number("maxFlowsPerSource", spec.max_flows_per_source, MOST_FLOWS, "flows"),
        new_flows_per_source_per_second: number(
            "newFlowsPerSourcePerSecond",
            spec.new_flows_per_source_per_second,
            MOST_RATE,
            "flows per second",
        ),
    };
    if fairness.from_percent == 100 && fairness != (Fairness { from_percent: 100, ..default }) {
        report.warn(at, "spec.fairness.fromPercent", "100 limits nobody, whatever the other numbers say".to_owned());
    }
    fairness
}

#[cfg(test)]
mod tests;
