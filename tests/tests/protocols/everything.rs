//! TCP, UDP and echo of every client to every server in both families, all at once.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::traffic::{Call, PATIENCE, icmp, tcp, udp};
use egress_tests::{Family, Host, Lab, LabConfig, eventually, oracle, skip};

use super::{ensure_flows_tell_what_passed, ensure_ttl_lowered_once};
use crate::rig::{NEEDS, PORT, flows, stat};
use crate::wire::{agent, ensure_clean};

/// Three exchanges of each kind.
fn converse(client: &Host, server: IpAddr, id: u16) -> Result<()> {
    let mut stream = tcp::connect_in(&client.ns, Call::to(server, PORT))?;
    let socket = udp::connect_in(&client.ns, Call::to(server, PORT))?;
    let pinger = icmp::Pinger::new(&client.ns, Family::of(server))?;
    for round in 1..=3_u16 {
        let text = format!("round {round} of {id} to {server}");
        tcp::exchange(&mut stream, text.as_bytes())?;
        udp::exchange(&socket, text.as_bytes())?;
        let reply = pinger.ping(server, id, round, text.as_bytes(), PATIENCE)?;
        ensure!(reply.from == server && reply.payload == text.as_bytes(), "{reply:?}");
    }
    Ok(())
}

/// What came in is finished and right: cut and summed up on the last cable.
fn all_received_are_real(frames: &[Captured]) -> Result<()> {
    let received: Vec<_> = frames.iter().filter(|it| it.direction == Direction::In).cloned().collect();
    let report = oracle::checksums(&received);
    ensure!(report.wrong.is_empty() && report.unfinished == 0 && report.untold == 0, "{report:?}");
    ensure!(report.real >= 20, "too few packets to prove anything: {report:?}");
    Ok(())
}

#[test]
fn all_clients_at_once_to_every_server() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let no_snat = no_snat_networks();
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS).return_routes(&no_snat))?;
    let _agent = agent(&lab, &[])?;
    let mut servers = Vec::new();
    for family in Family::BOTH {
        for host in lab.external_hosts() {
            let at = SocketAddr::new(host.addr(family), PORT);
            let tcp = tcp::Server::start(&host.ns, at, tcp::Serve::Echo)?;
            servers.push((at.ip(), tcp, udp::Server::start(&host.ns, at)?));
        }
    }
    let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
    let receivers = lab.external_hosts().into_iter().chain(lab.clients().map(|(_, host)| host));
    let taps = receivers.map(|host| Capture::start(&host.ns, "eth0")).collect::<Result<Vec<_>>>()?;

    thread::scope(|scope| -> Result<()> {
        let mut running = Vec::new();
        for (number, (name, client)) in lab.clients().enumerate() {
            for (place, (server, ..)) in servers.iter().enumerate() {
                // A raw socket hears the replies to all of its host's requests.
                let id = (100 + 10 * number + place) as u16;
                running.push(scope.spawn(move || converse(client, *server, id).context(format!("{name} to {server}"))));
            }
        }
        running.into_iter().try_for_each(|it| it.join().map_err(|_| anyhow!("a client panicked"))?)
    })?;

    let bystander = lab.client("bystander")?;
    for (address, tcp, udp) in &servers {
        let family = Family::of(*address);
        let expected = BTreeSet::from([lab.gateway.addr(family), bystander.addr(family)]);
        for seen in [tcp.peers(), udp.peers()] {
            let sources: BTreeSet<IpAddr> = seen.iter().map(SocketAddr::ip).collect();
            ensure!(sources == expected, "{address} saw {sources:?}, not {expected:?}");
        }
        let callers = udp.peers().into_iter().collect::<BTreeSet<_>>();
        ensure!(callers.len() == 3 && tcp.peers().len() == 3, "{callers:?} and {:?}", tcp.peers());
    }
    // Connections are being closed still: what is seen and what is told agree once the wire is quiet.
    drop(servers);
    let mut agree = Ok(());
    let settled = || {
        agree = ensure_flows_tell_what_passed(&flows(&lab)?, &inside.so_far(), &outside.so_far());
        Ok(agree.is_ok())
    };
    eventually("flows tell what passed", PATIENCE, settled).or(agree)?;
    let flows = flows(&lab)?;
    let (inside, outside) = (inside.stop()?, outside.stop()?);
    ensure!(flows.len() == 2 * 6 * 3, "{} flows", flows.len());
    ensure_flows_tell_what_passed(&flows, &inside, &outside)?;
    for (protocol, key) in [("icmp", 6), ("icmpv6", 6), ("tcp", 12), ("udp", 12)] {
        let own: Vec<_> = flows.iter().filter(|it| it.protocol == protocol).collect();
        ensure!(own.len() == key, "{} {protocol} flows", own.len());
        ensure!(own.iter().any(|it| it.egress_port != it.inside_port), "no port or id was changed: {own:?}");
    }
    for (counter, total) in [
        ("out_packets", flows.iter().map(|it| it.packets.out).sum::<u64>()),
        ("out_bytes", flows.iter().map(|it| it.bytes.out).sum()),
        ("in_packets", flows.iter().map(|it| it.packets.inward).sum()),
        ("in_bytes", flows.iter().map(|it| it.bytes.inward).sum()),
        ("flows_created", flows.len() as u64),
    ] {
        let counted = stat(&lab, &format!("counters/{counter}"))?;
        ensure!(counted == total, "{counter} {counted}, the flows say {total}");
    }
    for family in Family::BOTH {
        for host in lab.external_hosts() {
            ensure_ttl_lowered_once(bystander.addr(family), host.addr(family), &inside, &outside)?;
        }
    }
    ensure_clean(&outside, &no_snat)?;
    taps.into_iter().try_for_each(|tap| all_received_are_real(&tap.stop()?))
}
