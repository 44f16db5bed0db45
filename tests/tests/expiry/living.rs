//! Connections that must not end, with real sockets: idle for long, half closed, reset by somebody else, opened by both sides.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::gateway::Agent;
use egress_tests::packet::{Transport, build, proto};
use egress_tests::traffic::{Call, PATIENCE, tcp};
use egress_tests::{Family, Lab, LabConfig, Need, eventually, skip};

use super::{pass, swept};
use crate::rig::{Files, Flow, NEEDS, PORT, flows};
use crate::wire::{header, into_net1};

/// Both ends of a connection from this port.
fn connected(lab: &Lab, family: Family, port: u16) -> Result<(TcpStream, TcpStream)> {
    let at = SocketAddr::new(lab.far.addr(family), PORT);
    let listener = lab.far.ns.run(|| TcpListener::bind(at))??;
    let client = tcp::connect_in(&lab.client("pod1")?.ns, Call::to(at.ip(), at.port()).from_port(port))?;
    let (server, _) = listener.accept()?;
    server.set_read_timeout(Some(PATIENCE))?;
    Ok((client, server))
}

fn say(from: &mut TcpStream, to: &mut TcpStream, what: &[u8]) -> Result<()> {
    let mut heard = vec![0; what.len()];
    from.write_all(what).context("send")?;
    to.read_exact(&mut heard).context("receive")?;
    ensure!(heard == what);
    Ok(())
}

fn flow(lab: &Lab, family: Family, port: u16) -> Result<Flow> {
    let all = flows(lab)?;
    let found = all.iter().find(|it| Family::of(it.inside) == family && it.inside_port == port);
    found.cloned().with_context(|| format!("no {family:?} flow from {port} in {all:?}"))
}

fn becomes(lab: &Lab, family: Family, port: u16, state: &str) -> Result<()> {
    eventually(state, PATIENCE, || Ok(flow(lab, family, port)?.state == state))
        .with_context(|| format!("{:?}", flow(lab, family, port)))
}

/// Twenty minutes without a word, then data, whoever speaks first; then a half-closed connection that is idle for nearly two
/// hours and still carries data.
#[test]
fn idle_for_long_and_data_again() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let mut all = Vec::new();
    for family in Family::BOTH {
        for (port, client_first) in [(4000, true), (4001, false)] {
            let (mut client, mut server) = connected(&lab, family, port)?;
            say(&mut client, &mut server, b"hello")?;
            becomes(&lab, family, port, "established")?;
            all.push((flow(&lab, family, port)?, client, server, client_first));
        }
    }
    pass(&lab, 20 * 60)?;
    swept(&lab)?;
    for (before, client, server, client_first) in &mut all {
        let (first, second) = if *client_first { (client, server) } else { (server, client) };
        say(first, second, b"after twenty minutes")?;
        say(second, first, b"so it is")?;
        let now = flow(&lab, Family::of(before.inside), before.inside_port)?;
        ensure!(now.outside() == before.outside() && now.age_seconds >= 1200, "{before:?} {now:?}");
        ensure!(now.state == "established" && now.idle_seconds < 1200, "{now:?}");
    }
    for (before, client, server, client_closes) in &mut all {
        let (closes, goes_on) = if *client_closes { (client, server) } else { (server, client) };
        closes.shutdown(Shutdown::Write)?;
        ensure!(goes_on.read(&mut [0; 8])? == 0, "the other end hears of it");
        becomes(&lab, Family::of(before.inside), before.inside_port, "closing")?;
    }
    for _ in 0..2 {
        pass(&lab, 7_300)?;
        swept(&lab)?;
        for (before, client, server, client_closed) in &mut all {
            let (closed, goes_on) = if *client_closed { (client, server) } else { (server, client) };
            say(goes_on, closed, &[7; 3000]).with_context(|| format!("{before:?}"))?;
        }
    }
    let created = crate::rig::stat(&lab, "counters/flows_created")?;
    ensure!(created == 4, "{created} flows");
    Ok(())
}

