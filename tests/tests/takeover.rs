//! The kernel's NAT has flows when the agent comes, and goes on with them when it leaves: no connection breaks, no datagram is
//! lost, and servers see nothing of it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use egress_common::abi::config::flags;
use egress_tests::gateway::{Agent, AgentOptions, KernelGateway, NftGateway, agent_binary, next_agent_binary};
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::traffic::{Call, tcp, udp};
use egress_tests::{Family, Lab, LabConfig, Need, eventually, skip};

use crate::load::{DOOR, Load};
use crate::rig::{CLUSTER, FOLLOW, Files, GATEWAY, NEEDS, PORT, complaints, config, flows, pins};

/// Two conversations in which only the server speaks from now on.
struct Waiting {
    tcp: (TcpStream, TcpStream),
    udp: (UdpSocket, UdpSocket, SocketAddr),
}

impl Waiting {
    fn start(lab: &Lab, family: Family) -> Result<Self> {
        let at = SocketAddr::new(lab.far.addr(family), PORT + 3);
        let call = Call::to(at.ip(), at.port());
        let ns = &lab.client("pod1")?.ns;
        let listener = lab.far.ns.run(|| TcpListener::bind(at))??;
        let client = tcp::connect_in(ns, call)?;
        let (server, _) = listener.accept()?;
        let (there, here) = (udp::bind_in(&lab.far.ns, at)?, udp::connect_in(ns, call)?);
        here.send(b"wait for me")?;
        let peer = udp::receive(&there)?.peer;
        Ok(Self { tcp: (client, server), udp: (here, there, peer) })
    }

    fn server_speaks(&mut self) -> Result<()> {
        let mut heard = [0; 5];
        self.tcp.1.write_all(b"hello")?;
        self.tcp.0.read_exact(&mut heard).context("the client hears nothing by TCP")?;
        self.udp.1.send_to(b"hello", self.udp.2)?;
        self.udp.0.recv(&mut heard).context("the client hears nothing by UDP")?;
        Ok(())
    }
}

fn rules(lab: &Lab) -> Result<String> {
    let ns = &lab.gateway.ns;
    Ok(ns.sh("nft --stateless list ruleset")? + &ns.sh("iptables -t nat -S")? + &ns.sh("ip6tables -t nat -S")?)
}

/// Twice to us and back to the kernel.
fn there_and_back(lab: &Lab, options: &AgentOptions) -> Result<()> {
    let load = Load::start(lab, &Family::BOTH)?;
    load.advance().context("with the kernel's NAT")?;
    let mut waiting: Vec<_> = Family::BOTH.into_iter().map(|it| Waiting::start(lab, it)).collect::<Result<_>>()?;
    let (peers, before) = (load.peers(), rules(lab)?);
    for round in 0..2 {
        let agent = Agent::start(lab, options.clone())?;
        ensure!(agent.stderr().contains("took over the flows of the kernel's NAT"), "{}", agent.stderr());
        ensure!(!agent.stderr().contains("could not"), "{}", agent.stderr());
        waiting
            .iter_mut()
            .try_for_each(Waiting::server_speaks)
            .with_context(|| format!("taken over, round {round}"))?;
        load.advance().context("taken over")?;
        let lasting: BTreeSet<_> =
            flows(lab)?.iter().filter(|it| it.remote_port != Some(DOOR)).map(|it| it.outside()).collect();
        ensure!(peers.iter().all(|peer| lasting.contains(peer)), "{peers:?} {lasting:?}");
        ensure!(complaints(lab)?.is_empty(), "{:?}", complaints(lab)?);
        ensure!(rules(lab)?.contains("table inet egress-ebpf"), "{}", rules(lab)?);
        let output = Agent::run(lab, &["detach", "--handover"])?;
        println!("{}", output.stderr.trim_end());
        ensure!(output.status.success() && output.stderr.contains("goes on with"), "{}", output.stderr);
        ensure!(!output.stderr.contains("not with"), "{}", output.stderr);
        waiting
            .iter_mut()
            .try_for_each(Waiting::server_speaks)
            .with_context(|| format!("given back, round {round}"))?;
        load.advance().context("given back")?;
        ensure!(rules(lab)? == before, "{before}\n{}", rules(lab)?);
    }
    println!("{:?}", load.finish()?);
    Ok(())
}

