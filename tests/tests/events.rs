//! The flow log: every flow is told when it begins and when it ends, and what gets lost is made good from the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use egress_tests::gateway::Agent;
use egress_tests::lab::addresses::mac;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;
use egress_tests::testrun::{Program, Verdict};
use egress_tests::traffic::{Call, icmp, tcp, udp};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde::Deserialize;

use crate::rig::{
    CLUSTER, Directions, FOLLOW, Files, Flow, GATEWAY, NEEDS, PORT, change_config, edited, flows, pins, stat,
    with_no_snat,
};

/// A line; fields that are not here are an error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    time: String,
    event: String,
    protocol: Option<String>,
    inside: Option<IpAddr>,
    inside_port: Option<u16>,
    egress: Option<IpAddr>,
    egress_port: Option<u16>,
    remote: Option<IpAddr>,
    remote_port: Option<u16>,
    #[serde(default)]
    from_table: bool,
    began: Option<String>,
    reason: Option<String>,
    packets: Option<Directions>,
    bytes: Option<Directions>,
    count: Option<u64>,
    since: Option<String>,
}

/// What tells a flow from another.
type Ends = (String, SocketAddr, SocketAddr, SocketAddr);

impl Line {
    fn ends(&self) -> Option<Ends> {
        let at = |ip: Option<IpAddr>, port: Option<u16>| Some(SocketAddr::new(ip?, port.unwrap_or_default()));
        Some((
            self.protocol.clone()?,
            at(self.inside, self.inside_port)?,
            at(self.egress, self.egress_port)?,
            at(self.remote, self.remote_port)?,
        ))
    }
}

fn ends(flow: &Flow) -> Ends {
    let remote = SocketAddr::new(flow.remote, flow.remote_port.unwrap_or_default());
    (flow.protocol.clone(), SocketAddr::new(flow.inside, flow.inside_port), flow.outside(), remote)
}

struct Log(PathBuf);

impl Log {
    fn of(lab: &Lab) -> Self {
        Self(lab.folder().join("flows.jsonl"))
    }

    /// Whole lines only.
    fn lines(&self) -> Result<Vec<Line>> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    fn count(&self, event: &str) -> Result<usize> {
        Ok(self.lines()?.iter().filter(|line| line.event == event).count())
    }

    /// Ends of all flows that were told to begin.
    fn started(&self) -> Result<BTreeSet<Ends>> {
        Ok(self.lines()?.iter().filter(|line| line.event == "start").filter_map(Line::ends).collect())
    }
}

fn agent<'lab>(lab: &'lab Lab, files: &Files, log: &Log) -> Result<Agent<'lab>> {
    Agent::start(lab, files.options().with("--flow-log", log.0.to_str().context("path")?))
}

fn pass(lab: &Lab, seconds: u64) -> Result<()> {
    change_config(lab, |config| config.clock_offset_ns += seconds * 1_000_000_000)
}

fn frame(from: (IpAddr, u16), to: (IpAddr, u16), protocol: u8, l4: &[u8]) -> Vec<u8> {
    build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, &Header::new(from.0, to.0, protocol).packet(l4))
}

/// TCP, UDP and ICMP of both families from the first packet to the last, each with the numbers that `flows` showed; then one that
/// is cut.
#[test]
fn each_flow_is_told_when_it_begins_and_when_it_ends() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let (files, log) = (Files::samples(&lab)?, Log::of(&lab));
    let _agent = agent(&lab, &files, &log)?;
    let pod = &lab.client("pod1")?.ns;
    let mut servers = Vec::new();
    for family in Family::BOTH {
        let at = SocketAddr::new(lab.far.addr(family), PORT);
        servers.push((udp::Server::start(&lab.far.ns, at)?, tcp::Server::start(&lab.far.ns, at, tcp::Serve::Echo)?));
        let call = Call::to(at.ip(), PORT);
        let socket = udp::connect_in(pod, call)?;
        (0..3).try_for_each(|_| udp::exchange(&socket, b"told"))?;
        tcp::once(pod, call, b"told")?;
        icmp::once(pod, at.ip(), 77)?;
    }
    let closed = |flows: &[Flow]| flows.iter().filter(|it| it.state == "closed").count() == 2;
    let mut listed = Vec::new();
    eventually("the connections are closed", FOLLOW, || {
        listed = flows(&lab)?;
        Ok(closed(&listed))
    })?;
    assert_eq!(listed.len(), 6, "{listed:?}");
    eventually("all are told to begin", FOLLOW, || Ok(log.started()?.len() == 6))?;
    assert_eq!(log.started()?, listed.iter().map(ends).collect());
    eventually("the agent told what it found at its start", FOLLOW, || Ok(log.count("table")? == 1))?;
    assert_eq!(log.count("end")?, 0);

    pass(&lab, 10_000)?;
    eventually("all are told to end", FOLLOW, || Ok(log.count("end")? == 6))?;
    for line in log.lines()?.iter().filter(|line| line.event == "end") {
        let flow = listed.iter().find(|flow| Some(ends(flow)) == line.ends()).with_context(|| format!("{line:?}"))?;
        assert_eq!((line.packets, line.bytes), (Some(flow.packets), Some(flow.bytes)), "{line:?}");
        assert_eq!(line.reason.as_deref(), Some("idle"), "{line:?}");
        let began = line.began.as_ref().context("no beginning")?;
        assert!(*began < line.time && line.time.ends_with('Z'), "{line:?}");
    }

    let at = SocketAddr::new(lab.far.addr(Family::V4), PORT);
    udp::once(pod, Call::to(at.ip(), PORT), b"cut")?;
    let cut = ends(&flows(&lab)?[0]);
    fs::write(&files.gateway, with_no_snat(&["203.0.113.0/24"]))?;
    eventually("it is told to end", FOLLOW, || Ok(log.count("end")? == 7))?;
    let last = log.lines()?.into_iter().rfind(|line| line.event == "end").context("no end")?;
    assert_eq!((last.ends(), last.reason.as_deref()), (Some(cut), Some("revoked")), "{last:?}");
    assert_eq!((log.count("lost")?, stat(&lab, "counters/events_lost")?), (0, 0));
    Ok(())
}

