//! Connections that outlived their flow, with real sockets: what each end hears when one of them speaks again.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use egress_common::abi::config::flags;
use egress_tests::gateway::Agent;
use egress_tests::traffic::{Call, PATIENCE, tcp};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::rig::{CLUSTER, FOLLOW, Files, Flow, GATEWAY, NEEDS, PORT, change_config, config, flows};
use crate::wire::{counted, drops, ensure_clean};

/// The gateway with a profile of this text.
fn with_profile(text: &str) -> String {
    let head = "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {name: default}\n";
    format!("{GATEWAY}{head}spec: {text}\n")
}

/// Both ends of a connection.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    family: Family,
}

impl Connection {
    /// Opens one that has carried something in both directions.
    fn open(lab: &Lab, family: Family, port: u16) -> Result<Self> {
        let at = SocketAddr::new(lab.far.addr(family), PORT);
        let listener = lab.far.ns.run(|| TcpListener::bind(at))??;
        let client = tcp::connect_in(&lab.client("pod1")?.ns, Call::to(at.ip(), at.port()).from_port(port))?;
        let (server, _) = listener.accept()?;
        server.set_read_timeout(Some(PATIENCE))?;
        // What was not heard is not said again after the end.
        for stream in [&client, &server] {
            setsockopt(stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
        }
        let mut both = Self { client, server, family };
        both.carries()?;
        Ok(both)
    }

    /// Its flow, if it has one.
    fn flow(&self, lab: &Lab) -> Result<Option<Flow>> {
        let port = self.client.local_addr()?.port();
        Ok(flows(lab)?.into_iter().find(|it| Family::of(it.inside) == self.family && it.inside_port == port))
    }

    /// Data goes both ways.
    fn carries(&mut self) -> Result<()> {
        pass(&mut self.client, &mut self.server).with_context(|| format!("{:?}: to the server", self.family))?;
        pass(&mut self.server, &mut self.client).with_context(|| format!("{:?}: to the client", self.family))
    }
}

fn pass(from: &mut TcpStream, to: &mut TcpStream) -> Result<()> {
    let mut heard = [0; 5];
    from.write_all(b"hello").context("send")?;
    to.read_exact(&mut heard).context("receive")?;
    ensure!(&heard == b"hello");
    Ok(())
}

/// What is sent now ends the connection.
fn ensure_reset(mut stream: &TcpStream) -> Result<()> {
    stream.write_all(b"anybody there?")?;
    match stream.read(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => bail!("{other:?} instead of a reset"),
    }
}

/// What is sent now is lost: no answer while `came` is waited for.
fn ensure_silence(mut stream: &TcpStream, came: impl Fn() -> Result<bool>) -> Result<()> {
    stream.write_all(b"anybody there?")?;
    eventually("the drop was counted", PATIENCE, came)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    match stream.read(&mut [0; 64]) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        other => bail!("{other:?} instead of silence"),
    }
}

/// Opens a connection of each family from this port, which is one of the gateway's range, and lets their flows end of idleness.
fn outlived(lab: &Lab, port: u16) -> Result<Vec<Connection>> {
    let open = |family| Connection::open(lab, family, port);
    let all = Family::BOTH.into_iter().map(open).collect::<Result<Vec<_>>>()?;
    change_config(lab, |config| config.clock_offset_ns += 7_441 * 1_000_000_000)?;
    eventually("idle flows end", FOLLOW, || {
        Ok(all.iter().map(|it| it.flow(lab)).collect::<Result<Vec<_>>>()?.iter().all(Option::is_none))
    })?;
    Ok(all)
}

fn counter(lab: &Lab, reason: &str) -> Result<u64> {
    Ok(drops(lab)?.get(reason).copied().unwrap_or(0))
}

#[test]
fn a_connection_that_outlived_its_flow() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::write(&lab, CLUSTER, &with_profile("{midflow: reset}"))?;
    let _agent = Agent::start(&lab, files.options())?;
    let outside = lab.capture_external()?;

    for it in outlived(&lab, 4001)? {
        ensure_reset(&it.client).with_context(|| format!("reset, the {:?} client speaks", it.family))?;
        ensure_reset(&it.server).with_context(|| format!("reset, the {:?} server speaks", it.family))?;
    }
    for it in outlived(&lab, 4002)? {
        ensure_reset(&it.server).with_context(|| format!("reset, the {:?} server speaks first", it.family))?;
        ensure_reset(&it.client).with_context(|| format!("reset, the {:?} client speaks then", it.family))?;
    }
    ensure!(flows(&lab)?.is_empty(), "{:?}", flows(&lab)?);
    let sent = counted(&lab, "resets_sent")?;
    let [inside, outside_in] = [counter(&lab, "midflow")?, counter(&lab, "no_mapping")?];
    ensure!(inside >= 4 && outside_in >= 4 && sent == inside + outside_in, "{sent} sent, {:?}", drops(&lab)?);

    fs::write(&files.gateway, with_profile("{midflow: drop}"))?;
    eventually("they are dropped", FOLLOW, || Ok(config(&lab)?.flags & flags::MIDFLOW_DROP != 0))?;
    for it in outlived(&lab, 4003)? {
        for (end, reason) in [(&it.client, "midflow"), (&it.server, "no_mapping")] {
            let before = counter(&lab, reason)?;
            ensure_silence(end, || Ok(counter(&lab, reason)? > before))
                .with_context(|| format!("drop, {:?} {reason}", it.family))?;
        }
    }
    ensure!(counted(&lab, "resets_sent")? == sent, "a RST was sent");

    // Under another port it is no connection that the server knows: its kernel says so.
    fs::write(&files.gateway, with_profile("{portRange: {min: 2000, max: 2001}}"))?;
    eventually("they are taken over", FOLLOW, || {
        let config = config(&lab)?;
        Ok(config.flags & (flags::MIDFLOW_DROP | flags::MIDFLOW_RESET) == 0 && config.port_max == 2001)
    })?;
    for mut it in outlived(&lab, 4004)? {
        let seen = it.server.peer_addr()?;
        it.client.write_all(b"hello")?;
        eventually("a flow is opened", PATIENCE, || Ok(it.flow(&lab)?.is_some()))?;
        if it.flow(&lab)?.context("no flow")?.outside() == seen {
            // One of two ports: by chance the same one.
            it.server.read_exact(&mut [0; 5])?;
            it.carries()?;
        } else {
            let heard = it.client.read(&mut [0; 64]);
            ensure!(heard.as_ref().is_err_and(|it| it.kind() == ErrorKind::ConnectionReset), "{heard:?}");
        }
    }

    fs::write(&files.gateway, with_profile("{portSelection: preserve}"))?;
    eventually("ports are kept", FOLLOW, || Ok(config(&lab)?.flags & flags::PRESERVE_PORT != 0))?;
    for mut it in outlived(&lab, 4005)? {
        it.carries().context("taken over under the same port")?;
    }
    ensure!(counted(&lab, "resets_sent")? == sent, "a RST was sent");
    ensure_clean(&outside.stop()?, &[])
}
