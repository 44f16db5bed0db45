//! What tests of the agent share: manifests, its answers as types, and its maps by their pins.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use egress_common::abi::{config::Config, flow::OUT, layout, order::HEAD, usage::Cell};
use egress_tests::gateway::{Agent, AgentOptions};
use egress_tests::system::Netns;
use egress_tests::traffic::{Call, PATIENCE, udp};
use egress_tests::{Lab, Need, eventually};
use serde::Deserialize;
use serde_json::Value;

/// What the tests need.
pub(crate) const NEEDS: &[Need] = &[Need::Root, Need::Tool("ip"), Need::Agent];
/// As an operator applies them.
pub(crate) const CLUSTER: &str = include_str!("../../manifests/samples/cluster.yaml");
pub(crate) const GATEWAY: &str = include_str!("../../manifests/samples/gateway2-dual-stack.yaml");
/// Port of the servers.
pub(crate) const PORT: u16 = 7007;
/// How long the agent may take to follow a change: it does at once, but two busy cores are slow.
pub(crate) const FOLLOW: Duration = Duration::from_secs(15);

/// Manifests in the lab's folder, to be edited.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) cluster: PathBuf,
    pub(crate) gateway: PathBuf,
}

impl Files {
    /// The samples as they are.
    pub(crate) fn samples(lab: &Lab) -> Result<Self> {
        Self::write(lab, CLUSTER, GATEWAY)
    }

    /// These texts.
    pub(crate) fn write(lab: &Lab, cluster: &str, gateway: &str) -> Result<Self> {
        Ok(Self {
            cluster: lab.write_file("cluster.yaml", cluster)?,
            gateway: lab.write_file("gateway.yaml", gateway)?,
        })
    }

    pub(crate) fn options(&self) -> AgentOptions {
        AgentOptions::files([&self.cluster, &self.gateway])
    }
}

/// `text` with `from`, which must be there, replaced.
pub(crate) fn edited(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the manifest");
    text.replace(from, to)
}

/// The gateway with more `snat: false` blocks.
pub(crate) fn with_no_snat(blocks: &[&str]) -> String {
    let last = "        - fd00:10:18::/112\n";
    let more: String = blocks.iter().map(|block| format!("        - {block}\n")).collect();
    edited(GATEWAY, last, &format!("{last}{more}"))
}

/// The gateway with these `externalIPs`.
pub(crate) fn with_egress(entries: &[&str]) -> String {
    let list: String = entries.iter().map(|entry| format!("    - {entry}\n")).collect();
    let old = "    - 172.17.0.11,fd00:172:17::11\n    - 172.17.0.12,fd00:172:17::12\n";
    edited(GATEWAY, old, &list)
}

/// One object of `flows`; fields that are not here or are missing are an error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flow {
    pub(crate) protocol: String,
    pub(crate) inside: IpAddr,
    #[serde(deserialize_with = "zero_if_none")]
    pub(crate) inside_port: u16,
    pub(crate) egress: IpAddr,
    #[serde(deserialize_with = "zero_if_none")]
    pub(crate) egress_port: u16,
    pub(crate) remote: IpAddr,
    pub(crate) remote_port: Option<u16>,
    pub(crate) state: String,
    pub(crate) age_seconds: u32,
    pub(crate) idle_seconds: u32,
    pub(crate) packets: Directions,
    pub(crate) bytes: Directions,
}

/// Where only addresses are translated there is no port.
fn zero_if_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Numbers of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directions {
    pub(crate) out: u64,
    #[serde(rename = "in")]
    pub(crate) inward: u64,
}

impl Flow {
    /// What the server sees.
    pub(crate) fn outside(&self) -> SocketAddr {
        SocketAddr::new(self.egress, self.egress_port)
    }
}

/// The flow table.
pub(crate) fn flows(lab: &Lab) -> Result<Vec<Flow>> {
    serde_json::from_value(Agent::query(lab, "flows")?).context("flows")
}

