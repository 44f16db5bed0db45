//! `flows`, `stats` and `doctor`: their shapes, with and without a running agent, and in the wrong namespace.

mod doctor;
mod prepare;
mod probe;

use anyhow::{Context, Result};
use egress_common::verdict::{Counter, Drop};
use egress_tests::gateway::Agent;
use egress_tests::system::process;
use egress_tests::{Family, Lab, LabConfig, skip};
use serde_json::Value;

use crate::lab::exchange_all;
use crate::rig::{Files, NEEDS, PORT, flows, id, text};

/// Every name in an object.
fn names(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn shapes_with_and_without_an_agent() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let pod = lab.client("pod1")?;
    let mut seen = Vec::new();
    for family in Family::BOTH {
        seen.push(exchange_all(pod, &lab.far, family)?);
    }
    for running in [true, false] {
        check_flows(&lab, &seen)?;
        check_stats(&lab)?;
        let doctor = Agent::query(&lab, "doctor")?;
        assert_eq!(names(&doctor), ["checks", "ok"]);
        assert_eq!(doctor["ok"], true, "{doctor}");
        let checks = doctor["checks"].as_array().context("checks")?;
        for check in checks {
            assert_eq!(names(check), ["detail", "fix", "name", "ok"]);
            assert!(check["ok"].is_boolean() && !text(check, "name").is_empty() && text(check, "fix").is_empty());
        }
        let agent_check = checks.iter().find(|check| check["name"] == "agent").context("no check of the agent")?;
        assert_eq!(text(agent_check, "detail").starts_with("runs"), running, "{agent_check}");
        for (command, words) in [
            ("flows", &["PROTOCOL", "10.17.0.9:", "172.17.0.11:", "[fd00:172:17::11]:", "icmpv6"][..]),
            ("stats", &["GATEWAY", "flows_created", "out_packets", "capacity"]),
            ("doctor", &["CHECK", "program egw_out", "yes"]),
        ] {
            for arguments in [&[command][..], &[command, "-o", "table"], &[command, "--output", "table"]] {
                let output = Agent::run(&lab, arguments)?;
                assert!(output.status.success() && output.stderr.is_empty(), "{}", output.stderr);
                assert!(words.iter().all(|word| output.stdout.contains(word)), "{}", output.stdout);
            }
        }
        if running {
            agent.kill9()?;
        }
    }
    Ok(())
}

fn check_flows(lab: &Lab, seen: &[[std::net::SocketAddr; 2]]) -> Result<()> {
    // The types refuse fields that the issue does not name.
    let mut flows = flows(lab)?;
    assert!(flows.is_sorted_by_key(|flow| (flow.inside, flow.inside_port)), "{flows:?}");
    flows.sort_by_key(|flow| (flow.inside, flow.protocol.clone()));
    let protocols: Vec<_> = flows.iter().map(|flow| flow.protocol.as_str()).collect();
    assert_eq!(protocols, ["icmp", "tcp", "udp", "icmpv6", "tcp", "udp"]);
    for (flows, (seen, family)) in flows.chunks(3).zip(seen.iter().zip(Family::BOTH)) {
        let [icmp, tcp, udp] = flows else { anyhow::bail!("{flows:?}") };
        assert_eq!([tcp.outside(), udp.outside()], *seen);
        assert!(flows.iter().all(|it| it.inside == lab.config_addr(family) && it.remote == lab.far.addr(family)));
        assert_eq!((icmp.inside_port, icmp.remote_port, icmp.state.as_str()), (77, None, "replied"));
        assert_eq!((tcp.remote_port, udp.remote_port), (Some(PORT), Some(PORT)));
        assert!(["closing", "closed"].contains(&tcp.state.as_str()) && udp.state == "replied", "{tcp:?}");
        assert!(tcp.packets.out >= 4 && tcp.packets.inward >= 3 && tcp.bytes.out > tcp.packets.out * 40);
        let payload = if family == Family::V4 { 28 } else { 48 };
        assert_eq!((udp.packets.out, udp.packets.inward, udp.bytes.out), (1, 1, payload + 8));
        assert_eq!(udp.bytes.inward, udp.bytes.out);
        assert!(flows.iter().all(|it| it.idle_seconds <= it.age_seconds && it.age_seconds < 600));
    }
    Ok(())
}

trait Pod1 {
    fn config_addr(&self, family: Family) -> std::net::IpAddr;
}

impl Pod1 for Lab {
    fn config_addr(&self, family: Family) -> std::net::IpAddr {
        let client = &self.config.clients[0];
        match family {
            Family::V4 => client.v4.into(),
            Family::V6 => client.v6.into(),
        }
    }
}

fn check_stats(lab: &Lab) -> Result<()> {
    let stats = Agent::query(lab, "stats")?;
    assert_eq!(names(&stats), ["gateways"]);
    let gateways = stats["gateways"].as_array().context("gateways")?;
    let [gateway] = gateways.as_slice() else { anyhow::bail!("{stats}") };
    assert_eq!(names(gateway), ["counters", "drops", "id", "table"]);
    assert_eq!(text(gateway, "id"), id(lab)?);
    assert_eq!(names(&gateway["drops"]), sorted(Drop::ALL.iter().map(|it| it.name())));
    assert_eq!(names(&gateway["counters"]), sorted(Counter::ALL.iter().map(|it| it.name())));
    for group in ["drops", "counters"] {
        assert!(gateway[group].as_object().is_some_and(|it| it.values().all(Value::is_u64)), "{gateway}");
    }
    assert_eq!(gateway["drops"]["no_egress_address"], 0);
    assert_eq!(gateway["counters"]["flows_created"], 6);
    assert_eq!(names(&gateway["table"]), ["capacity", "flows"]);
    assert_eq!(gateway["table"]["flows"], 6);
    assert!(gateway["table"]["capacity"].as_u64().is_some_and(|it| it >= 16_384 && it.is_power_of_two()));
    Ok(())
}

#[test]
fn a_namespace_without_a_gateway_is_told_of_the_others() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().families(&[Family::V4]))?;
    let gateway = include_str!("../../manifests/samples/gateway1.yaml");
    let _agent = Agent::start(&lab, Files::write(&lab, crate::rig::CLUSTER, gateway)?.options())?;
    for command in ["flows", "stats", "doctor", "detach"] {
        let mut elsewhere = std::process::Command::new(egress_tests::gateway::agent_binary());
        elsewhere.arg(command).arg("--netns").arg(lab.far.ns.path());
        let output = process::run(elsewhere, None)?;
        assert_eq!(output.status.code(), Some(1), "{command}: {}{}", output.stdout, output.stderr);
        let said = if command == "doctor" { &output.stdout } else { &output.stderr };
        assert!(said.contains("no gateway in this network namespace") && said.contains("--netns"), "{command}: {said}");
        assert!(said.contains(&id(&lab)?), "{command} names the others: {said}");
        assert!(command == "doctor" || output.stdout.is_empty(), "{command}: {}", output.stdout);
    }
    let mut nowhere = std::process::Command::new(egress_tests::gateway::agent_binary());
    nowhere.args(["flows", "-o", "json", "--netns", "/run/netns/no-such-name"]);
    let output = process::run(nowhere, None)?;
    assert_eq!((output.status.code(), output.stdout.as_str()), (Some(1), ""), "errors go to standard error");
    assert!(output.stderr.starts_with("error: --netns /run/netns/no-such-name: "), "{}", output.stderr);
    Ok(())
}