const TOOLS: &[Need] = &[Need::Tool("nft"), Need::Tool("iptables"), Need::Tool("ip6tables")];

/// With the rights that a gateway Pod has.
#[test]
fn from_iptables_and_back() -> Result<()> {
    if skip(NEEDS) || skip(TOOLS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _kernel = KernelGateway::start(&lab, &no_snat_networks())?;
    there_and_back(&lab, &Files::samples(&lab)?.options().as_pod())
}

/// Where the kernel routes what we translated, its NAT must not do so once more. With filters instead of links, on a qdisc that
/// is there: while the kernel adds one, it lets the interface send nothing (`dev_deactivate` in `qdisc_graft`).
#[test]
fn from_nftables_and_back_while_the_kernel_routes() -> Result<()> {
    if skip(NEEDS) || skip(TOOLS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _kernel = NftGateway::start(&lab, &no_snat_networks())?;
    for interface in ["eth0", "net1"] {
        lab.gateway.ns.sh(&format!("tc qdisc add dev {interface} clsact"))?;
    }
    let options = Files::samples(&lab)?.options().with("--forward", "stack").with("--attach", "clsact");
    there_and_back(&lab, &options)
}

/// The agent dies once it is attached. The kernel goes on with what was not taken over, and the next start ends what it began;
/// the table that others take away comes back.
#[test]
fn a_takeover_that_was_cut_short_is_finished() -> Result<()> {
    if skip(NEEDS) || skip(TOOLS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let legacy = KernelGateway::legacy(&lab, &no_snat_networks());
    let _kernel = match legacy {
        Ok(gateway) => gateway,
        Err(error) => {
            println!("without the old iptables: {error:#}");
            KernelGateway::start(&lab, &no_snat_networks())?
        }
    };
    let load = Load::start(&lab, &Family::BOTH)?;
    load.advance()?;
    let attached = pins(&lab)?.join("links/out");
    let mut agent = Agent::start_until(&lab, Files::samples(&lab)?.options(), || attached.exists())?;
    agent.kill9()?;
    load.advance().context("while it stands half-way")?;
    agent.restart()?;
    ensure!(agent.stderr().contains("took over the flows of the kernel's NAT"), "{}", agent.stderr());
    load.advance()?;
    lab.gateway.ns.sh("nft delete table inet egress-ebpf")?;
    ensure!(complaints(&lab)?.iter().any(|it| it.starts_with("kernel NAT")), "{:?}", complaints(&lab)?);
    eventually("the table comes back", FOLLOW, || Ok(complaints(&lab)?.is_empty()))?;
    load.finish()?;
    let output = Agent::run(&lab, &["detach"])?;
    ensure!(output.status.success() && !rules(&lab)?.contains("inet egress-ebpf"), "{}{}", output.stderr, rules(&lab)?);
    Ok(())
}

/// The same by an agent whose maps have another layout.
#[test]
fn an_upgrade_finishes_a_takeover_that_was_cut_short() -> Result<()> {
    if skip(NEEDS) || skip(TOOLS) || skip(&[Need::NextAgent]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _kernel = NftGateway::start(&lab, &no_snat_networks())?;
    let load = Load::start(&lab, &Family::BOTH)?;
    load.advance()?;
    let attached = pins(&lab)?.join("links/out");
    let mut agent = Agent::start_until(&lab, Files::samples(&lab)?.options(), || attached.exists())?;
    agent.kill9()?;
    ensure!(!agent.stderr().contains("took over"), "it was done already:\n{}", agent.stderr());
    load.advance().context("while it stands half-way")?;
    let mut waiting: Vec<_> = Family::BOTH.into_iter().map(|it| Waiting::start(&lab, it)).collect::<Result<_>>()?;
    agent.restart_as(next_agent_binary())?;
    for flows in ["of another layout", "of the kernel's NAT"] {
        ensure!(agent.stderr().contains(&format!("took over the flows {flows}")), "{}", agent.stderr());
    }
    waiting.iter_mut().try_for_each(Waiting::server_speaks).context("of the kernel's own")?;
    load.advance()?;
    load.finish()?;
    Ok(())
}

/// A handover dies once the programs pass on: what the kernel began since is not broken by the next one, and what was given to it
/// before goes on there.
#[test]
fn a_handover_that_was_cut_short_is_finished() -> Result<()> {
    if skip(NEEDS) || skip(TOOLS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let (_agent, load, obstacle) = about_to_hand_over(&lab)?;
    let mut command = Command::new(agent_binary());
    command.args(["detach", "--handover", "--netns"]).arg(lab.gateway.ns.path());
    let mut handover = command.spawn().context("the handover")?;
    while config(&lab)?.flags & flags::YIELD == 0 {
        let ended = handover.try_wait()?.is_some();
        ensure!(!ended || config(&lab)?.flags & flags::YIELD != 0, "it passed nothing on");
    }
    handover.kill()?;
    handover.wait()?;
    finish_the_handover(&lab, load, obstacle)
}

/// The program at `eth0` is gone when it dies: the kernel has carried all since, and our table is out of date.
#[test]
fn a_handover_that_was_cut_short_at_its_end_is_finished() -> Result<()> {
    if skip(NEEDS) || skip(TOOLS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let (_agent, load, obstacle) = about_to_hand_over(&lab)?;
    let output = Agent::run(&lab, &["detach", "--handover"])?;
    ensure!(output.status.code() == Some(1) && output.stderr.contains("in-new"), "{}", output.stderr);
    ensure!(!pins(&lab)?.join("links/out").exists(), "it has not come to the programs");
    finish_the_handover(&lab, load, obstacle)
}

/// A directory where the second link of a program would have its pin: a handover ends there with an error when it has taken away
/// the program at `eth0`, and its guard stays.
struct Obstacle(PathBuf);

impl Obstacle {
    fn put(lab: &Lab) -> Result<Self> {
        let path = pins(lab)?.join("links/in-new");
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    fn remove(self) -> Result<()> {
        std::fs::remove_dir(&self.0).with_context(|| format!("remove {}", self.0.display()))
    }
}

/// Our ports and those that the kernel chooses have nothing in common: while a handover stands half-way, the kernel may give away
/// ports of flows that began in its last moment, which it does not know.
fn about_to_hand_over(lab: &Lab) -> Result<(Agent<'_>, Load, Obstacle)> {
    NftGateway::start_from(lab, &no_snat_networks(), 32_768)?;
    let load = Load::start(lab, &Family::BOTH)?;
    load.advance()?;
    let profile = "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {name: default}\n\
                   spec: {portRange: {min: 1024, max: 32767}}\n";
    let mut agent = Agent::start(lab, Files::write(lab, CLUSTER, &format!("{GATEWAY}{profile}"))?.options())?;
    load.advance()?;
    agent.terminate()?;
    Ok((agent, load, Obstacle::put(lab)?))
}

fn finish_the_handover(lab: &Lab, load: Load, obstacle: Obstacle) -> Result<()> {
    let mut waiting: Vec<_> = Family::BOTH.into_iter().map(|it| Waiting::start(lab, it)).collect::<Result<_>>()?;
    load.advance().context("while it stands half-way")?;
    obstacle.remove()?;
    let output = Agent::run(lab, &["detach", "--handover"])?;
    println!("{}", output.stderr.trim_end());
    ensure!(output.status.success() && output.stderr.contains("goes on with"), "{}", output.stderr);
    ensure!(!output.stderr.contains("not with"), "{}", output.stderr);
    waiting.iter_mut().try_for_each(Waiting::server_speaks).context("of the kernel's own")?;
    load.advance().context("given back")?;
    load.finish()?;
    Ok(())
}

/// Nobody would go on with the flows.
#[test]
fn without_rules_there_is_no_handover() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let output = Agent::run(&lab, &["detach", "--handover"])?;
    ensure!(output.status.code() == Some(1) && output.stderr.contains("no NAT rules"), "{}", output.stderr);
    ensure!(complaints(&lab)?.is_empty(), "it goes on: {:?}", complaints(&lab)?);
    ensure!(!agent.stderr().contains("ending"), "{}", agent.stderr());
    Ok(())
}
