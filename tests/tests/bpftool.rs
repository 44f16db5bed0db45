//! The object and the maps of a running gateway under plain `bpftool`.

use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::system::name::InstanceName;
use egress_tests::system::process;
use egress_tests::{Family, Lab, LabConfig, Need, eventually, skip};
use serde_json::Value;

use crate::lab::exchange_all;
use crate::rig::{FOLLOW, Files, Flow, NEEDS, flows, map, pins, stat, text};
use crate::xdp;

const PROGRAMS: [&str; 5] = ["egw_guard", "egw_in", "egw_out", "expire", "import"];
const XDP_PROGRAMS: [&str; 2] = ["egw_xdp_in", "egw_xdp_out"];
/// What the verifier may walk through for each of them: as measured on Linux 6.18, and a fifth more.
const BUDGET: [u64; 5] = [1_200, 110_000, 242_000, 36_500, 24_000];
const XDP_BUDGET: [u64; 2] = [10_600, 10_600];

fn bpftool(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("bpftool");
    command.args(arguments);
    let output = process::run(command, None)?;
    ensure!(output.status.success(), "bpftool {arguments:?}: {}{}", output.stdout, output.stderr);
    Ok(output.stdout)
}

fn json(arguments: &[&str]) -> Result<Value> {
    let text = bpftool(&[&["-j"], arguments].concat())?;
    serde_json::from_str(&text).with_context(|| format!("bpftool {arguments:?}: {text}"))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("path")
}

/// A folder in the BPF file system, removed on drop.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn plain_bpftool_loads_the_object() -> Result<()> {
    if skip(&[Need::Root, Need::Tool("bpftool")]) {
        return Ok(());
    }
    let Some(object) = env::var_os("EGRESS_EBPF_OBJ") else {
        println!("SKIP: EGRESS_EBPF_OBJ does not name the BPF object");
        return Ok(());
    };
    let folder = Folder(PathBuf::from("/sys/fs/bpf").join(InstanceName::next()?.of("object")));
    bpftool(&["prog", "loadall", path(Path::new(&object))?, path(&folder.0)?])?;
    let kinds = PROGRAMS.map(|name| (name, "sched_cls")).into_iter().chain(XDP_PROGRAMS.map(|name| (name, "xdp")));
    for (name, kind) in kinds {
        let program = json(&["prog", "show", "pinned", path(&folder.0.join(name))?])?;
        assert_eq!((text(&program, "name"), text(&program, "type")), (name, kind));
        assert!(program["btf_id"].is_u64() && program["gpl_compatible"] == true, "{program}");
    }
    Ok(())
}

#[test]
fn programs_stay_far_from_the_verifiers_limit() -> Result<()> {
    if skip(&[Need::Root, Need::Tool("bpftool"), Need::Agent]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = Agent::start(&lab, xdp::options(&lab)?)?;
    let budgets = PROGRAMS.into_iter().zip(BUDGET).chain(XDP_PROGRAMS.into_iter().zip(XDP_BUDGET));
    for (name, budget) in budgets {
        let info = aya::programs::ProgramInfo::from_pin(pins(&lab)?.join("progs").join(name))?;
        assert_eq!(info.name_as_str(), Some(name));
        let count = u64::from(info.verified_instruction_count().context("the kernel does not count")?);
        println!("{name}: {count} instructions verified, {:?} bytes of code", info.size_translated());
        assert!(count > 0 && count < budget, "{name}: {count} of {budget}");
    }
    for (link, program, attach) in [
        ("out", "egw_out", "ingress"),
        ("in", "egw_in", "ingress"),
        ("guard", "egw_guard", "egress"),
        ("xdp-out", "egw_xdp_out", "driver"),
        ("xdp-in", "egw_xdp_in", "driver"),
    ] {
        let shown = json(&["link", "show", "pinned", path(&pins(&lab)?.join("links").join(link))?])?;
        let id = shown["prog_id"].as_u64().context("no prog_id")?.to_string();
        assert_eq!(text(&json(&["prog", "show", "id", &id])?, "name"), program, "{attach}: {shown}");
    }
    Ok(())
}

/// Addresses stand as byte arrays, so they read as people write them; IPv6's have a name.
fn address(value: &Value) -> Option<IpAddr> {
    let bytes: Vec<u8> = value.get("octets").unwrap_or(value).as_array()?.iter().map(byte).collect::<Option<_>>()?;
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    }
}