/// A RST that neither end takes for one (RFC 9293 §3.10.7.4, RFC 5961 §3): the connection lives, and so does its flow.
#[test]
fn a_forged_reset_ends_nothing() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let mut all = Vec::new();
    for family in Family::BOTH {
        let (mut client, mut server) = connected(&lab, family, 4000)?;
        say(&mut client, &mut server, b"hello")?;
        let known = flow(&lab, family, 4000)?;
        let (from, to) = ((lab.far.addr(family), PORT), (known.egress, known.egress_port));
        // Its sequence number is far from any window.
        let forged = build::tcp(from, to, (0x1234_5678, 0), 4, b"");
        into_net1(&lab, &header(from.0, to.0, proto::TCP).packet(&forged))?;
        all.push((family, client, server));
    }
    for (family, client, server) in &mut all {
        eventually("the RST passed", PATIENCE, || Ok(flow(&lab, *family, 4000)?.packets.inward >= 3))?;
        say(server, client, b"the server goes on")?;
        say(client, server, b"and so does the client")?;
        becomes(&lab, *family, 4000, "established")?;
    }
    // RFC 7857 §2.2: 4 minutes, had no packets followed.
    pass(&lab, 1_000)?;
    swept(&lab)?;
    for (family, client, server) in &mut all {
        say(client, server, b"later").with_context(|| format!("{family:?}"))?;
        say(server, client, b"indeed")?;
    }
    ensure!(crate::rig::stat(&lab, "counters/flows_created")? == 2);
    Ok(())
}

/// RFC 5382 REQ-2, RFC 9293 §3.5: the server calls the port that it saw the client call from.
#[test]
fn both_ends_open_at_the_same_time() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("iptables"), Need::Tool("ip6tables")]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    for family in Family::BOTH {
        let at = SocketAddr::new(lab.far.addr(family), PORT);
        let tool = if family == Family::V4 { "iptables" } else { "ip6tables" };
        // Nobody listens: the server's kernel would refuse.
        lab.far.ns.sh(&format!("{tool} -A INPUT -p tcp --syn --dport {PORT} -j DROP"))?;
        let inside = lab.capture_internal()?;
        let pod = lab.client("pod1")?;
        let (mut client, mut server) = thread::scope(|scope| {
            let calls = scope.spawn(|| tcp::connect_in(&pod.ns, Call::to(at.ip(), at.port()).from_port(4000)));
            eventually("the client calls", PATIENCE, || Ok(flow(&lab, family, 4000).is_ok()))?;
            let seen = flow(&lab, family, 4000)?.outside();
            let server = tcp::connect_in(&lab.far.ns, Call::to(seen.ip(), seen.port()).from_port(PORT))?;
            let client = calls.join().map_err(|_| anyhow!("the client panicked"))??;
            Ok::<_, anyhow::Error>((client, server))
        })?;
        say(&mut client, &mut server, b"from the client")?;
        say(&mut server, &mut client, b"from the server")?;
        becomes(&lab, family, 4000, "established")?;
        let syn = |it: &&Captured| {
            let tcp = it.ip().and_then(|ip| ip.transport.as_ref());
            it.direction == Direction::In
                && matches!(tcp, Some(Transport::Tcp { source: PORT, flags, .. }) if flags & 0x12 == 2)
        };
        ensure!(inside.stop()?.iter().any(|it| syn(&it)), "the server's SYN did not come");
    }
    Ok(())
}

/// The server closes first and is in TIME-WAIT; the client calls from the same port again (RFC 9293 §3.6.1).
#[test]
fn a_port_in_time_wait_begins_anew() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    for family in Family::BOTH {
        let mut seen = None;
        for _ in 0..3 {
            let (mut client, mut server) = connected(&lab, family, 4000)?;
            say(&mut client, &mut server, b"hello")?;
            becomes(&lab, family, 4000, "established")?;
            let now = flow(&lab, family, 4000)?.outside();
            ensure!(*seen.get_or_insert(now) == now, "{seen:?} {now}");
            drop(server);
            ensure!(client.read(&mut [0; 8])? == 0);
            drop(client);
            becomes(&lab, family, 4000, "closed")?;
        }
    }
    ensure!(crate::rig::stat(&lab, "counters/flows_created")? == 2);
    Ok(())
}