/// A number of `stats`: `counters/flows_removed`, `drops/not_ours` or `table/flows`.
pub(crate) fn stat(lab: &Lab, path: &str) -> Result<u64> {
    let stats = Agent::query(lab, "stats")?;
    let found = stats.pointer(&format!("/gateways/0/{path}")).and_then(Value::as_u64);
    found.with_context(|| format!("no {path} in {stats}"))
}

/// Checks of `doctor` that are not ok, as `name: detail`.
pub(crate) fn complaints(lab: &Lab) -> Result<Vec<String>> {
    let report = Agent::query(lab, "doctor")?;
    let checks = report["checks"].as_array().context("no checks")?;
    let bad: Vec<_> = checks.iter().filter(|check| check["ok"] != true).collect();
    ensure!(report["ok"] == bad.is_empty(), "{report}");
    Ok(bad.iter().map(|check| format!("{}: {}", text(check, "name"), text(check, "detail"))).collect())
}

/// A field that is text.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The gateway's id: device and inode of its namespace.
pub(crate) fn id(lab: &Lab) -> Result<String> {
    let meta = fs::metadata(lab.gateway.ns.path())?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()))
}

/// The folder of its pins.
pub(crate) fn pins(lab: &Lab) -> Result<PathBuf> {
    Ok(PathBuf::from("/sys/fs/bpf/egress-ebpf").join(id(lab)?))
}

/// The pin of a map.
pub(crate) fn map(lab: &Lab, name: &str) -> Result<PathBuf> {
    Ok(pins(lab)?.join(format!("maps/{:016x}/{name}", layout::hash())))
}

fn configs(lab: &Lab) -> Result<Array<MapData, Config>> {
    Ok(Map::Array(MapData::from_pin(map(lab, "CONFIG")?)?).try_into()?)
}

/// An order to end one flow, as `egress_common::abi::order` wants it.
pub(crate) fn order(why: u8, pod: (IpAddr, u16), server: (IpAddr, u16), protocol: u8) -> Vec<u8> {
    let mut bytes = vec![u8::from(pod.0.is_ipv6()), why, 1];
    bytes.resize(HEAD as usize, 0);
    for address in [pod.0, server.0] {
        match address {
            IpAddr::V4(it) => bytes.extend(it.octets()),
            IpAddr::V6(it) => bytes.extend(it.octets()),
        }
    }
    bytes.extend([pod.1, server.1].map(u16::to_ne_bytes).as_flattened());
    bytes.extend([protocol, OUT, 0, 0]);
    bytes
}

/// The configuration in use.
pub(crate) fn config(lab: &Lab) -> Result<Config> {
    let active: Array<_, u32> = Map::Array(MapData::from_pin(map(lab, "ACTIVE")?)?).try_into()?;
    Ok(configs(lab)?.get(&active.get(&0, 0)?, 0)?)
}

/// Changes both slots of the configuration.
pub(crate) fn change_config(lab: &Lab, change: impl Fn(&mut Config)) -> Result<()> {
    let mut map = configs(lab)?;
    for slot in 0..2 {
        let mut config = map.get(&slot, 0)?;
        change(&mut config);
        map.set(slot, config, 0)?;
    }
    Ok(())
}

/// How much of a family's table and ports is counted as used, `USE4` or `USE6`.
pub(crate) fn used(lab: &Lab, name: &str) -> Result<Array<MapData, Cell>> {
    Ok(Map::Array(MapData::from_pin(map(lab, name)?)?).try_into()?)
}

/// Sends one datagram and returns whom the server saw it from; no answer is waited for.
pub(crate) fn source_at(ns: &Netns, server: &udp::Server, call: Call) -> Result<SocketAddr> {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let message = format!("who sees this? {number}").into_bytes();
    let socket = udp::connect_in(ns, call)?;
    let mut seen = None;
    eventually("the datagram arrived", PATIENCE, || {
        // The first ones may be lost while a neighbour is looked for.
        let _ = socket.send(&message);
        seen = server.seen().into_iter().find(|it| it.payload == message).map(|it| it.peer);
        Ok(seen.is_some())
    })?;
    seen.context("not seen")
}