/// bpftool prints bytes as numbers or as `0x11`, by its version.
fn byte(value: &Value) -> Option<u8> {
    let hexadecimal = |text: &str| u8::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    value.as_u64().and_then(|it| u8::try_from(it).ok()).or_else(|| hexadecimal(value.as_str()?))
}

/// A dump of a flow table, and the flows that were listed just before and just after it without a difference: connections that
/// the client has closed may still have packets on their way.
fn at_rest(lab: &Lab, table: &str) -> Result<(Value, Vec<Flow>)> {
    let counts = |flows: &[Flow]| flows.iter().map(|flow| (flow.packets, flow.bytes)).collect::<Vec<_>>();
    let mut found = None;
    eventually("a table at rest", FOLLOW, || {
        let before = flows(lab)?;
        let dump = json(&["map", "dump", "pinned", path(&map(lab, table)?)?])?;
        let after = flows(lab)?;
        let same = counts(&before) == counts(&after);
        found = same.then_some((dump, after));
        Ok(same)
    })?;
    found.context("no dump")
}

#[test]
fn dumps_have_names_and_agree_with_flows() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("bpftool")]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    for (family, name) in Family::BOTH.into_iter().zip(["FLOWS4", "FLOWS6"]) {
        exchange_all(lab.client("pod1")?, &lab.far, family)?;
        let (dump, flows) = at_rest(&lab, name)?;
        let entries: Vec<_> = dump.as_array().context("no list")?.iter().map(|it| &it["formatted"]).collect();
        assert_eq!(entries.len(), 6, "{dump}");
        for flow in flows.iter().filter(|flow| Family::of(flow.inside) == family) {
            let of = |dir: u64, own: (&str, IpAddr), port: (&str, u16)| {
                let found = entries.iter().find(|entry| {
                    let key = &entry["key"];
                    key["dir"] == dir && address(&key[own.0]) == Some(own.1) && key[port.0] == port.1
                });
                found.with_context(|| format!("no entry {dir} of {flow:?} in {dump}"))
            };
            let out = of(0, ("saddr", flow.inside), ("sport", flow.inside_port))?;
            assert_eq!(address(&out["key"]["daddr"]), Some(flow.remote));
            assert_eq!(address(&out["value"]["nat_addr"]), Some(flow.egress));
            assert_eq!(out["key"]["dport"], flow.remote_port.unwrap_or(0));
            assert_eq!(out["value"]["word"]["port"], flow.egress_port);
            assert_eq!(
                (&out["value"]["packets"], &out["value"]["bytes"]),
                (&flow.packets.out.into(), &flow.bytes.out.into())
            );
            let back = of(1, ("daddr", flow.egress), ("dport", flow.egress_port))?;
            assert_eq!(address(&back["value"]["nat_addr"]), Some(flow.inside));
            assert_eq!(back["value"]["packets"], flow.packets.inward);
            assert!(back["value"]["last_seen"].is_u64() && back["value"]["created"].is_u64(), "{back}");
        }
    }
    for (name, group, fields) in
        [("DROPS", "drops", ["no_mapping", "guard"]), ("COUNTERS", "counters", ["out_packets", "flows_created"])]
    {
        let dump = json(&["map", "dump", "pinned", path(&map(&lab, name)?)?])?;
        let cpus = dump[0]["formatted"]["values"].as_array().with_context(|| dump.to_string())?;
        for field in fields {
            let sum: u64 =
                cpus.iter().map(|cpu| cpu["value"][field].as_u64()).sum::<Option<_>>().context(dump.to_string())?;
            assert_eq!(sum, stat(&lab, &format!("{group}/{field}"))?, "{field}");
        }
        assert!(bpftool(&["map", "dump", "pinned", path(&map(&lab, name)?)?])?.contains(fields[0]));
    }
    let config = bpftool(&["map", "dump", "pinned", path(&map(&lab, "CONFIG")?)?])?;
    for field in ["clock_offset_ns", "external_ifindex", "tcp_established", "egress4", "port_min"] {
        assert!(config.contains(field), "no {field} in {config}");
    }
    Ok(())
}