/// A range of one port: a closed flow gives it up, one that lives does not.
#[test]
fn a_port_that_is_taken_over_and_one_that_is_not() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let log = Log::of(&lab);
    let one = edited(GATEWAY, "    - 172.17.0.12,fd00:172:17::12\n", "");
    let profile = "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {name: default}\n\
                   spec: {portRange: {min: 2000, max: 2000}}\n";
    let _agent = agent(&lab, &Files::write(&lab, CLUSTER, &format!("{one}{profile}"))?, &log)?;
    let out = Program::open(&lab.gateway.ns, &pins(&lab)?.join("progs/egw_out"), "eth0")?;
    let inward = Program::open(&lab.gateway.ns, &pins(&lab)?.join("progs/egw_in"), "net1")?;
    for (number, family) in (1..).zip(Family::BOTH) {
        let (pod, far) = (lab.client("pod1")?.addr(family), (lab.far.addr(family), 443));
        let send = |port: u16, flags: u8| {
            out.run(&frame((pod, port), far, proto::TCP, &build::tcp((pod, port), far, (1, 0), flags, b"")))
        };
        send(4001, 2)?;
        let egress = (lab.gateway.addr(family), 2000);
        let reset = build::tcp(far, egress, (1, 0), 4, b"");
        let reset = Header::new(far.0, egress.0, proto::TCP).packet(&reset);
        inward.run(&build::ethernet(mac::GATEWAY_OUTSIDE, mac::ROUTER, &reset))?;
        assert_eq!(send(4002, 2)?.verdict, Verdict::Shot, "closed a moment ago");
        pass(&lab, 10)?;
        send(4003, 2)?;
        pass(&lab, 10)?;
        assert_eq!(send(4004, 2)?.verdict, Verdict::Shot, "it lives");
        eventually("all is told", FOLLOW, || Ok(log.count("exhausted")? == 2 * number))?;
        let lines = log.lines()?;
        let mine: Vec<_> = lines.iter().filter(|it| it.inside == Some(pod) && !it.from_table).collect();
        let told: Vec<_> = mine.iter().map(|it| (it.event.as_str(), it.inside_port, it.egress_port)).collect();
        let wanted = [
            ("start", Some(4001), Some(2000)),
            ("exhausted", Some(4002), None),
            ("end", Some(4001), Some(2000)),
            ("start", Some(4003), Some(2000)),
            ("exhausted", Some(4004), None),
        ];
        assert_eq!(told, wanted);
        assert_eq!(mine[2].reason.as_deref(), Some("reclaimed"));
        assert_eq!(mine[2].packets.map(|it| (it.out, it.inward)), Some((1, 1)));
    }
    Ok(())
}

/// More flows than the ring buffer has room for while the agent stands still, then while there is none: in the end each has its
/// start.
#[test]
fn what_was_lost_is_told_from_the_table() -> Result<()> {
    const FLOWS: u16 = 32_000;
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let log = Log::of(&lab);
    let mut agent = agent(&lab, &Files::samples(&lab)?, &log)?;
    let table = |number| move |log: &Log| Ok(log.count("table")? >= number);
    eventually("the agent told what it found at its start", FOLLOW, || table(1)(&log))?;
    let out = Program::open(&lab.gateway.ns, &pins(&lab)?.join("progs/egw_out"), "eth0")?;
    let (pod, far) = (lab.client("pod1")?.addr(Family::V4), lab.far.addr(Family::V4));
    let open = |dport: u16| {
        let frames = (1024..1024 + FLOWS).map(move |sport| {
            let (from, to) = ((pod, sport), (far, dport));
            frame(from, to, proto::UDP, &build::udp(from, to, b"new"))
        });
        out.run_all(frames)
    };

    kill(agent.pid(), Signal::SIGSTOP)?;
    open(1)?;
    let lost = stat(&lab, "counters/events_lost")?;
    assert!(lost > 0, "the ring buffer had room for all");
    kill(agent.pid(), Signal::SIGCONT)?;
    eventually("the agent told the table", FOLLOW, || table(2)(&log))?;
    assert_complete(&lab, &log, usize::from(FLOWS))?;
    let said: u64 = log.lines()?.iter().filter(|it| it.event == "lost").filter_map(|it| it.count).sum();
    assert_eq!(said, lost);
    let last = log.lines()?.into_iter().rfind(|it| it.event == "table").context("no table")?;
    assert_eq!(last.count, Some(u64::from(FLOWS)));
    assert!(last.since.is_some_and(|since| since < last.time));

    agent.kill9()?;
    open(2)?;
    assert!(stat(&lab, "counters/events_lost")? > lost, "the ring buffer had room for all");
    let before = log.count("table")?;
    agent.restart()?;
    eventually("the restarted agent told the table", FOLLOW, || table(before + 1)(&log))?;
    assert_complete(&lab, &log, 2 * usize::from(FLOWS))
}

/// Every flow of the table was told to begin.
fn assert_complete(lab: &Lab, log: &Log, number: usize) -> Result<()> {
    let (listed, started) = (flows(lab)?, log.started()?);
    assert_eq!(listed.len(), number);
    let untold: Vec<_> = listed.iter().map(ends).filter(|ends| !started.contains(ends)).take(5).collect();
    assert!(untold.is_empty(), "{untold:?}");
    Ok(())
}

/// Nothing is told of flows without the option, and a place that cannot be written to is refused by name.
#[test]
fn the_flow_log_is_asked_for() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    let refusal = Agent::refused(&lab, files.options().with("--flow-log", "/nowhere/flows"))?;
    assert!(refusal.code == Some(1) && refusal.stderr.contains("--flow-log /nowhere/flows"), "{refusal:?}");
    let mut agent = Agent::start(&lab, files.options())?;
    let at = SocketAddr::new(lab.far.addr(Family::V4), PORT);
    let _server = udp::Server::start(&lab.far.ns, at)?;
    udp::once(&lab.client("pod1")?.ns, Call::to(at.ip(), PORT), b"untold")?;
    agent.terminate()?;
    let kinds = unread(&crate::rig::map(&lab, "EVENTS")?)?;
    assert!(kinds.is_empty(), "{kinds:?}");
    Ok(())
}

/// A named pipe that nobody has opened, then one that nobody reads: the agent becomes ready, and ends when it is told to.
#[test]
fn a_log_that_nobody_reads_holds_nothing_up() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let (files, log) = (Files::samples(&lab)?, Log::of(&lab));
    mkfifo(&log.0, Mode::S_IRUSR | Mode::S_IWUSR).context("mkfifo")?;
    let mut agent = agent(&lab, &files, &log)?;
    let out = Program::open(&lab.gateway.ns, &pins(&lab)?.join("progs/egw_out"), "eth0")?;
    let (pod, far) = (lab.client("pod1")?.addr(Family::V4), (lab.far.addr(Family::V4), PORT));
    // More lines than a pipe and the agent's buffer hold.
    out.run_all((1024..3024).map(|sport| {
        let from = (pod, sport);
        frame(from, far, proto::UDP, &build::udp(from, far, b"new"))
    }))?;
    assert!(agent.terminate()?.success());

    // Both ends, so that it is open whatever the agent does.
    let _pipe = fs::File::options().read(true).write(true).open(&log.0)?;
    agent.restart()?;
    let name = log.0.display().to_string();
    eventually("the agent has opened it", FOLLOW, || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.pid()))?;
        Ok(descriptors.flatten().any(|it| fs::read_link(it.path()).is_ok_and(|to| to.display().to_string() == name)))
    })?;
    assert!(agent.terminate()?.success());
    Ok(())
}

/// How many records of each kind wait in the ring buffer.
fn unread(pin: &Path) -> Result<BTreeMap<u16, usize>> {
    use aya::maps::{Map, MapData, RingBuf};
    let mut ring: RingBuf<_> = Map::RingBuf(MapData::from_pin(pin)?).try_into()?;
    let mut kinds = BTreeMap::new();
    while let Some(record) = ring.next() {
        let event = egress_common::abi::event::Event::read(&record).context("a record of another layout")?;
        *kinds.entry(event.kind).or_default() += 1;
    }
    Ok(kinds)
}
